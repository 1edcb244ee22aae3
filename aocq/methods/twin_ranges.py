# SPDX-License-Identifier: Apache-2.0
"""The twin quantizers of PTQ4ViT (arXiv 2111.12293): two ranges of codes, each with its own scale.

One bit of a code selects the range, so that each range has half of the codes. Both scales are whole
multiples of one unit; a code's level in that unit is what enters an integer product. ``Δ1`` and
``Δ2`` are the scales of the small and the large range after softmax, ``Δneg`` and ``Δpos`` those of
the negative and the positive range after GELU.
"""

from __future__ import annotations

import math

from aocq.methods.quantizers import LevelQuantizer
from aocq.methods.scale_form import ANY_SCALE, ScaleForm

# The depth of GELU's minimum: all that the negative range has to hold.
GELU_DEPTH = 0.16997124
# Widest operand of a product that an IntGraph allows.
OPERAND_BITS = 16
# Wider codes leave operands no room for two ranges of scales that differ by much: one range then.
WIDEST_TWIN = 8
# The released code does not tie the scales; ours are whole multiples of 1/8 of the negative one.
FINEST_FRACTION = 8


def softmax_exponents(bits: int) -> range:
    """Return the exponents m to search: 0..19 of the paper, as far as levels fit 16 bits."""
    return range(min(20, OPERAND_BITS - bits + 2))


def softmax_twin(exponent: int, bits: int) -> LevelQuantizer:
    """Return the quantizer of probabilities with a finer range below ``2^-exponent``.

    ``Δ2 = 1 / (2^(bits-1) - 1)`` and ``Δ1 = 2^-exponent Δ2``. The ranges exclude each other: a
    value below the threshold is a multiple of Δ1, one above it a multiple, at least the first, of
    Δ2 (rounding alone would make 0 of values just above a threshold below Δ2 / 2).
    Source: PTQ4ViT, section 3.2.
    """
    highest = (1 << (bits - 1)) - 1
    wide = 1 << exponent
    first = max(round(highest / wide), 1)
    coarse = [j for j in range(first, highest + 1) if j * wide > highest]
    borders = [float(highest) if j == first else (j - 0.5) * wide for j in coarse]
    return LevelQuantizer(
        levels=(*range(highest + 1), *(j * wide for j in coarse)),
        thresholds=(*(i - 0.5 for i in range(1, highest + 1)), *borders),
        scale=1 / (highest * wide),
        bits=bits,
    )


def softmax_twin_released(exponent: int, bits: int) -> LevelQuantizer:
    """Return the quantizer that the released code computes in place of :func:`softmax_twin`.

    It clamps every value into both ranges and adds both results,
    ``Q2(clamp(x, 2^-m, 1)) + Q1(clamp(x, 0, 2^-m))``, so that about ``2^-m`` is added to every
    probability, to 0 too.
    """
    highest = (1 << (bits - 1)) - 1
    wide = 1 << exponent
    first = round(highest / wide)
    return LevelQuantizer(
        levels=(
            *(first * wide + i for i in range(highest + 1)),
            *(j * wide + highest for j in range(first + 1, highest + 1)),
        ),
        thresholds=(
            *(i - 0.5 for i in range(1, highest + 1)),
            *((j - 0.5) * wide for j in range(first + 1, highest + 1)),
        ),
        scale=1 / (highest * wide),
        bits=bits,
    )


def negative_scale(bits: int, form: ScaleForm = ANY_SCALE) -> float:
    """Return the scale Δneg of GELU's negative range, which is not searched."""
    return form.nearest(GELU_DEPTH / (1 << (bits - 1)))


def gelu_twin(
    multiple: int, fraction: int, bits: int, form: ScaleForm = ANY_SCALE
) -> LevelQuantizer:
    """Return the quantizer of GELU's result with ``Δpos = multiple Δneg / fraction``.

    The unit of its levels is ``Δneg / fraction``. Source: PTQ4ViT, section 3.2; there ``fraction``
    is 1 and ``multiple`` a power of two, so that the partial products of both ranges align by a
    shift.
    """
    codes = 1 << (bits - 1)
    return LevelQuantizer(
        levels=(
            *(-i * fraction for i in range(codes, 0, -1)),
            *(j * multiple for j in range(codes)),
        ),
        thresholds=(
            *(-(i - 0.5) * fraction for i in range(codes, 0, -1)),
            *((j - 0.5) * multiple for j in range(1, codes)),
        ),
        scale=negative_scale(bits, form) / fraction,
        bits=bits,
    )


def tied_multiples(
    scales: list[float], bits: int, form: ScaleForm = ANY_SCALE
) -> tuple[list[int], int]:
    """Return the powers of two nearest (in the logarithm) to ``scales / Δneg``, and fraction 1.

    In ascending order, each once, from 2^0 to the largest whose levels fit 16 bits.
    """
    largest = OPERAND_BITS - bits
    exponents = {round(math.log2(scale / negative_scale(bits, form))) for scale in scales}
    return sorted({1 << min(max(exponent, 0), largest) for exponent in exponents}), 1


def untied_multiples(
    scales: list[float], bits: int, form: ScaleForm = ANY_SCALE
) -> tuple[list[int], int]:
    """Return the multiples of ``Δneg / fraction`` nearest to ``scales``, and the fraction.

    The fraction is 8, or less where levels in such small units would need more than 16 bits.
    """
    most = ((1 << (OPERAND_BITS - 1)) - 1) // ((1 << (bits - 1)) - 1)
    fraction = FINEST_FRACTION
    while fraction > 1 and max(scales) / negative_scale(bits, form) * fraction > most:
        fraction //= 2
    unit = negative_scale(bits, form) / fraction
    return sorted({min(max(round(scale / unit), 1), most) for scale in scales}), fraction
