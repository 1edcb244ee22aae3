# SPDX-License-Identifier: Apache-2.0
"""Affine step of a normalization: times γ, plus β, one shift to the right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aocq.lowering.factors import Real, nearest, on_chip
from simulator.graph.graph import Tensor
from simulator.numerics.fixed_point import multiplier_and_shift
from simulator.profile import RescaleSection

LARGEST = (1 << 63) - 1  # the emulator's own intermediates


class AffineStep(NamedTuple):
    """γ / s_y and β / s_y as whole numbers, for values with ``normalized`` fraction bits.

    γ has ``shift - normalized`` fraction bits and β ``shift``: β is added to the product.
    """

    gamma: NDArray[np.int64]
    beta: NDArray[np.int64]
    normalized: int
    shift: int


class Affine(NamedTuple):
    """The affine step in real numbers: γ / s_y, β / s_y, largest normalized value, result."""

    gamma: Real
    beta: Real
    largest: int
    y: Tensor

    def needed(self, gamma_shift: int, normalized: int) -> int:
        """Return a bound of the sum before the shift: product, β, rounding, zero point."""
        shift = gamma_shift + normalized
        gamma = int(nearest(np.ldexp(np.abs(self.gamma), gamma_shift)).max())
        beta = int(np.rint(np.ldexp(np.abs(self.beta).max(), shift)))
        return (self.largest << normalized) * gamma + beta + (1 << shift) + abs(self.y.zero_point)


def affine_step(affine: Affine, section: RescaleSection, normalized: int) -> AffineStep:
    """Return the step with γ in the profile's multiplier and as many fraction bits as fit.

    Where the shift or 64 bits leave less room, as where β is far larger than γ, the more exact of
    γ and the normalized values loses fraction bits first, so that both err alike.

    Parameters
    ----------
    normalized
        fraction bits of the normalized values, at most

    Raises
    ------
    ValueError
        If the step needs a smaller shift than the chip has.
    """
    largest = float(np.abs(affine.gamma).max())
    _, gamma_shift = multiplier_and_shift(largest, section.multiplier_bits)
    _, exponent = np.frexp(largest)
    high = section.shift[1]
    while gamma_shift + normalized > high or affine.needed(gamma_shift, normalized) > LARGEST:
        if normalized and (not gamma_shift or normalized >= gamma_shift + exponent):
            normalized -= 1
        elif gamma_shift:
            gamma_shift -= 1
        else:
            break  # too wide without any fraction: `verify` names it
    shift = gamma_shift + normalized
    on_chip((1, shift), section)
    magnitudes = nearest(np.ldexp(np.abs(affine.gamma), gamma_shift))
    return AffineStep(
        gamma=(np.sign(affine.gamma) * magnitudes).astype(np.int64),
        beta=np.rint(np.ldexp(affine.beta, shift)).astype(np.int64),
        normalized=normalized,
        shift=shift,
    )
