# SPDX-License-Identifier: Apache-2.0
"""Objectives of the search for scales: similarity of a layer's float and quantized results.

An objective maps the float result, the quantized one and a gradient of their shape (or None) to
one figure per row: the last dimension is reduced.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def cosine(real: Tensor, approximate: Tensor, _: Tensor | None) -> Tensor:
    """Return the cosine of the angle between two rows, 0 where one of them is 0.

    Source: the method BasePTQ of PTQ4ViT (arXiv 2111.12293).
    """
    length = torch.linalg.vector_norm(real, dim=-1) * torch.linalg.vector_norm(approximate, dim=-1)
    product: Tensor = torch.linalg.vecdot(real, approximate)
    return product.div_(length.clamp_min(1e-12))


def hessian_guided(real: Tensor, approximate: Tensor, gradient: Tensor | None) -> Tensor:
    """Return ``-Σ (g (O - Ô))²`` of each row: minus the expected growth of the loss.

    ``g²`` stands for the diagonal of the Hessian. Source: PTQ4ViT (arXiv 2111.12293), section 3.3.
    """
    assert gradient is not None
    error = (real - approximate).mul_(gradient)
    squares: Tensor = torch.linalg.vecdot(error, error)
    return -squares
