# SPDX-License-Identifier: Apache-2.0
"""The ops of a chip's LayerNorm, from its profile alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from simulator.golden.one_op import OneOp, of_op
from simulator.graph.builder import GraphBuilder
from simulator.graph.op import Op
from simulator.graph.ops import (
    AddShifted,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    Mul,
    SquaredDifference,
)
from simulator.graph.verify import verify_one_op
from simulator.numerics.common_scale import (
    ADD_LEFT_SHIFT,
    SQUARE_LEFT_SHIFT,
    squared_difference_constants,
    sum_constants,
)
from simulator.numerics.function_tables import rsqrt_table
from simulator.numerics.integer_type import IntType
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.profile import (
    GraphLayerNorm,
    IntegerLayerNorm,
    NewtonLayerNorm,
    NpuProfile,
    RescaleSection,
)

CHANNELS = 12
SCALE = 0.03


def layer_norms(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    """Yield the ops of a chip's LayerNorm; none of one in float."""
    section = profile.layernorm
    if isinstance(section, IntegerLayerNorm):
        yield "layernorm", _integer(profile, section)
    elif isinstance(section, GraphLayerNorm):
        yield from _graph(profile, section.part_bits)
    elif section.algorithm == "isqrt_bisect":
        yield "layernorm", _bisection(profile)


def _types(profile: NpuProfile) -> tuple[IntType, IntType, int]:
    """Return the types of the residual stream and of activations, and a zero point."""
    zero_point = -7 if profile.activation.zero_point == "asymmetric" else 0
    kind = IntType(bits=profile.activation.bits)
    return IntType(bits=profile.activation.residual_bits), kind, max(zero_point, kind.low + 1)


def _integer(profile: NpuProfile, section: IntegerLayerNorm) -> OneOp:
    """Integer statistics, with the profile's fraction bits or as many as 64 bits hold."""
    rescale = profile.rescale_of("layernorm")
    for fewer in range(64):
        sqrt = max(section.sqrt_fraction_bits - fewer, 0)
        normalized = max(section.normalized_fraction_bits - fewer, 0)
        reciprocal = section.reciprocal_bits - max(fewer - 4, 0)
        if reciprocal - sqrt - normalized < 0:
            continue
        found = _with_bits(profile, section, (sqrt, reciprocal, normalized))
        if found is not None and not list(verify_one_op(found.graph)):
            return found
    raise AssertionError(f"{profile.name}: no fraction bits fit {rescale}")


def _with_bits(
    profile: NpuProfile, section: IntegerLayerNorm, bits: tuple[int, int, int]
) -> OneOp | None:
    stream, kind, zero_point = _types(profile)
    rescale = profile.rescale_of("layernorm")
    gamma_shift = rescale.multiplier_bits - 5
    shift = gamma_shift + bits[2]
    # β alone shall reach both ends of the result.
    if not rescale.shift[0] <= shift <= min(rescale.shift[1], 61 - kind.bits):
        return None
    beta_shift = max(0, shift + 9 - 32)
    gamma = np.resize([1, -1, 1, 1], CHANNELS) * (30 << gamma_shift)
    constants: dict[str, Any] = {}
    width = IntType(bits=section.channel_factor_bits, signed=False)
    if section.channel_factor == "multiplier":
        constants["channel_multiplier"] = np.resize([3, 5, 4], CHANNELS)
    elif section.channel_factor == "shift":
        constants["channel_shift"] = np.resize([0, 1, 0, 2], CHANNELS)
    builder = GraphBuilder(
        profile.name,
        profile.name,
        types={
            "gamma": IntType(bits=rescale.multiplier_bits + 1),
            "beta": IntType(bits=32),
            "channel_multiplier": width,
            "channel_shift": width,
        },
    )
    builder.input("a", (2, CHANNELS), stream, zero_point)
    start = section.root_start_bits if isinstance(section, NewtonLayerNorm) else 0
    builder.op(
        LayerNorm, "y", "a", **constants, gamma=gamma,
        beta=np.linspace(-4, 4, CHANNELS).astype(np.int64) << (shift - beta_shift),
        epsilon=3, sqrt_fraction_bits=bits[0], reciprocal_bits=bits[1],
        normalized_fraction_bits=bits[2], shift=shift, rounding=rescale.rounding,
        overflow=rescale.overflow, root_steps=section.root_steps, root_start_bits=start,
        beta_shift=beta_shift, type=kind, zero_point=zero_point,
    )  # fmt: skip
    return of_op(builder.ops[-1], builder.unverified())


