# SPDX-License-Identifier: Apache-2.0
"""Static bounds: what no input whatever can exceed.

Two uses: an accumulator whose bounds fit its registers is *proven free* of overflow, and a graph
whose intermediates could pass 63 bits is refused, because the emulator computes on int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    FLOAT_OPS,
    LAYOUT_OPS,
    SOFTMAX_OPS,
    Add,
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Rescale,
    ShiftGelu,
    SquaredDifference,
)
from simulator.graph.softmax_ranges import WIDEST
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import IntArray, IntType
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import FIRST_STEP

Interval = tuple[int, int]
_WEIGHTS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What is known about an op before it runs.

    Attributes
    ----------
    accumulator
        smallest and largest partial sum over all channels; None where the op has no accumulator
    proven_free
        no level of the accumulator can overflow, for any input
    widest_bits
        signed bits that the largest intermediate (product plus rounding) may need
    """

    accumulator: Interval | None = None
    proven_free: bool = True
    widest_bits: int = 0


def signed_bits(low: int, high: int) -> int:
    """Return the bits of the narrowest signed type that holds ``low`` to ``high``."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def code_range(graph: IntGraph, name: str) -> Interval:
    """Return the smallest and largest code a tensor of integers can hold (exact for constants)."""
    tensor = graph.tensors[name]
    if graph.is_constant(name):
        codes = graph.constants[name]
        return (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    return tensor.code_type.low, tensor.code_type.high


def bounds(graph: IntGraph, op: Op) -> Bounds:
    """Return the static bounds of ``op``: none where it moves or looks up codes, or is float."""
    return _RULES[type(op)](graph, op)


def _centred(graph: IntGraph, name: str) -> Interval:
    low, high = code_range(graph, name)
    zero_point = graph.tensors[name].zero_point
    return low - zero_point, high - zero_point


def _product_bits(graph: IntGraph, values: Interval, op: Any, beside: Interval = (0, 0)) -> int:
    """Bits of ``value * multiplier + beside``, plus what rounding and the zero point may add."""
    parameters = op.requantize
    if parameters.arithmetic is not Arithmetic.FIXED_POINT:
        return signed_bits(*values)
    multiplier = code_range(graph, parameters.multiplier)[1]
    least, shift = code_range(graph, parameters.shift)
    if parameters.left_shift is LeftShift.WRAP and least < FIRST_STEP:
        # Channels with larger shifts keep their sums.
        values = min(values[0], -(1 << 31)), max(values[1], (1 << 31) - 1)
        shift = max(shift, FIRST_STEP)
    added = _finishing(graph, op, shift)
    if parameters.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        added += abs(graph.result(op).zero_point) << shift
    low, high = (value * multiplier + other for value, other in zip(values, beside, strict=True))
    return signed_bits(low - added, high + added)


def _finishing(graph: IntGraph, op: Op, shift: int) -> int:
    """Bound of the rounding constant (below 2^shift) and of the result's zero point."""
    return (1 << shift) + abs(graph.result(op).zero_point)


def _of_equal_terms(term: Interval, count: int) -> Interval:
    """Bounds of every sum of up to ``count`` terms, each of which may be left out."""
    return count * min(term[0], 0), count * max(term[1], 0)


