# SPDX-License-Identifier: Apache-2.0
"""Each op's call of the C model: its function, and its numbers as a struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any

from simulator.export.c_groups import GROUP_CALLS
from simulator.export.c_structs import (
    Call,
    Site,
    accumulator_struct,
    numbers_of,
    pairs,
    requantization,
    rows,
    stage,
    steps_of,
    view,
    word,
)
from simulator.export.c_text import Value
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    AnyMatMul,
    DeferredSoftmax,
    GeluPolynomial,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Rescale,
    Reshape,
    ScaledMatMul,
    ShiftGelu,
    Shiftmax,
    Slice,
    Softmax,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)


def _matmul(op: MatMul, site: Site) -> Call:
    declaration, fields = _product_fields(op, site)
    operands = (op.a, op.b, op.residual)
    return Call((declaration,), "aocq_matmul_op", fields, "aocq_matmul", operands)


def _scaled_matmul(op: ScaledMatMul, site: Site) -> Call:
    declaration, product = _product_fields(op, site)
    fields: dict[str, Value] = {"product": product, "block": op.block}
    names = (op.a, op.b, op.row_factor, op.column_factor, op.block_exponent, op.residual)
    return Call((declaration,), "aocq_scaled_matmul_op", fields, "aocq_scaled_matmul", names)


def _product_fields(op: AnyMatMul, site: Site) -> tuple[str, dict[str, Value]]:
    """Return the declaration of a product's levels, and the fields of an ``aocq_matmul_op``."""
    declaration, accumulator = accumulator_struct(op, op.accumulator)
    a = site.shape(op.a)
    fields: dict[str, Value] = {
        "batches": prod(a[:-2]),
        "rows": a[-2] if len(a) > 1 else 1,
        "depth": a[-1],
        "columns": site.channels,
        "transpose_b": int(op.transpose_b),
        "b_is_shared": int(len(site.shape(op.b)) == 2),
        "accumulator": accumulator,
        "requantize": requantization(site, op.requantize),
        "bias": site.codes(op.bias),
        "residual_multiplier": site.codes(op.residual_multiplier),
        "residual_fraction_bits": op.residual_fraction_bits,
    }
    return declaration, fields


def _mean(op: Mean, site: Site) -> Call:
    declaration, accumulator = accumulator_struct(op, op.accumulator)
    a = site.shape(op.a)
    fields: dict[str, Value] = {
        "outer": prod(a[: op.axis]),
        "terms": a[op.axis],
        "inner": prod(a[op.axis + 1 :]),
        "channels": site.channels,
        "accumulator": accumulator,
        "requantize": requantization(site, op.requantize),
    }
    return Call((declaration,), "aocq_mean_op", fields, "aocq_mean", (op.a,))


def _rescale(op: Rescale, site: Site) -> Call:
    fields: dict[str, Value] = {
        "channels": site.channels,
        "requantize": requantization(site, op.requantize),
    }
    return Call((), "aocq_rescale_op", fields, "aocq_rescale", (op.a,))


def _add(op: Add, site: Site) -> Call:
    fields: dict[str, Value] = {
        "pairs": pairs(site, op.a, op.b),
        "multiplier_a": site.codes(op.multiplier_a),
        "multiplier_b": site.codes(op.multiplier_b),
        "stage": stage(op),
    }
    return Call((), "aocq_add_op", fields, "aocq_add", (op.a, op.b))


def _mul(op: Mul, site: Site) -> Call:
    fields: dict[str, Value] = {
        "pairs": pairs(site, op.a, op.b),
        "requantize": requantization(site, op.requantize),
    }
    return Call((), "aocq_mul_op", fields, "aocq_mul", (op.a, op.b))


def _common_scale(op: AddShifted | SquaredDifference, site: Site) -> Call:
    if isinstance(op, SquaredDifference):
        join = "SQUARED_DIFFERENCE"
    else:
        join = "DIFFERENCE" if op.subtract else "SUM"
    numbers = ("multiplier_a", "shift_a", "multiplier_b", "shift_b", "multiplier")
    fields: dict[str, Value] = {
        "pairs": pairs(site, op.a, op.b),
        "join": f"AOCQ_JOIN_{join}",
        **numbers_of(op, "input_left_shift", *numbers),
        "stage": stage(op, op.double_rounding),
    }
    return Call((), "aocq_common_scale_op", fields, "aocq_common_scale", (op.a, op.b))


