# SPDX-License-Identifier: Apache-2.0
"""Orders of Hadamard matrices for a number of channels, and the rotation of all of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from simulator.numerics.hadamard import factors, hadamard_matrix
from simulator.numerics.hadamard_orders import LARGEST_ORDER


def largest_order(width: int, most: int = LARGEST_ORDER) -> int:
    """Return the largest order up to ``most`` of which whole blocks make up ``width``; 1 at least.

    192 = 12 · 16 and 768 = 12 · 64 are orders themselves, 1152 = 3 · 384 is not.
    """
    return max(
        order
        for order in range(1, min(width, most) + 1)
        if width % order == 0 and has_matrix(order)
    )


def has_matrix(order: int) -> bool:
    """Return whether a symmetric Hadamard matrix of an order is known here."""
    try:
        factors(order)
    except ValueError:
        return False
    return True


def block_rotation(width: int, order: int) -> Tensor:
    """Return ``H / √order`` in blocks along the diagonal, [width, width], float64."""
    matrix = torch.from_numpy(hadamard_matrix(order).astype("float64")) / math.sqrt(order)
    rotation: Tensor = torch.block_diag(*[matrix] * (width // order))
    return rotation