def _of_weights(b: IntArray, a: Interval, group: int, bias: IntArray | None) -> Interval:
    """Bounds of every partial sum of ``a[k] * b[k, n]``, over all columns of ``b`` [K, N].

    Terms are added in groups of ``group`` (0: all), to a bias [N]. Some columns at a time, so that
    little memory is needed beside the weights.
    """
    assert a[0] <= 0 <= a[1]  # types hold 0, so that a term may be left out
    rows, columns = b.shape
    starts = np.arange(0, rows, group or rows)
    step = max(1, _WEIGHTS_AT_ONCE // rows)
    low = high = 0
    for start in range(0, columns, step):
        part = b[:, start : start + step]
        positive, negative = (
            np.add.reduceat(signed, starts, axis=0, dtype=np.int64)
            for signed in (np.maximum(part, 0), np.minimum(part, 0))
        )
        preset = 0 if bias is None else bias[start : start + step].astype(np.int64)
        low = min(low, int((positive * a[0] + negative * a[1] + np.minimum(preset, 0)).min()))
        high = max(high, int((positive * a[1] + negative * a[0] + np.maximum(preset, 0)).max()))
    return low, high


def _accumulator_bounds(
    sums: Interval, of_group: Callable[[int], Interval], accumulator: Accumulator
) -> tuple[bool, Interval]:
    """Whether partial sums are proven to fit all registers, and what can leave the outermost.

    ``of_group`` returns the bounds of the sums that an inner level makes of so many terms.
    """
    register = accumulator.levels[-1].kind
    free = _fits(sums, register) and all(
        _fits(of_group(level.group), level.kind) for level in accumulator.levels[:-1]
    )
    exact = free or accumulator.policy is OverflowPolicy.REPORT
    return free, sums if exact else (register.low, register.high)


def _fits(sums: Interval, register: IntType) -> bool:
    return register.low <= sums[0] and sums[1] <= register.high


def _matmul(graph: IntGraph, op: MatMul) -> Bounds:
    a, bias = code_range(graph, op.a), graph.constants[op.bias] if op.bias else None
    if graph.is_constant(op.b):
        b = graph.constants[op.b]
        b = b.T if op.transpose_b else b
        sums = _of_weights(b, a, 0, bias)
        found = _accumulator_bounds(
            sums, lambda group: _of_weights(b, a, group, None), op.accumulator
        )
    else:
        corners = [x * y for x in a for y in code_range(graph, op.b)]
        terms, term = graph.tensors[op.a].shape[-1], (min(corners), max(corners))
        sums = _of_equal_terms(term, terms)
        found = _accumulator_bounds(
            sums, lambda group: _of_equal_terms(term, min(group, terms)), op.accumulator
        )
    return Bounds(
        accumulator=sums,
        proven_free=found[0],
        widest_bits=_product_bits(graph, found[1], op, _residual_bounds(graph, op)),
    )


def residual_factors(graph: IntGraph, op: MatMul) -> NDArray[np.int64]:
    """Return what each code of a MatMul's residual is multiplied with before the shift, int64 [N].

    Zeros without a residual. Wider than 62 bits they would be wrong, which :func:`bounds` tells.
    """
    channels = graph.result(op).shape[-1]
    if op.residual_multiplier is None:
        return np.zeros(channels, np.int64)
    assert op.requantize.shift is not None
    multiplier = graph.constants[op.residual_multiplier].astype(np.int64)
    left = graph.constants[op.requantize.shift].astype(np.int64) - op.residual_fraction_bits
    return np.array(np.broadcast_to(multiplier << left, (channels,)))


def _residual_bounds(graph: IntGraph, op: MatMul) -> Interval:
    """Bounds of the residual's term in a MatMul, in unbounded integers; (0, 0) without one."""
    if op.residual is None or op.residual_multiplier is None:
        return 0, 0
    assert op.requantize.shift is not None
    multiplier = code_range(graph, op.residual_multiplier)[1]
    left = code_range(graph, op.requantize.shift)[1] - op.residual_fraction_bits
    low, high = _centred(graph, op.residual)
    return low * multiplier << left, high * multiplier << left


def _mean(graph: IntGraph, op: Mean) -> Bounds:
    term, terms = _centred(graph, op.a), graph.tensors[op.a].shape[op.axis]
    sums = _of_equal_terms(term, terms)
    free, leaving = _accumulator_bounds(
        sums, lambda group: _of_equal_terms(term, min(group, terms)), op.accumulator
    )
    return Bounds(accumulator=sums, proven_free=free, widest_bits=_product_bits(graph, leaving, op))


def _rescale(graph: IntGraph, op: Rescale) -> Bounds:
    return Bounds(widest_bits=_product_bits(graph, _centred(graph, op.a), op))


def _add(graph: IntGraph, op: Add) -> Bounds:
    low = high = 0
    for operand, multiplier in ((op.a, op.multiplier_a), (op.b, op.multiplier_b)):
        centred, factor = _centred(graph, operand), code_range(graph, multiplier)[1]
        low, high = low + centred[0] * factor, high + centred[1] * factor
    added = _finishing(graph, op, op.shift)
    return Bounds(widest_bits=signed_bits(low - added, high + added))


def _squared_channel_factors(graph: IntGraph, op: LayerNorm) -> int:
    """Sum of ``(multiplier << shift)²`` over all channels."""
    channels = graph.tensors[op.a].shape[-1]
    if op.channel_multiplier is None and op.channel_shift is None:
        return channels
    factors = [1] * channels
    if op.channel_multiplier is not None:
        factors = [int(m) for m in graph.constants[op.channel_multiplier]]
    if op.channel_shift is not None:
        shifts = graph.constants[op.channel_shift].tolist()
        factors = [m << shift for m, shift in zip(factors, shifts, strict=True)]
    return sum(factor * factor for factor in factors)


def _layer_norm(graph: IntGraph, op: LayerNorm) -> Bounds:
    channels = graph.tensors[op.a].shape[-1]
    largest = max(map(abs, _centred(graph, op.a)))
    # C sum(u²), of which the square of the sum is still taken away.
    variance = channels * largest**2 * _squared_channel_factors(graph, op) + op.epsilon
    # sum(d²) = C v, so |d| <= sqrt(C v); and r >= sqrt(v) 2^f / 2, so |d| i <= 2 sqrt(C) 2^(rb-f).
    root = isqrt(channels) + 1
    normalizing = 2 * root << (op.reciprocal_bits - op.sqrt_fraction_bits)
    normalized = 2 * root << op.normalized_fraction_bits
    gamma = max(map(abs, code_range(graph, op.gamma)))
    beta = max(map(abs, code_range(graph, op.beta))) << op.beta_shift
    affine = normalized * gamma + beta + _finishing(graph, op, op.shift)
    widest = max(variance << 2 * op.sqrt_fraction_bits, normalizing, affine)
    return Bounds(widest_bits=signed_bits(0, widest))


def _softmax(graph: IntGraph, op: Op) -> Bounds:
    widest = WIDEST[type(op)](graph, op)
    return Bounds(widest_bits=signed_bits(-widest, widest))


def _largest(graph: IntGraph, name: str) -> int:
    return max(map(abs, _centred(graph, name)))


def _common_scale(graph: IntGraph, op: AddShifted | SquaredDifference) -> Bounds:
    widest = joined = 0
    for operand, multiplier, shift in (
        (op.a, op.multiplier_a, op.shift_a),
        (op.b, op.multiplier_b, op.shift_b),
    ):
        product = (_largest(graph, operand) << op.input_left_shift) * multiplier
        widest = max(widest, product + (1 << shift))
        joined += (product >> shift) + 1
    if isinstance(op, SquaredDifference):
        joined *= joined
    widest = max(widest, joined * op.multiplier + _finishing(graph, op, op.shift))
    return Bounds(widest_bits=signed_bits(-widest, widest))


def _mul(graph: IntGraph, op: Mul) -> Bounds:
    ends = [a * b for a in _centred(graph, op.a) for b in _centred(graph, op.b)]
    products = min(ends), max(ends)
    return Bounds(
        widest_bits=max(signed_bits(*products), _product_bits(graph, products, op)),
    )


def _interpolated_lookup(graph: IntGraph, op: InterpolatedLookup) -> Bounds:
    low, high = code_range(graph, op.table)
    # A point between two samples lies between them; on the way there, a rise is added to a sample.
    widest = max(abs(low), abs(high)) + (high - low) << op.fraction_bits
    widest += 1 << op.shift
    return Bounds(widest_bits=signed_bits(-widest, widest))


def _gelu_polynomial(graph: IntGraph, op: GeluPolynomial) -> Bounds:
    ends = _centred(graph, op.a)
    if op.clip_low is not None:
        ends = max(ends[0], op.clip_low), max(ends[1], op.clip_low)
    register = 1 << (op.intermediate_bits - 1)
    polynomial = op.clip**2 + abs(op.constant)
    both = min(polynomial, register) + abs(op.one)
    product = max(map(abs, ends)) * min(both, register)
    stored = min(product, register)
    widest = max(polynomial, both, product)
    return Bounds(
        widest_bits=max(signed_bits(-widest, widest), _product_bits(graph, (-stored, stored), op))
    )


def _shift_gelu(graph: IntGraph, op: ShiftGelu) -> Bounds:
    # Twice a power, before it is halved; and a power times its reciprocal, which is 1 where the
    # sum is cut.
    power = 2 * op.octave << max(op.fraction_bits, 32)
    scaled = max((1 << 31) - 1, op.octave << op.fraction_bits)
    product = _largest(graph, op.a) * (scaled >> (32 - op.output_bits))
    return Bounds(
        widest_bits=max(
            signed_bits(0, max(power, 2 * scaled, 4 * _largest(graph, op.a))),
            signed_bits(-product, product),
            _product_bits(graph, (-product, product), op),
        )
    )


def _layer_norm_bisection(graph: IntGraph, op: LayerNormBisection) -> Bounds:
    low, high = _centred(graph, op.a)
    channels = graph.tensors[op.a].shape[-1]
    # A mean lies between the lowest and the highest code, so no deviation is longer than their
    # distance. Twice the squares, because the bisection squares up to twice what it looks for.
    squares = 2 * (channels * (high - low) ** 2 + 1)
    weight, bias = (max(map(abs, code_range(graph, name))) for name in (op.weight, op.bias))
    affine = (high - low) * weight + bias + _finishing(graph, op, op.shift)
    return Bounds(widest_bits=signed_bits(-max(squares, affine), max(squares, affine)))


_WITHOUT_SUMS: tuple[type[Op], ...] = (Lookup, *LAYOUT_OPS, *FLOAT_OPS)
_RULES: Mapping[type[Op], Callable[[IntGraph, Any], Bounds]] = MappingProxyType(
    {
        MatMul: _matmul,
        Mean: _mean,
        Rescale: _rescale,
        Add: _add,
        LayerNorm: _layer_norm,
        **dict.fromkeys(SOFTMAX_OPS, _softmax),
        AddShifted: _common_scale,
        SquaredDifference: _common_scale,
        Mul: _mul,
        InterpolatedLookup: _interpolated_lookup,
        GeluPolynomial: _gelu_polynomial,
        ShiftGelu: _shift_gelu,
        LayerNormBisection: _layer_norm_bisection,
        **{kind: lambda graph, op: Bounds() for kind in _WITHOUT_SUMS},
    }
)
