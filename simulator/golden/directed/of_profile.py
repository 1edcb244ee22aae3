# SPDX-License-Identifier: Apache-2.0
"""The ops that a chip computes, one of each kind and width, from its profile alone.

Their modes, widths and algorithms are the profile's; shapes are small, and scales are like those of
a network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.golden.directed.of_layernorm import layer_norms
from simulator.golden.directed.of_scaled_products import scaled_products
from simulator.golden.one_op import OneOp, of_op
from simulator.graph.builder import GraphBuilder
from simulator.graph.ops import (
    Add,
    AddShifted,
    DeferredSoftmax,
    GeluPolynomial,
    InterpolatedLookup,
    Lookup,
    MatMul,
    Mean,
    NormalizedMatMul,
    Rescale,
    ShiftGelu,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics import function_tables, softmax_constants
from simulator.numerics.common_scale import sum_constants
from simulator.numerics.fixed_point import multiplier_and_shift
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.polynomial_gelu import polynomial_gelu_constants, shift_gelu_octave
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import Rounding
from simulator.profile import DeferredLog2Softmax, NpuProfile, OpKind, RescaleSection

SCALE = 0.04  # of activations and scores
ZERO_POINT = -7  # odd, so that a tie's neighbours are told apart by it
LENGTH = 12  # of rows


def units_of_profile(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    """Yield the ops of a chip with the names of their units; none that it leaves in float."""
    yield from _products(profile)
    yield from scaled_products(profile, builder_of)
    yield from _sums(profile)
    yield "rescale", _rescale(profile)
    yield from _softmax(profile)
    yield from _gelu(profile)
    yield from layer_norms(profile)


def builder_of(profile: NpuProfile, kind: OpKind) -> GraphBuilder:
    """Return a builder of one kind of op: the choices and widths of the chip."""
    section, sums = profile.rescale_of(kind), profile.accumulator_of(kind)
    rule = section.rule
    defaults: dict[str, Any] = {
        "accumulator": sums.accumulator(),
        "rounding": rule.rounding,
        "overflow": rule.overflow,
        "double_rounding": rule.double_rounding,
        "zero_point_stage": rule.zero_point_stage,
        "left_shift": rule.left_shift,
        "arithmetic": rule.arithmetic,
    }
    multiplier = IntType(bits=multiplier_bits(section), signed=False)
    types = {
        "multiplier": multiplier,
        "shift": IntType(bits=max(section.shift[1].bit_length(), 1), signed=False),
        "bias": IntType(bits=sums.bias_bits),
    }
    for name in ("residual_multiplier", "multiplier_a", "multiplier_b"):
        types[name] = IntType(bits=section.multiplier_bits, signed=False)
    return GraphBuilder(profile.name, profile.name, defaults=defaults, types=types)


def multiplier_bits(section: RescaleSection) -> int:
    """Return the width of a chip's multipliers: one bit where it only shifts."""
    return 1 if section.kind == "power_of_two" else section.multiplier_bits


def factor(section: RescaleSection, halvings: int = 7) -> dict[str, Any]:
    """Return a requantization's factor of about ``2^-halvings`` as the chip holds it."""
    if section.arithmetic is not Arithmetic.FIXED_POINT:
        return {"multiplier": np.array([0.0074], np.float64), "shift": None}
    bits = multiplier_bits(section)
    shift = min(max(bits - 1 + halvings, section.shift[0]), section.shift[1])
    return {"multiplier": [1 << (bits - 1)], "shift": [shift]}


def activation(profile: NpuProfile) -> tuple[IntType, int]:
    """Return the type of activations, and a zero point that the chip can have."""
    return _with_zero_point(profile, profile.activation.bits)


def operand(profile: NpuProfile) -> tuple[IntType, int]:
    """Return the type of what products read, and a zero point that the chip can have."""
    return _with_zero_point(profile, profile.activation.operand_width)


def _with_zero_point(profile: NpuProfile, bits: int) -> tuple[IntType, int]:
    zero_point = ZERO_POINT if profile.activation.zero_point == "asymmetric" else 0
    kind = IntType(bits=bits)
    return kind, max(zero_point, kind.low + 1)


