# SPDX-License-Identifier: Apache-2.0
"""Tables of functions of one value, as targets build them before anything runs.

A table is part of a graph, so what it holds is a choice like any other: in which float type the
function is evaluated, how its values become codes, where it is sampled. Tables are int64 arrays,
lowest code first; a Lookup or an InterpolatedLookup reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.fixed_point import q31_multiplier_and_shift
from simulator.numerics.integer_type import IntType, Overflow, fit
from simulator.numerics.inverse_square_root import (
    inverse_square_root,
    inverse_square_roots_kernel,
)
from simulator.numerics.rounding import DoubleRounding, Rounding, offsets

Table = NDArray[np.int64]
Function = Callable[[np.float32], np.float32]

INT8, INT16 = IntType(bits=8), IntType(bits=16)
STEPS_16 = 512  # intervals of TFLite's table of a function of 16-bit codes

_ONE, _HALF = np.float32(1), np.float32(0.5)


def gelu(value: np.float32) -> np.float32:
    """GELU in float32: ``x / 2 (1 + erf(x / √2))``, every step rounded."""
    return _HALF * value * (_ONE + np.float32(math.erf(float(value * np.float32(0.5**0.5)))))


def gelu_tanh(value: np.float32) -> np.float32:
    """GELU by its tanh approximation in float32, every step rounded."""
    cubic = value + np.float32(0.044715) * value * value * value
    tanh = np.float32(np.tanh(np.float32(math.sqrt(2 / math.pi)) * cubic))
    return _HALF * value * (_ONE + tanh)


def logistic(value: np.float32) -> np.float32:
    """``1 / (1 + exp(-x))`` in float32, every step rounded."""
    return _ONE / (_ONE + exponential(-value))


def exponential(value: np.float32) -> np.float32:
    """``exp(x)``, rounded once to float32; infinite where it is too large for that."""
    with np.errstate(over="ignore"):
        return np.float32(np.exp(np.float64(value)))


def _round_half_away(value: np.floating) -> float:
    """C's ``round``; halves are exact in both float types, so this one is too."""
    whole = np.trunc(value)
    return float(whole) + bool(abs(value - whole) >= 0.5) * (1 if value > 0 else -1)


def _code(value: np.floating, zero_point: int, kind: IntType) -> int:
    if not math.isfinite(value):
        return kind.high if value > 0 else kind.low
    return fit(int(_round_half_away(value)) + zero_point, kind, Overflow.SATURATE)


def function_table(
    function: Function,
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    *,
    input_type: IntType = INT8,
    output_type: IntType = INT8,
) -> Table:
    """Return the table of ``function``, one entry per code of ``input_type``.

    All in float32: ``T[q] = clamp(round_half_away(f(s_x (q - z_x)) * (1 / s_y)) + z_y)``.
    Source: TFLite's ``LUTPopulate`` of 8-bit types (GELU, LOGISTIC).
    """
    scale, inverse = np.float32(input_scale), _ONE / np.float32(output_scale)
    return np.array(
        [
            _code(
                function(scale * np.float32(code - input_zero_point)) * inverse,
                output_zero_point,
                output_type,
            )
            for code in range(input_type.low, input_type.high + 1)
        ],
        np.int64,
    )


def rsqrt_table(
    input_scale: float,
    input_zero_point: int,
    output_scale: float,
    output_zero_point: int,
    *,
    bits: int = 8,
) -> Table:
    """Return the codes of ``1 / √x`` of every code, [2^bits], computed in integers as TFLite does.

    ``r = 2^20 / √(q - z_x)`` by :func:`.inverse_square_root.inverse_square_root`, then ``r`` times
    ``2^-20 / (√s_x s_y)`` as a 31-bit multiplier, both rounded twice. At ``q = z_x`` the result is
    the largest code. TFLite refuses codes below; their entries repeat that of ``z_x``.
    Source: RSQRT of TensorFlow Lite and of TensorFlow Lite Micro, which agree.
    """
    real_x, real_y = float(np.float32(input_scale)), float(np.float32(output_scale))
    multiplier, shift = q31_multiplier_and_shift(1 / (math.sqrt(real_x) * real_y))
    fraction_bits = 20
    places = shift + fraction_bits
    kind = IntType(bits=bits)
    roots = _inverse_roots(fraction_bits, bits)[: kind.high - input_zero_point]
    # Products of 52 bits, none of them negative: one offset is all of both roundings.
    offset, _, _ = offsets(np.array([places]), Rounding.HALF_UP, DoubleRounding.SYMMETRIC)
    results = (roots * multiplier + offset >> places) + output_zero_point
    not_positive = input_zero_point - kind.low + 1
    table = np.concatenate([np.full(not_positive, kind.high), np.minimum(results, kind.high)])
    return table.astype(np.int64)


@cache
def _inverse_roots(fraction_bits: int, bits: int) -> Table:
    """Return the inverse square roots of 1 to 2^bits - 1, which all tables read.

    Those of 8-bit codes in Python: the kernel takes a second to compile.
    """
    values = np.arange(1, 1 << bits)
    roots = np.empty_like(values)
    if bits <= INT8.bits:
        roots[:] = [inverse_square_root(value, fraction_bits) for value in values.tolist()]
    else:
        inverse_square_roots_kernel(values, fraction_bits, roots)
    roots.flags.writeable = False
    return roots


def interpolation_table(
    function: Function,
    input_scale: float,
    output_scale: float,
    *,
    input_zero_point: int = 0,
    output_zero_point: int = 0,
) -> Table:
    """Return TFLite's table of a function of 16-bit codes, [513], for linear interpolation.

    All in float32. Entry i samples the function at code ``-32768 + 128 i`` of a range whose end is
    32767, and is lowered by half the error that interpolation would have in the middle of its
    interval. The output's zero point only places the range: entries are codes without it.
    Source: TFLite's ``LUTPopulate`` of 16-bit types.
    """
    low, high = (
        np.float32(input_scale) * np.float32(end - input_zero_point)
        for end in (INT16.low, INT16.high)
    )
    least, most = (
        np.float32(output_scale) * np.float32(end - output_zero_point)
        for end in (INT16.low, INT16.high)
    )
    step = (high - low) / np.float32(STEPS_16)
    inverse = np.float32(1 << 16) / (most - least)
    table = []
    for index in range(STEPS_16):
        start = low + np.float32(index) * step
        here, middle, following = (
            function(value) * inverse
            for value in (start, start + step / np.float32(2), low + np.float32(index + 1) * step)
        )
        sample = np.float32(_round_half_away(here))
        interpolated = _round_half_away((following + sample) / np.float32(2))
        error = np.float32(interpolated) - np.float32(_round_half_away(middle))
        table.append(sample - np.float32(_round_half_away(error / np.float32(2))))
    table.append(np.float32(_round_half_away(function(high) * inverse)))
    return np.array([_code(entry, 0, INT16) for entry in table], np.int64)