def _lookup(op: Lookup, _: Site) -> Call:
    return Call((), None, {}, "aocq_lookup", (op.table, op.a), counts=False)


def _interpolated_lookup(op: InterpolatedLookup, site: Site) -> Call:
    fields: dict[str, Value] = {
        "table": site.codes(op.table),
        **numbers_of(op, "fraction_bits"),
        "stage": stage(op),
    }
    struct, function = "aocq_interpolated_lookup_op", "aocq_interpolated_lookup"
    return Call((), struct, fields, function, (op.a,))


def _gelu_polynomial(op: GeluPolynomial, site: Site) -> Call:
    numbers = ("clip", "constant", "one", "negated", "erf_shift", "sum_shift")
    fields: dict[str, Value] = {
        "channels": site.channels,
        **numbers_of(op, *numbers),
        "has_clip_low": int(op.clip_low is not None),
        "clip_low": op.clip_low or 0,
        **numbers_of(op, "intermediate_bits"),
        "requantize": requantization(site, op.requantize),
    }
    return Call((), "aocq_gelu_polynomial_op", fields, "aocq_gelu_polynomial", (op.a,))


def _shift_gelu(op: ShiftGelu, site: Site) -> Call:
    fields: dict[str, Value] = {
        **rows(site, "channels"),
        **numbers_of(op, "octave", "fraction_bits", "output_bits"),
        "requantize": requantization(site, op.requantize),
    }
    return Call((), "aocq_shift_gelu_op", fields, "aocq_shift_gelu", (op.a,))


_RECIPROCAL = ("epsilon", "sqrt_fraction_bits", "reciprocal_bits", "normalized_fraction_bits")


def _layernorm(op: LayerNorm, site: Site) -> Call:
    fields: dict[str, Value] = {
        **rows(site, "channels"),
        "channel_multiplier": site.codes(op.channel_multiplier),
        "channel_shift": site.codes(op.channel_shift),
        "gamma": site.codes(op.gamma),
        "beta": site.codes(op.beta),
        **numbers_of(op, *_RECIPROCAL, "root_steps", "root_start_bits", "beta_shift"),
        "stage": stage(op),
    }
    return Call((), "aocq_layernorm_op", fields, "aocq_layernorm", (op.a,))


def _layernorm_bisection(op: LayerNormBisection, site: Site) -> Call:
    fields: dict[str, Value] = {
        **rows(site, "channels"),
        "weight": site.codes(op.weight),
        "bias": site.codes(op.bias),
        "stage": stage(op),
    }
    struct, function = "aocq_layernorm_bisection_op", "aocq_layernorm_bisection"
    return Call((), struct, fields, function, (op.a,))


def _l2norm(op: L2Norm, site: Site) -> Call:
    shape = site.result.shape
    fields: dict[str, Value] = {
        **rows(site, "channels"),
        "gain": site.codes(op.gain),
        "rows_of_gain": shape[-2] if len(shape) > 2 else 1,
        **numbers_of(op, *_RECIPROCAL),
        "stage": stage(op),
    }
    return Call((), "aocq_l2norm_op", fields, "aocq_l2norm", (op.a,))


def _softmax(op: Softmax, site: Site) -> Call:
    fields: dict[str, Value] = {
        **rows(site, "columns"),
        "table": site.codes(op.table),
        **numbers_of(op, "reciprocal_bits"),
        "normalisation": word("NORMALISATION", op.normalisation),
        "stage": stage(op),
    }
    return Call((), "aocq_softmax_op", fields, "aocq_softmax", (op.a,))


def _softmax_lut513(op: SoftmaxLut513, site: Site) -> Call:
    fields: dict[str, Value] = {
        **rows(site, "columns"),
        **numbers_of(op, "input_multiplier", "input_left_shift"),
        "exp_table": site.codes(op.exp_table),
        "reciprocal_table": site.codes(op.reciprocal_table),
    }
    return Call((), "aocq_softmax_lut513_op", fields, "aocq_softmax_lut513", (op.a,))