def alone(builder: GraphBuilder) -> OneOp:
    """Return the last op of a builder by itself."""
    return of_op(builder.ops[-1], builder.unverified())


def _products(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    (kind, zero_point), (read, offset) = activation(profile), operand(profile)
    random = np.random.default_rng(1)
    for bits in profile.weight.bits:
        width = IntType(bits=bits)
        weights = random.integers(width.low, width.high, (8, 24), endpoint=True)
        builder = builder_of(profile, "linear")
        builder.input("a", (3, 24), read, offset)
        given: dict[str, Any] = {
            "b": builder.constant("w", weights, width),
            "bias": random.integers(-500, 500, 8) - offset * weights.sum(axis=1),
            "transpose_b": True,
            **factor(profile.rescale_of("linear")),
        }
        builder.op(MatMul, "y", "a", type=kind, zero_point=zero_point, **given)
        yield f"linear_w{bits}", alone(builder)
    if profile.residual.fused_add:
        yield "linear_onto_residual", _fused(profile)
    probabilities = IntType(bits=profile.softmax.output_bits, signed=False)
    lefts = {"matmul": read, "matmul_probabilities": probabilities}
    if isinstance(profile.softmax, DeferredLog2Softmax):
        yield "normalized_matmul", _normalized(profile, profile.softmax)
        del lefts["matmul_probabilities"]
    for name, left in lefts.items():
        builder = builder_of(profile, "matmul")
        builder.input("a", (4, 6), left)
        builder.declare("b", (6, 5), read)
        section = profile.rescale_of("matmul")
        builder.op(
            MatMul, "y", "a", "b", transpose_b=False, type=kind, zero_point=zero_point,
            **factor(section),
        )  # fmt: skip
        yield name, alone(builder)


def _normalized(profile: NpuProfile, softmax: DeferredLog2Softmax) -> OneOp:
    """A product of a softmax's logarithms, its multipliers as wide as 64 bits leave room for."""
    kind, zero_point = activation(profile)
    builder = builder_of(profile, "matmul")
    builder.input("a", (4, 6), IntType(bits=softmax.output_bits, signed=False))
    builder.declare("b", (6, 5), operand(profile)[0])
    section = profile.rescale_of("matmul")
    bits = min(multiplier_bits(section), 61 - kind.bits - softmax.reciprocal_bits)
    levels = softmax_constants.levels_of_octaves(softmax.output_bits, softmax.levels_per_octave)
    builder.types = {
        **builder.types,
        "multiplier": IntType(bits=bits, signed=False),
        "levels": IntType(bits=softmax_constants.LEVEL_BITS, signed=False),
    }
    shift = min(max(bits - 1 + softmax.reciprocal_bits, section.shift[0]), section.shift[1])
    builder.op(
        NormalizedMatMul, "y", "a", "b", levels=levels, transpose_b=False,
        reciprocal_bits=softmax.reciprocal_bits, multiplier=[1 << (bits - 1)], shift=[shift],
        type=kind, zero_point=zero_point,
    )  # fmt: skip
    return alone(builder)


def _fused(profile: NpuProfile) -> OneOp:
    """A layer whose sums go onto the residual stream."""
    stream = IntType(bits=profile.activation.residual_bits)
    bits = min(profile.weight.bits)
    builder = builder_of(profile, "linear")
    builder.input("a", (3, 24), *operand(profile))
    builder.declare("r", (3, 8), stream)
    width = IntType(bits=bits)
    weights = np.random.default_rng(2).integers(-3, 4, (8, 24)).clip(width.low, width.high)
    builder.op(
        MatMul, "y", "a", builder.constant("w", weights, width), "r",
        bias=np.arange(-4, 4), transpose_b=True, residual_multiplier=[3],
        residual_fraction_bits=2, type=stream, **factor(profile.rescale_of("linear")),
    )  # fmt: skip
    return alone(builder)


def _sums(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    kind, zero_point = activation(profile)
    stream = IntType(bits=profile.activation.residual_bits)
    if profile.add.algorithm != "float32":
        builder = builder_of(profile, "add")
        builder.input("a", (LENGTH,), stream, zero_point)
        builder.declare("b", (LENGTH,), kind, 0)
        result: dict[str, Any] = {"type": stream, "zero_point": zero_point}
        if profile.add.algorithm == "shifted_q31":
            constants = sum_constants(SCALE, SCALE / 3, SCALE * 1.1, profile.add.input_shift)
            builder.op(AddShifted, "y", "a", "b", subtract=False, **constants._asdict(), **result)
        else:
            section = profile.rescale_of("add")
            bits = 22 if profile.add.algorithm == "fixed_20" else section.multiplier_bits
            builder.types = {
                **builder.types,
                "multiplier_a": IntType(bits=bits, signed=False),
                "multiplier_b": IntType(bits=bits, signed=False),
            }
            shift = min(max(bits - 1, section.shift[0]), section.shift[1])
            builder.op(
                Add, "y", "a", "b", multiplier_a=[1 << (bits - 2)], multiplier_b=[3 << (bits - 4)],
                shift=shift, **result,
            )  # fmt: skip
        yield "add", alone(builder)
    if profile.mean.algorithm != "float32":
        yield "mean", mean_unit(profile)


def mean_unit(profile: NpuProfile) -> OneOp:
    """A mean over the first dimension."""
    kind, zero_point = activation(profile)
    builder = builder_of(profile, "mean")
    builder.input("a", (16, 4), kind, zero_point)
    given = factor(profile.rescale_of("mean"), 4)
    if profile.mean.algorithm == "folded_q31":
        given = {"multiplier": [1 << 30], "shift": [34], "arithmetic": Arithmetic.FIXED_POINT}
        builder.types = {**builder.types, "multiplier": IntType(bits=31, signed=False)}
        left_out = ("zero_point_stage", "left_shift")
        builder.defaults = {k: v for k, v in builder.defaults.items() if k not in left_out}
    builder.op(Mean, "y", "a", axis=0, type=kind, zero_point=zero_point, **given)
    return alone(builder)


def _rescale(profile: NpuProfile) -> OneOp:
    kind, zero_point = activation(profile)
    builder = builder_of(profile, "rescale")
    builder.input("a", (LENGTH,), kind, zero_point)
    section = profile.rescale_of("rescale")
    builder.op(Rescale, "y", "a", type=kind, zero_point=zero_point, **factor(section, 1))
    return alone(builder)


def _softmax(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    section: Any = profile.softmax
    make = _SOFTMAXES.get(section.algorithm)
    if make is None:
        return
    kind, _ = activation(profile)
    builder = builder_of(profile, "softmax")
    builder.input("a", (2, LENGTH), kind)
    fields = make(profile, kind)
    op_type = fields.pop("op")
    fields.setdefault("type", IntType(bits=section.output_bits, signed=False))
    builder.types = fields.pop("types", {})
    builder.op(op_type, "y", "a", **fields)
    yield "softmax", alone(builder)


def _exp_table(profile: NpuProfile, kind: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    low, high = profile.rescale_of("softmax").shift
    shift = min(section.reciprocal_bits - section.output_bits, high)
    if shift < max(low, section.table_bits):
        raise InputError(f"profile {profile.name}: its softmax needs a longer shift")
    largest = (1 << section.table_bits) - 1
    steps = np.arange(1 << kind.bits)
    return {
        "op": Softmax,
        "table": np.floor(np.exp(-SCALE * steps) * largest + 0.5).astype(np.int64),
        "types": {"table": IntType(bits=section.table_bits, signed=False)},
        "reciprocal_bits": shift + section.output_bits,
        "shift": shift,
        "normalisation": section.normalisation,
    }


def _lut513(_: NpuProfile, kind: IntType) -> dict[str, Any]:
    scale = SCALE / (1 << (kind.bits - 8))
    multiplier, left_shift = softmax_constants.lut513_multiplier(scale)
    tables = softmax_constants.lut513_tables(np.float32)
    return {
        "op": SoftmaxLut513,
        "input_multiplier": multiplier,
        "input_left_shift": left_shift,
        "types": dict.fromkeys(("exp_table", "reciprocal_table"), IntType(bits=16)),
        **{name: table.astype(np.int64) for name, table in tables._asdict().items()},
    }


def _log2(profile: NpuProfile, _: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    return {
        "op": SoftmaxLog2,
        "n": section.largest_exponent,
        "type": IntType(bits=section.code_bits, signed=False),
        **softmax_constants.log2_constants(SCALE)._asdict(),
    }


def _shiftmax(profile: NpuProfile, _: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    return {
        "op": Shiftmax,
        "x0": softmax_constants.shiftmax_constants(SCALE),
        "n": section.largest_exponent,
        "output_bits": section.output_bits + 1,
    }


def _deferred(profile: NpuProfile, _: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    factor = softmax_constants.logarithm_factor(SCALE, section.levels_per_octave)
    rescale = profile.rescale_of("softmax")
    multiplier, shift = multiplier_and_shift(factor, multiplier_bits(rescale), rescale.shift[1])
    return {"op": DeferredSoftmax, "multiplier": multiplier, "shift": shift}


def _ita(profile: NpuProfile, _: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    return {
        "op": SoftmaxIta,
        "octave_bits": section.octave_bits,
        "group": section.group,
        "largest": (1 << section.output_bits) - 1,
    }


def _float_table(profile: NpuProfile, kind: IntType) -> dict[str, Any]:
    section: Any = profile.softmax
    table: NDArray[np.float32] = softmax_constants.float_table(SCALE, bits=kind.bits)
    return {"op": SoftmaxFloatTable, "table": table, "rounding": section.rounding}


_SOFTMAXES: Mapping[str, Callable[[NpuProfile, IntType], dict[str, Any]]] = {
    "exp_table": _exp_table,
    "gemmlowp_q5_26": lambda _, __: {
        "op": SoftmaxGemmlowp,
        **softmax_constants.gemmlowp_constants(SCALE)._asdict(),
    },
    "lut513_q15": _lut513,
    "float32_table": _float_table,
    "ibert_poly": lambda _, __: {
        "op": SoftmaxIBert,
        **softmax_constants.ibert_constants(SCALE)._asdict(),
    },
    "shiftmax": _shiftmax,
    "ita_shift": _ita,
    "log2": _log2,
    "deferred_log2": _deferred,
}


def _gelu(profile: NpuProfile) -> Iterator[tuple[str, OneOp]]:
    section: Any = profile.gelu
    if section.algorithm == "float32":
        return
    kind, zero_point = activation(profile)
    builder = builder_of(profile, "gelu")
    builder.input("a", (LENGTH,), kind, zero_point)
    rescale = profile.rescale_of("gelu")
    fields: dict[str, Any] = {"type": kind, "zero_point": zero_point}
    function = function_tables.gelu
    if section.algorithm == "table_256":
        table = function_tables.function_table(
            function, SCALE, zero_point, SCALE / 2, zero_point, input_type=kind, output_type=kind
        )
        builder.types = {**builder.types, "table": kind}
        builder.op(Lookup, "y", "a", table=table, **fields)
    elif section.algorithm == "table_513":
        builder.types = {**builder.types, "table": kind}
        table = function_tables.interpolation_table(function, 3e-4, 3e-4)
        builder.op(
            InterpolatedLookup, "y", "a", table=table, fraction_bits=7, shift=7,
            rounding=Rounding.HALF_UP, overflow=Overflow.SATURATE, type=kind,
        )  # fmt: skip
    elif section.algorithm == "ibert_poly":
        nearest = section.constants == "nearest"
        constants = polynomial_gelu_constants(SCALE, section.erf_shift, nearest=nearest)
        builder.op(
            GeluPolynomial, "y", "a", clip=constants.clip, constant=-constants.constant,
            one=-constants.one, negated=True, erf_shift=section.erf_shift, sum_shift=0,
            clip_low=None, intermediate_bits=section.intermediate_bits, **factor(rescale, 14),
            **fields,
        )  # fmt: skip
    else:
        builder.op(
            ShiftGelu, "y", "a", octave=shift_gelu_octave(SCALE),
            fraction_bits=section.fraction_bits, output_bits=8, **factor(rescale), **fields,
        )  # fmt: skip
    yield "gelu", alone(builder)
