# SPDX-License-Identifier: Apache-2.0
"""The constants of softmax algorithms, from the real scale of the scores.

Each function takes what one code of the scores is worth and returns fields of the operation of the
same name in :mod:`simulator.graph.ops`, where the formulas that use them are. ITA's softmax
has none: its scores have the scale ``ln 2 / 2^octave_bits``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.fixed_point import q31_multiplier_and_shift
from simulator.numerics.gemmlowp import ARGUMENT_FRACTION_BITS

Real = np.float64 | np.float32
# TFLite's table of exponentials starts at exp(-10); below, nothing is added to a sum.
LUT513_LOWEST = -10.0
LUT513_STEPS = 512
# Of what logarithms stand for: an operand of a product like the probabilities of other softmaxes.
LEVEL_BITS = 8
LARGEST_LEVEL = 1 << LEVEL_BITS - 1


class GemmlowpConstants(NamedTuple):
    """Fields of SoftmaxGemmlowp."""

    input_multiplier: int
    input_left_shift: int
    smallest_difference: int


class Lut513Tables(NamedTuple):
    """Constants of SoftmaxLut513, int16 [513] each."""

    exp_table: NDArray[np.int16]
    reciprocal_table: NDArray[np.int16]


class IBertConstants(NamedTuple):
    """Fields of SoftmaxIBert."""

    coefficient_a: int
    coefficient_b: int
    coefficient_c: int
    log2: int


class Log2Constants(NamedTuple):
    """Fields of SoftmaxLog2, but for n."""

    x0: int
    b: int
    c: int


def gemmlowp_constants(scale: float, beta: float = 1.0) -> GemmlowpConstants:
    """Return the scale in Q5.26, and the difference of codes that is still worth -31.

    As TFLite's ``PreprocessSoftmaxScaling`` and ``CalculateInputRadius`` derive them. ``scale`` and
    ``beta`` are float32 in a .tflite file; give them as that file holds them.

    Raises
    ------
    ValueError
        If ``scale * beta`` is not above 2^-26, which TFLite refuses too.
    """
    _must_be_positive(scale)
    fraction_bits = ARGUMENT_FRACTION_BITS
    factor = min(beta * scale * (1 << fraction_bits), float((1 << 31) - 1))
    if not factor > 1:
        raise ValueError(f"scale {scale} times beta {beta}: must be above 2^-{fraction_bits}")
    multiplier, left_shift = _quantized_multiplier(factor)
    radius = math.floor(31.0 * (1 << fraction_bits) / (1 << left_shift))
    return GemmlowpConstants(multiplier, left_shift, -radius)


def lut513_multiplier(scale: float, beta: float = 1.0) -> tuple[int, int]:
    """Return SoftmaxLut513's input_multiplier and input_left_shift.

    The factor that spreads the scores -10..0 over 65536 codes, as TFLite's ``SoftmaxPrepare``
    derives it; ``scale * beta`` is a float32 product there.
    """
    _must_be_positive(scale)
    product = float(np.float32(scale) * np.float32(beta))
    return _quantized_multiplier(product / (-LUT513_LOWEST / 65535.0))


def lut513_tables(real: type[Real] = np.float64) -> Lut513Tables:
    """Return exp of -10..0 and 1 / (1 + x) of 0..1, both with 15 fraction bits.

    As TFLite's ``gen_lut``: an entry gives half of the error that a straight line to the next one
    makes in the middle. LiteRT computes it in float64; TensorFlow Lite Micro in float32, where
    two entries of the reciprocals are others.
    """
    return Lut513Tables(
        _interpolated(lambda x: real(math.exp(x)), LUT513_LOWEST, 0.0, real),
        _interpolated(lambda x: real(1) / (real(1) + x), 0.0, 1.0, real),
    )


def float_table(scale: float, beta: float = 1.0, bits: int = 8) -> NDArray[np.float32]:
    """Return SoftmaxFloatTable's table: exp(-scale * beta * difference) of codes of ``bits`` bits.

    The argument is a float32 product, as in TFLite's ``PopulateSoftmaxLookupTable``; exp is rounded
    from float64, where TFLite calls the C library's ``expf``, which may differ in the last place.
    """
    _must_be_positive(scale)
    factor = -np.float32(scale) * np.float32(beta)
    arguments = factor * np.arange(1 << bits, dtype=np.float32)
    return np.array([math.exp(argument) for argument in arguments.tolist()], np.float32)


def ibert_constants(scale: float) -> IBertConstants:
    """Return I-BERT's polynomial of exp, algorithm 2 of arXiv 2101.01321, in codes.

    Raises
    ------
    ValueError
        If a code is worth more than ln 2: no integer is left of an octave.
    """
    log2 = _octave(math.log(2), scale)
    a, b, c = 0.3585, 1.353, 0.344
    return IBertConstants(1, math.floor(b / scale), math.floor(c / (a * scale**2)), log2)


def shiftmax_constants(scale: float) -> int:
    """Return Shiftmax's x0: floor(-1 / scale), as in I-ViT's released code."""
    _must_be_positive(scale)
    return math.floor(-1 / scale)


def log2_constants(scale: float) -> Log2Constants:
    """Return SoftmaxLog2's polynomial of exp in codes, as in FQ-ViT's released code.

    exp(p) is 0.35815147 p² + 0.96963238 p + 1, of which the first coefficient is taken out.
    """
    _must_be_positive(scale)
    x0 = math.floor(-0.6931 / scale)
    a, b, c = 0.35815147, 0.96963238, 1.0
    return Log2Constants(x0, math.floor(b / a / scale), math.floor(c / a / scale**2))


def levels_of_octaves(bits: int, per_octave: int) -> tuple[int, ...]:
    """Return what logarithms of exponentials are worth: ``128 * 2^(-code / per_octave)``.

    In 8 bits, rounded to the nearest, for codes of ``bits`` bits; the highest code stands for all
    that is further away, and is worth nothing.

    >>> levels_of_octaves(3, 2)
    (128, 91, 64, 45, 32, 23, 16, 0)
    """
    powers = [round(LARGEST_LEVEL * 2.0 ** (-code / per_octave)) for code in range(1 << bits)]
    return (*powers[:-1], 0)


def logarithm_factor(scale: float, per_octave: int) -> float:
    """Return the steps of a logarithm, ``per_octave`` to an octave, in one code of scores."""
    _must_be_positive(scale)
    return scale * per_octave / math.log(2)


def _must_be_positive(scale: float) -> None:
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale {scale}: must be positive")


def _octave(length: float, scale: float) -> int:
    _must_be_positive(scale)
    codes = math.floor(length / scale)
    if codes < 1:
        raise ValueError(f"scale {scale}: an octave of {length:.4f} needs a code or more")
    return codes


def _quantized_multiplier(factor: float) -> tuple[int, int]:
    """Return ``multiplier / 2^31 * 2^left_shift`` as TFLite's ``QuantizeMultiplier`` does."""
    multiplier, shift = q31_multiplier_and_shift(factor)
    return multiplier, 31 - shift


def _round_half_away(value: Real) -> Real:
    # Adding 1/2 would round before it rounds: float32 has no bit for it everywhere.
    whole: Real = np.trunc(value)
    return whole + np.sign(value) if abs(value - whole) >= 0.5 else whole


def _interpolated(
    function: Callable[[Real], Real], low: float, high: float, real: type[Real]
) -> NDArray[np.int16]:
    """Return ``function`` at 513 arguments; every operation is rounded to the type ``real``."""
    one, two = real(1 << 15), real(2)
    start, step = real(low), real(high - low) / real(LUT513_STEPS)

    def value(argument: Real) -> Real:
        return function(argument) * one

    entries = []
    for index in range(LUT513_STEPS):
        argument = start + real(index) * step
        entry = _round_half_away(value(argument))
        following = value(start + real(index + 1) * step)
        drawn = _round_half_away((following + entry) / two)
        error = drawn - _round_half_away(value(argument + step / two))
        entries.append(entry - _round_half_away(error / two))
    entries.append(_round_half_away(value(real(high))))
    return np.array(entries).clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