def _softmax_of_numbers(name: str, *numbers: str) -> Callable[[Any, Site], Call]:
    """Return the call of a softmax that has no constants, only numbers."""

    def call(op: Any, site: Site) -> Call:
        fields = {**rows(site, "columns"), **numbers_of(op, *numbers)}
        return Call((), f"aocq_{name}_op", fields, f"aocq_{name}", (op.a,))

    return call


def _deferred_softmax(op: DeferredSoftmax, site: Site) -> Call:
    fields = {**rows(site, "columns"), **numbers_of(op, "multiplier", "shift")}
    struct, function = "aocq_deferred_softmax_op", "aocq_deferred_softmax"
    return Call((), struct, fields, function, (op.a,), counts=False)


def _normalized_matmul(op: NormalizedMatMul, site: Site) -> Call:
    declaration, accumulator = accumulator_struct(op, op.accumulator)
    a = site.shape(op.a)
    fields: dict[str, Value] = {
        "batches": prod(a[:-2]),
        "rows": a[-2],
        "depth": a[-1],
        "columns": site.channels,
        "transpose_b": int(op.transpose_b),
        "levels": site.codes(op.levels),
        "reciprocal_bits": op.reciprocal_bits,
        "accumulator": accumulator,
        "requantize": requantization(site, op.requantize),
    }
    struct, function = "aocq_normalized_matmul_op", "aocq_normalized_matmul"
    return Call((declaration,), struct, fields, function, (op.a, op.b))


def _reshape(op: Reshape, _: Site) -> Call:
    return Call((), None, {}, "aocq_copy", (op.a,), counts=False)


def _slice(op: Slice, site: Site) -> Call:
    whole = steps_of(site.shape(op.a))
    steps = tuple(step * (op.step if i == op.axis else 1) for i, step in enumerate(whole))
    fields = view(site.result.shape, steps, op.start * whole[op.axis])
    return Call((), "aocq_view", fields, "aocq_gather", (op.a,), counts=False)


def _transpose(op: Transpose, site: Site) -> Call:
    steps = steps_of(site.shape(op.a))
    fields = view(site.result.shape, tuple(steps[axis] for axis in op.permutation))
    return Call((), "aocq_view", fields, "aocq_gather", (op.a,), counts=False)


CALLS: Mapping[type[Op], Callable[[Any, Site], Call]] = MappingProxyType(
    {
        MatMul: _matmul,
        ScaledMatMul: _scaled_matmul,
        Mean: _mean,
        Rescale: _rescale,
        Add: _add,
        Mul: _mul,
        AddShifted: _common_scale,
        SquaredDifference: _common_scale,
        Lookup: _lookup,
        InterpolatedLookup: _interpolated_lookup,
        GeluPolynomial: _gelu_polynomial,
        ShiftGelu: _shift_gelu,
        LayerNorm: _layernorm,
        LayerNormBisection: _layernorm_bisection,
        L2Norm: _l2norm,
        **GROUP_CALLS,
        Softmax: _softmax,
        SoftmaxGemmlowp: _softmax_of_numbers(
            "softmax_gemmlowp", "input_multiplier", "input_left_shift", "smallest_difference"
        ),
        SoftmaxLut513: _softmax_lut513,
        SoftmaxIBert: _softmax_of_numbers(
            "softmax_ibert", "coefficient_a", "coefficient_b", "coefficient_c", "log2"
        ),
        Shiftmax: _softmax_of_numbers("shiftmax", "x0", "n", "output_bits"),
        SoftmaxIta: _softmax_of_numbers("softmax_ita", "octave_bits", "group", "largest"),
        SoftmaxLog2: _softmax_of_numbers("softmax_log2", "x0", "b", "c", "n"),
        DeferredSoftmax: _deferred_softmax,
        NormalizedMatMul: _normalized_matmul,
        Reshape: _reshape,
        Slice: _slice,
        Transpose: _transpose,
    }
)