def _bisection(profile: NpuProfile) -> OneOp:
    stream, kind, zero_point = _types(profile)
    rescale = profile.rescale_of("layernorm")
    shift = min(max(8, rescale.shift[0]), rescale.shift[1])
    builder = GraphBuilder(
        profile.name,
        profile.name,
        types={"weight": IntType(bits=rescale.multiplier_bits + 1), "bias": IntType(bits=32)},
    )
    builder.input("a", (2, CHANNELS), stream, zero_point)
    builder.op(
        LayerNormBisection, "y", "a", weight=np.resize([40 << shift >> 1, -(9 << shift)], CHANNELS),
        bias=np.linspace(-5000, 5000, CHANNELS).astype(np.int64), shift=shift,
        rounding=rescale.rounding, overflow=rescale.overflow, type=kind, zero_point=zero_point,
    )  # fmt: skip
    return of_op(builder.ops[-1], builder.unverified())


def _graph(profile: NpuProfile, bits: int) -> Iterator[tuple[str, OneOp]]:
    """The element-wise operators of a LayerNorm that is a graph of them, each by itself."""
    kind = IntType(bits=bits)
    asymmetric = profile.activation.zero_point == "asymmetric"
    zero = -7 if asymmetric else 0
    section = profile.rescale_of("add")
    rule: dict[str, Any] = {
        "rounding": Rounding.HALF_UP,
        "double_rounding": DoubleRounding.SYMMETRIC,
        "overflow": section.overflow,
    }
    if profile.add.algorithm == "shifted_q31":
        rule |= {"rounding": section.rounding, "double_rounding": section.double_rounding}

    def of_two(op_type: type[Op], constant: bool = False, **fields: Any) -> OneOp:
        builder = GraphBuilder(profile.name, profile.name)
        builder.input("a", (2, CHANNELS), kind, zero)
        if constant:
            builder.constant("b", np.linspace(kind.low, kind.high, CHANNELS).round(), kind)
        else:
            builder.declare("b", (2, 1), kind, zero)
        builder.op(op_type, "y", "a", "b", type=kind, zero_point=zero, **fields)
        return of_op(builder.ops[-1], builder.unverified())

    left = ADD_LEFT_SHIFT[bits]
    squares = squared_difference_constants(SCALE, SCALE, SCALE, SQUARE_LEFT_SHIFT[bits])
    sums = sum_constants(SCALE, SCALE, SCALE * 1.3, left)
    yield "layernorm_squares", of_two(SquaredDifference, **squares._asdict(), **rule)
    yield "layernorm_centred", of_two(AddShifted, subtract=True, **sums._asdict(), **rule)
    yield (
        "layernorm_beta",
        of_two(AddShifted, constant=True, subtract=False, **sums._asdict(), **rule),
    )
    for name, constant in (("layernorm_product", False), ("layernorm_gamma", True)):
        yield name, _product(profile, kind, zero, constant=constant)
    table = rsqrt_table(SCALE, zero, 0.02, zero, bits=bits)
    builder = GraphBuilder(profile.name, profile.name, types={"table": kind})
    builder.input("a", (CHANNELS,), kind, zero)
    builder.op(Lookup, "y", "a", table=table, type=kind, zero_point=zero)
    yield "layernorm_root", of_op(builder.ops[-1], builder.unverified())


def _product(profile: NpuProfile, kind: IntType, zero: int, *, constant: bool) -> OneOp:
    section: RescaleSection = profile.rescale_of("mul")
    rule = section.rule
    factor: dict[str, Any] = {"multiplier": [1 << section.multiplier_bits - 1]}
    if section.arithmetic is Arithmetic.FIXED_POINT:
        shift = min(section.multiplier_bits - 1 + 6, section.shift[1])
        factor["shift"] = [shift]
    else:
        factor = {"multiplier": np.array([0.011]), "shift": None}
    builder = GraphBuilder(
        profile.name,
        profile.name,
        types={
            "multiplier": IntType(bits=section.multiplier_bits, signed=False),
            "shift": IntType(bits=max(section.shift[1].bit_length(), 1), signed=False),
        },
    )
    builder.input("a", (2, CHANNELS), kind, zero)
    if constant:
        builder.constant("b", np.linspace(kind.low, kind.high, CHANNELS).round(), kind)
    else:
        builder.declare("b", (2, 1), kind, zero)
    builder.op(
        Mul, "y", "a", "b", type=kind, zero_point=zero, rounding=rule.rounding,
        overflow=rule.overflow, double_rounding=rule.double_rounding,
        zero_point_stage=rule.zero_point_stage, left_shift=rule.left_shift,
        arithmetic=rule.arithmetic, **factor,
    )  # fmt: skip
    return of_op(builder.ops[-1], builder.unverified())
