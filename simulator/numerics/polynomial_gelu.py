# SPDX-License-Identifier: Apache-2.0
"""Constants of the integer GELUs: I-BERT's polynomial and I-ViT's shifts."""

from __future__ import annotations

import math
from typing import NamedTuple

# erf(x) ≈ sgn(x) (a (min(|x|, -b) + b)² + 1): I-BERT (arXiv 2101.01321), section 3.4.
ERF_LEADING, ERF_OFFSET = -0.2888, -1.769


class PolynomialGelu(NamedTuple):
    """Fields of a GeluPolynomial, and what its products q E are worth.

    Attributes
    ----------
    clip
        -b: from this |q| on, erf is 1
    constant, one
        c, and 1.0 as a sum of the polynomial
    scale
        the real value of 1 in the op's product: result = scale * product
    """

    clip: int
    constant: int
    one: int
    scale: float


def polynomial_gelu_constants(
    scale: float, erf_shift: int = 0, *, nearest: bool = False
) -> PolynomialGelu:
    """Return I-BERT's constants for codes of ``scale``.

    b = ⌊-1.769 / s'⌋, c = ⌊1 / (a s'²)⌋ with s' = s / √2; after ``erf_shift`` the 1 that is added
    to erf is ⌊1 / (a s'² 2^erf_shift)⌋. Since a is negative, so are c and ``one``, and so is the
    scale of the product: ``negated`` in the op turns both around.

    Parameters
    ----------
    nearest
        Round to the nearest integer, ties to even, instead of down: ITA's constants.
    """
    whole = round if nearest else math.floor
    operand = scale / math.sqrt(2)
    leading = ERF_LEADING * operand**2
    return PolynomialGelu(
        clip=-whole(ERF_OFFSET / operand),
        constant=whole(1 / leading),
        one=whole(1 / (leading * 2**erf_shift)),
        scale=scale * leading * 2**erf_shift / 2,
    )


def shift_gelu_octave(scale: float) -> int:
    """Return the ``octave`` of a ShiftGelu for codes of ``scale``: -⌊-1 / (1.702 s)⌋.

    Source: I-ViT (arXiv 2207.01405), ShiftGELU: x σ(1.702 x).
    """
    return -math.floor(-1 / (1.702 * scale))
