# SPDX-License-Identifier: Apache-2.0
"""Requantization in float, in vector registers: as :mod:`simulator.numerics.float_requantization`.

A product is rounded to a whole number in its own type, then clipped so that it fits 32 bits with
the zero point: every code type is narrower, so that what is clipped does not fit it either.
The kernel is in :mod:`simulator.numerics.row_words`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from simulator.numerics.float_requantization import MODES, FloatArray, RealRequantizer
from simulator.numerics.integer_type import limits
from simulator.numerics.requantization_words import LANES, Parts, Rule
from simulator.numerics.rescaling import ZeroPointStage
from simulator.numerics.rounding import Rounding
from simulator.numerics.vector_ir import WORDS, call, constant, element, load, splat

CLIPPED = 1 << 29  # exact in either type
WIDEST_CODE = 24  # bits: its ends and zero points are smaller
LOWER, UPPER = list(range(LANES // 2)), list(range(LANES // 2, LANES))


@dataclass(frozen=True, slots=True)
class RealWordRequantizer:
    """The constants of a :class:`RealRequantizer` as the kernel takes them, padded to 8 channels.

    Attributes
    ----------
    multiplier
        float32 or float64 [channels]
    inside
        the same type, [8]: what is added before rounding, the zero point or 0
    mode
        index in :data:`simulator.numerics.float_requantization.MODES`
    zero_point, low, high
        what is added after rounding, and the ends
    """

    multiplier: FloatArray
    inside: FloatArray
    mode: int
    zero_point: int
    low: int
    high: int

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what kernels take as ``words``."""
        ends = (self.zero_point, self.low, self.high)
        return (self.multiplier, self.inside, self.mode, *ends)


def real_words_of(requantizer: RealRequantizer, padded: int) -> RealWordRequantizer | None:
    """Return the form of a requantizer in vector registers, or none where codes are too wide.

    ``padded`` is the number of channels with padding, a multiple of 8. Padding yields the zero
    point, and must not be counted: it has to be a code that may be.
    """
    low, high = limits(requantizer.kind, requantizer.overflow)
    zero_point, multiplier = requantizer.zero_point, requantizer.multiplier
    if requantizer.kind.bits > WIDEST_CODE:
        return None
    if padded > len(multiplier) and not low <= zero_point <= high:
        return None
    before = requantizer.stage is ZeroPointStage.BEFORE_ROUND
    filling = np.zeros(padded - len(multiplier), multiplier.dtype)
    return RealWordRequantizer(
        multiplier=np.concatenate([multiplier, filling]),
        inside=np.full(LANES, zero_point if before else 0, multiplier.dtype),
        mode=MODES[requantizer.rounding],
        zero_point=0 if before else zero_point,
        low=low,
        high=high,
    )


def float_rules(builder: Any, bits: int, parts: Parts) -> Mapping[int, Rule]:
    """Return, for the index of every rounding, how 8 sums become rounded numbers.

    ``bits`` are those of the float type, ``parts`` the arrays of a :class:`RealWordRequantizer`.
    """
    real = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector = ir.VectorType(real, 256 // bits)
    multipliers, inside = (part(real) for part in parts)
    zero = load(builder, inside, vector)

    def rule_of(round_whole: Callable[[Any, Any], Any]) -> Rule:
        def rule(values: Any, first: Any) -> Any:
            codes = []
            for start in range(0, LANES, vector.count):
                where = element(builder, multipliers, (first, 1), (constant(start), 1))
                sums = builder.sitofp(_part(builder, values, start, vector.count), vector)
                # fadd of 0 would change nothing but the sign of a zero.
                scaled = builder.fadd(builder.fmul(sums, load(builder, where, vector)), zero)
                whole = _clipped(builder, round_whole(builder, scaled))
                codes.append(builder.fptosi(whole, ir.VectorType(ir.IntType(32), vector.count)))
            return codes[0] if len(codes) == 1 else builder.shuffle_vector(*codes, _lanes(LANES))

        return rule

    return {MODES[mode]: rule_of(round_whole) for mode, round_whole in ROUND.items()}


def _lanes(count: int, start: int = 0) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), count), list(range(start, start + count)))


def _part(builder: Any, values: Any, start: int, count: int) -> Any:
    if count == LANES:
        return values
    return builder.shuffle_vector(values, splat(WORDS, 0), _lanes(count, start))


def _clipped(builder: Any, whole: Any) -> Any:
    """Return lanes between the ends of what 32 bits hold with room; they may be infinite."""
    for sign, comparison in ((-CLIPPED, ">"), (CLIPPED, "<")):
        end = ir.Constant(whole.type, [float(sign)] * whole.type.count)
        whole = builder.select(builder.fcmp_ordered(comparison, whole, end), whole, end)
    return whole


def _intrinsic(name: str) -> Callable[[Any, Any], Any]:
    """Return one of LLVM's roundings to a whole float."""

    def round_whole(builder: Any, values: Any) -> Any:
        suffix = f"v{values.type.count}f{256 // values.type.count}"
        return call(builder, f"llvm.{name}.{suffix}", values.type, values)

    return round_whole


def _half(comparison: str) -> Callable[[Any, Any], Any]:
    """Return rounding to the nearest, ties by how the distance from below compares with a half."""

    def round_whole(builder: Any, values: Any) -> Any:
        cut = _intrinsic("trunc")(builder, values)
        rest = builder.fsub(values, cut)  # exact, with the sign of the value
        half, one = (ir.Constant(values.type, [n] * values.type.count) for n in (0.5, 1.0))
        none = ir.Constant(values.type, [0.0] * values.type.count)
        opposite = {">=": "<", ">": "<="}[comparison]
        up = builder.fcmp_ordered(comparison, rest, half)
        down = builder.fcmp_ordered(opposite, rest, builder.fneg(half))
        risen = builder.fadd(cut, builder.select(up, one, none))
        return builder.fsub(risen, builder.select(down, one, none))

    return round_whole


ROUND: Mapping[Rounding, Callable[[Any, Any], Any]] = {
    Rounding.FLOOR: _intrinsic("floor"),
    Rounding.TOWARD_ZERO: _intrinsic("trunc"),
    Rounding.HALF_UP: _half(">="),
    Rounding.HALF_DOWN: _half(">"),
    Rounding.HALF_AWAY: _intrinsic("round"),
    Rounding.HALF_EVEN: _intrinsic("roundeven"),
}
