# SPDX-License-Identifier: Apache-2.0
"""Requantization in float, in vector registers: as :mod:`simulator.numerics.float_requantization`.

A product is clipped where it could leave 32 bits, rounded in its own type, and cut to an integer.
Every code type is narrower than what is left: what is clipped does not fit it either.
The kernel is in :mod:`simulator.simd.lanes.requantize_row`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir

from simulator.numerics.float_requantization import FloatArray, RealRequantizer
from simulator.numerics.integer_type import limits
from simulator.numerics.rescaling import ZeroPointStage
from simulator.numerics.rounding import Rounding
from simulator.simd.lanes.requantization import Parts, Rule
from simulator.simd.lanes.vectors import I32X8, INT32, LANES, call, constant, element, load, splat

CLIPPED = 1 << 29  # exact in either type
SMALL = CLIPPED / (1 << 32)  # multipliers that carry no sum of 32 bits so far
WIDEST_CODE = 24  # bits: its ends and zero points are smaller


@dataclass(frozen=True, slots=True)
class SimdFloatRequantizer:
    """The constants of a :class:`RealRequantizer` as the kernel takes them, padded to 8 channels.

    Attributes
    ----------
    multiplier
        float32 or float64 [channels]
    pre_round_offset
        the same type, [8]: what is added before rounding, the zero point or 0
    mode
        number of the rounding mode: its place in :data:`BEFORE_TRUNCATION`
    zero_point, low, high
        what is added after rounding, and the ends
    """

    multiplier: FloatArray
    pre_round_offset: FloatArray
    mode: int
    zero_point: int
    low: int
    high: int

    @classmethod
    def of(cls, requantizer: RealRequantizer, padded: int) -> SimdFloatRequantizer | None:
        """Return the form of a requantizer in vector registers, or none.

        There is none of a rounding mode that :data:`BEFORE_TRUNCATION` does not have, and of codes
        that are too wide. ``padded`` is the number of channels with padding, a multiple of 8.
        Padding yields the zero point, and must not be counted: it has to be a code that may be.
        """
        low, high = limits(requantizer.kind, requantizer.rule.overflow)
        zero_point, multiplier = requantizer.zero_point, requantizer.multiplier
        mode, known = requantizer.rule.rounding, list(BEFORE_TRUNCATION)
        if mode not in known or requantizer.kind.bits > WIDEST_CODE:
            return None
        if padded > len(multiplier) and not low <= zero_point <= high:
            return None
        before = requantizer.rule.zero_point_stage is ZeroPointStage.BEFORE_ROUND
        filling = np.zeros(padded - len(multiplier), multiplier.dtype)
        return cls(
            multiplier=np.concatenate([multiplier, filling]),
            pre_round_offset=np.full(LANES, zero_point if before else 0, multiplier.dtype),
            mode=known.index(mode),
            zero_point=0 if before else zero_point,
            low=low,
            high=high,
        )

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what kernels take as ``requantizer``: no offset where products are small."""
        small = not self.pre_round_offset.any() and np.abs(self.multiplier).max() < SMALL
        arrays = (self.multiplier,) if small else (self.multiplier, self.pre_round_offset)
        return (*arrays, self.mode, self.zero_point, self.low, self.high)


def float_rules(builder: Any, bits: int, parts: Parts) -> Mapping[int, Rule]:
    """Return, by the number of every rounding mode that is known here, how 8 sums become codes.

    ``bits`` are those of the float type, ``parts`` the arrays of a :class:`SimdFloatRequantizer`.
    """
    real = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector = ir.VectorType(real, 256 // bits)
    multipliers, *offset = (part(real) for part in parts)

    def scaled(values: Any, first: Any, start: int) -> Any:
        sums = builder.sitofp(_part(builder, values, start, vector.count), vector)
        where = element(builder, multipliers, (first, 1), (constant(start), 1))
        product = builder.fmul(sums, load(builder, where, vector))
        for zero_point in offset:
            added = builder.fadd(product, load(builder, zero_point, vector))
            product = _clipped(builder, added)
        return product

    def rule_of(before_truncation: Callable[[Any, Any], Any]) -> Rule:
        def rule(values: Any, first: Any) -> Any:
            codes = [
                builder.fptosi(
                    before_truncation(builder, scaled(values, first, start)),
                    ir.VectorType(INT32, vector.count),
                )
                for start in range(0, LANES, vector.count)
            ]
            return codes[0] if len(codes) == 1 else builder.shuffle_vector(*codes, _lanes(LANES))

        return rule

    return {i: rule_of(operation) for i, operation in enumerate(BEFORE_TRUNCATION.values())}


def _lanes(count: int, start: int = 0) -> Any:
    return ir.Constant(ir.VectorType(INT32, count), list(range(start, start + count)))


def _part(builder: Any, values: Any, start: int, count: int) -> Any:
    if count == LANES:
        return values
    return builder.shuffle_vector(values, splat(I32X8, 0), _lanes(count, start))


def _filled(values: Any, number: float) -> Any:
    return ir.Constant(values.type, [number] * values.type.count)


def _clipped(builder: Any, values: Any) -> Any:
    """Return lanes between the ends of what 32 bits hold with room; they may be infinite."""
    for number, comparison in ((-CLIPPED, ">"), (CLIPPED, "<")):
        end = _filled(values, float(number))
        values = builder.select(builder.fcmp_ordered(comparison, values, end), values, end)
    return values


def _call(name: str, builder: Any, *values: Any) -> Any:
    vector = values[0].type
    return call(builder, f"llvm.{name}.v{vector.count}f{256 // vector.count}", vector, *values)


def _half_away(builder: Any, values: Any) -> Any:
    """Add almost a half with the sign: below a half less than 1 results, from it on at least 1."""
    kind = np.float32 if values.type.count == LANES else np.float64
    almost = float(np.nextafter(kind(0.5), kind(0)))
    return builder.fadd(values, _call("copysign", builder, _filled(values, almost), values))


def _half(comparison: str) -> Callable[[Any, Any], Any]:
    """Return rounding to the nearest, ties by how what is cut off compares with a half."""
    opposite = {">=": "<", ">": "<="}[comparison]

    def before_truncation(builder: Any, values: Any) -> Any:
        cut = _call("trunc", builder, values)
        rest = builder.fsub(values, cut)  # exact, with the sign of the value
        one, none = _filled(values, 1.0), _filled(values, 0.0)
        up = builder.fcmp_ordered(comparison, rest, _filled(values, 0.5))
        down = builder.fcmp_ordered(opposite, rest, _filled(values, -0.5))
        risen = builder.fadd(cut, builder.select(up, one, none))
        return builder.fsub(risen, builder.select(down, one, none))

    return before_truncation


# What is done to a product before it is truncated to an integer, so that the integer is the rounded
# product. A mode that is not here has no SIMD form: SimdFloatRequantizer.of returns none.
BEFORE_TRUNCATION: Mapping[Rounding, Callable[[Any, Any], Any]] = {
    Rounding.FLOOR: partial(_call, "floor"),
    Rounding.TOWARD_ZERO: lambda _, values: values,
    Rounding.HALF_UP: _half(">="),
    Rounding.HALF_DOWN: _half(">"),
    Rounding.HALF_AWAY: _half_away,
    Rounding.HALF_EVEN: partial(_call, "roundeven"),
}
