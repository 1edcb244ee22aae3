# SPDX-License-Identifier: Apache-2.0
"""Every algorithm and form of arithmetic that a profile can name: lowered, bit-exact, close."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asked import for_chip
from fake_quantized import logits
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from simulator.boundary import dequantize, quantize
from simulator.errors import AccumulatorOverflow, InputError
from simulator.executor import Executor, run_reference
from simulator.graph import IntGraph
from simulator.graph.ops import (
    Add,
    AddShifted,
    DeferredSoftmax,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Op,
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
    SquaredDifference,
    op_name,
)
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding
from simulator.profile import NpuProfile, profile_paths

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
PLAIN: Mapping[str, Any] = {"residual": {"fused_add": False}}
LN_PLAIN = {**PLAIN, "activation": {"granularity": "per_tensor"}}
WIDE = {"activation": {"bits": 16, "residual_bits": 16, "zero_point": "symmetric"}, **PLAIN}


def chip(*changes: Mapping[str, Any]) -> NpuProfile:
    """The generic profile with keys of its tables replaced; a table with an algorithm is new."""
    path = profile_paths()["edge_npu_int8"]
    plain = tomllib.loads(path.read_text(encoding="utf-8"))
    plain["source"] = {"default": "assumed"}
    for change in changes:
        for table, values in change.items():
            fresh = "algorithm" in values or table == "ops"
            plain[table] = dict(values) if fresh else {**plain.get(table, {}), **values}
    return NpuProfile.model_validate(plain)


def quantized(graph: FloatGraph, profile: NpuProfile) -> QuantizedModel:
    """Quantize within the profile's limits."""
    recipe = for_chip(profile, activation_bits=profile.activation.operand_width)
    return calibrated("base_ptq", graph, images(32, graph.input.shape), *recipe)


def emulated(model: QuantizedModel, graph: IntGraph) -> float:
    """SQNR of the chip's logits against the fake-quantized ones in dB; every tensor is exact."""
    inputs = images(16, model.graph.input.shape, seed=2)
    codes = quantize(inputs.numpy(), graph.tensors[graph.inputs[0]])
    taps = [op.name for op in graph.ops]
    run = Executor(graph, threads=1).run(codes, taps=taps)
    reference = run_reference(graph, codes[0])
    for op in graph.ops:
        if graph.result(op).is_float:  # their two units in the last place are tested elsewhere
            continue
        assert run.taps[op.name][0].tolist() == reference[op.name].tolist(), op.name
    found = dequantize(run.outputs[graph.outputs[0]], graph.tensors[graph.outputs[0]])
    fake_quantized = logits(model, inputs).numpy()
    noise = ((found - fake_quantized) ** 2).sum()
    return float(10 * np.log10((fake_quantized**2).sum() / noise)) if noise else np.inf


def softmax(algorithm: str, bits: int = 8, **constants: Any) -> Mapping[str, Any]:
    return {"softmax": {"algorithm": algorithm, "output_bits": bits, **constants}}


def gelu(algorithm: str, **constants: Any) -> Mapping[str, Any]:
    return {"gelu": {"algorithm": algorithm, **constants}}


def layernorm(algorithm: str, **constants: Any) -> Mapping[str, Any]:
    return {"layernorm": {"algorithm": algorithm, **constants}, **LN_PLAIN}


EXP_TABLE = {"table_bits": 30, "reciprocal_bits": 60}
ISQRT = {
    "sqrt_fraction_bits": 16,
    "reciprocal_bits": 60,
    "normalized_fraction_bits": 26,
    "channel_factor": "none",
    "channel_factor_bits": 2,
}
# The tables that differ from the generic profile, an op that must appear, the least SQNR in dB.
ALGORITHMS: Mapping[str, tuple[list[Mapping[str, Any]], type[Op], float]] = {
    "exp_table by division": (
        [softmax("exp_table", **EXP_TABLE, normalisation="division")],
        Softmax,
        20,
    ),
    "gemmlowp": ([softmax("gemmlowp_q5_26")], SoftmaxGemmlowp, 20),
    "float32 table": ([softmax("float32_table", rounding="half_away")], SoftmaxFloatTable, 20),
    "I-BERT softmax": ([softmax("ibert_poly")], SoftmaxIBert, 15),
    "Shiftmax": ([softmax("shiftmax", largest_exponent=15)], Shiftmax, 10),
    "ITA softmax": ([softmax("ita_shift", octave_bits=5, group=16)], SoftmaxIta, 10),
    "log2 softmax": ([softmax("log2", code_bits=4, largest_exponent=30)], SoftmaxLog2, 5),
    "division after the product": (
        [softmax("deferred_log2", bits=4, levels_per_octave=2, reciprocal_bits=32)],
        DeferredSoftmax,
        20,
    ),
    "513 entries, 16 bits": (
        [softmax("lut513_q15", bits=15), gelu("table_513"), WIDE],
        SoftmaxLut513,
        25,
    ),
    "GELU of 513 entries": (
        [softmax("lut513_q15", bits=15), gelu("table_513"), WIDE],
        InterpolatedLookup,
        25,
    ),
    "GELU in float32": ([gelu("table_256", evaluated_in="float32"), LN_PLAIN], Lookup, 20),
    "polynomial GELU": (
        [gelu("ibert_poly", intermediate_bits=32, erf_shift=0), LN_PLAIN],
        GeluPolynomial,
        15,
    ),
    "ShiftGELU": ([gelu("shift_gelu", fraction_bits=23), LN_PLAIN], ShiftGelu, 8),
    "Newton root": ([layernorm("isqrt_newton", root_steps=12, **ISQRT)], LayerNorm, 20),
    "bisection": ([layernorm("isqrt_bisect")], LayerNormBisection, 5),
    "LayerNorm as a graph of 8 bits": (
        [layernorm("graph", part_bits=8), {"rescale": {"rounding": "TFL"}}],
        SquaredDifference,
        5,
    ),
    "LayerNorm as a graph of 16 bits": (
        [layernorm("graph", part_bits=16), {"rescale": {"rounding": "TFL"}}],
        SquaredDifference,
        15,
    ),
    "TFLite's sum": (
        [{"add": {"algorithm": "shifted_q31", "input_shift": 20}}, LN_PLAIN],
        AddShifted,
        20,
    ),
    "XNNPACK's sum": ([{"add": {"algorithm": "fixed_20"}}, LN_PLAIN], Add, 20),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_algorithms_are_bit_exact_and_close_to_fake_quantization(name: str, nano: Captured) -> None:
    changes, op, least = ALGORITHMS[name]
    profile = chip(*changes)
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    assert op in {type(found) for found in graph.ops}
    assert graph.float_ops == sum(isinstance(found, SoftmaxFloatTable) for found in graph.ops)
    assert emulated(model, graph) > least


FLOATS = {
    "softmax": softmax("float32"),
    "gelu": gelu("float32"),
    "layernorm": layernorm("float32"),
    "add": {"add": {"algorithm": "float32"}, **PLAIN},
    "mean": {"mean": {"algorithm": "float32"}},
}


@pytest.mark.parametrize("name", FLOATS)
def test_an_operator_that_a_chip_leaves_in_float_is_declared(name: str, nano: Captured) -> None:
    profile = chip(FLOATS[name])
    model = quantized(nano("mean_without_class_token")[1], profile)
    graph = lower(model, profile)
    assert f"float_{name}" in {op_name(op) for op in graph.ops}
    assert 0 < graph.float_ops < len(graph.ops) // 2
    assert emulated(model, graph) > 20


RESCALES: Mapping[str, Mapping[str, Any]] = {
    "double": {"rounding": "TFL", "derivation": "q31", "left_shift": "wrap"},
    "double asymmetric": {"rounding": "DOUBLE_ASYMMETRIC", "derivation": "q31"},
    "zero point before": {"rounding": "conv_even", "zero_point_stage": "before_round"},
    "Q15": {"derivation": "q15", "multiplier_bits": 15},
    "eight bits": {"multiplier_bits": 8},
    "float32": {"kind": "float32", "rounding": "rne", "scale_type": "float32_ratio"},
    "float64": {"kind": "float64", "rounding": "round"},
}
WANTED: Mapping[str, Mapping[str, Any]] = {
    "double": {
        "double_rounding": DoubleRounding.SYMMETRIC,
        "left_shift": LeftShift.WRAP,
    },
    "double asymmetric": {"double_rounding": DoubleRounding.ASYMMETRIC},
    "zero point before": {"zero_point_stage": ZeroPointStage.BEFORE_ROUND},
    "Q15": {},
    "eight bits": {},
    "float32": {"arithmetic": Arithmetic.FLOAT32, "shift": None},
    "float64": {"arithmetic": Arithmetic.FLOAT64, "shift": None},
}


@pytest.mark.parametrize("name", RESCALES)
def test_rescaling_is_bit_exact_and_close_to_fake_quantization(name: str, nano: Captured) -> None:
    profile = chip({"rescale": RESCALES[name]}, PLAIN)
    model = quantized(nano("class_token")[1], profile)
    graph = lower(model, profile)
    products = [op for op in graph.ops if isinstance(op, MatMul)]
    assert products
    for op in products:
        for field, value in WANTED[name].items():
            assert getattr(op.requantize, field) == value
    assert emulated(model, graph) > (10 if name == "eight bits" else 20)


def test_one_kind_of_op_may_rescale_otherwise(nano: Captured) -> None:
    override = {"linear": {"rescale": {"kind": "float64", "rounding": "half_away"}}}
    profile = chip({"ops": override}, PLAIN)
    graph = lower(quantized(nano("class_token")[1], profile), profile)
    for op in graph.ops:
        if isinstance(op, MatMul):
            wanted = Arithmetic.FLOAT64 if graph.is_constant(op.b) else Arithmetic.FIXED_POINT
            assert op.requantize.arithmetic is wanted


POWERS = {
    "rescale": {"kind": "power_of_two", "rounding": "half_up"},
    "activation": {"scale": "power_of_two", "granularity": "per_tensor", "zero_point": "symmetric"},
    "weight": {"scale": "power_of_two", "granularity": "per_tensor"},
    **PLAIN,
}


def test_a_chip_that_only_shifts(small: Captured) -> None:
    profile = chip(POWERS)
    model = quantized(small("class_token")[1], profile)
    graph = lower(model, profile)
    for op in graph.ops:
        for found in op.requantizations:
            multiplier = int(graph.constants[found.multiplier][0])
            assert multiplier & (multiplier - 1) == 0
    assert emulated(model, graph) > 15


def test_a_chip_that_only_shifts_refuses_other_factors(nano: Captured) -> None:
    profile = chip(POWERS)
    model = quantized(nano("class_token")[1], profile)
    with pytest.raises(InputError, match=r"attn.scores: the factor .* is no power of two"):
        lower(model, profile)  # heads of 8 channels: scores are divided by the root of 8
    override = {"matmul": {"rescale": {"kind": "fixed_point"}}}
    lower(model, chip(POWERS, {"ops": override}))


def test_a_graph_of_operators_needs_the_ranges_inside(nano: Captured) -> None:
    profile = chip(layernorm("graph", part_bits=16))
    model = quantized(nano("class_token")[1], profile)
    with pytest.raises(InputError, match="whose ranges the model does not have"):
        lower(replace(model, layernorm_quantizers={}), profile)
    with pytest.raises(InputError, match="graph of 8-bit operators"):
        lower(model, chip(layernorm("graph", part_bits=8)))


def test_scores_at_another_scale_are_rescaled_for_a_fixed_octave(nano: Captured) -> None:
    profile = chip(softmax("ita_shift", octave_bits=5, group=16))
    graph = lower(quantized(nano("class_token")[1], profile), profile)
    by_name = {op.name: op for op in graph.ops}
    for op in graph.ops:
        if isinstance(op, SoftmaxIta):
            source = by_name[op.a]
            assert isinstance(source, Rescale)
            assert graph.tensors[source.name].scale == (np.log(2) / 32,)


def test_a_policy_decides_what_overflow_does(nano: Captured) -> None:
    narrow = {"levels": [{"group": "all", "bits": 12, "overflow": "wrap"}]}
    outputs, counts = {}, {}
    for policy in ("apply", "report", "error"):
        profile = chip({"accumulator": {**narrow, "policy": policy}}, PLAIN)
        graph = lower(quantized(nano("class_token")[1], profile), profile)
        codes = quantize(images(4, SIZE, seed=2).numpy(), graph.tensors[graph.inputs[0]])
        executor = Executor(graph, threads=1)
        if policy == "error":
            with pytest.raises(AccumulatorOverflow, match=r"op .*: \d+ sums overflowed"):
                executor.run(codes)
            continue
        run = executor.run(codes)
        outputs[policy] = run.outputs[graph.outputs[0]]
        counts[policy] = sum(found.overflowed for found in run.counts.values())
        reference = run_reference(graph, codes[0])
        assert outputs[policy][0].tolist() == reference[graph.outputs[0]].tolist()
    assert min(counts.values()) > 0
    exact = lower(quantized(nano("class_token")[1], chip(PLAIN)), chip(PLAIN))
    wide = Executor(exact, threads=1).run(codes).outputs[exact.outputs[0]]
    assert outputs["report"].tolist() == wide.tolist() != outputs["apply"].tolist()


def test_an_interpolated_table_has_no_zero_point(nano: Captured) -> None:
    changes = [softmax("lut513_q15", bits=15), gelu("table_513"), WIDE]
    asymmetric = {"activation": {**WIDE["activation"], "zero_point": "asymmetric"}}
    profile = chip(*changes, asymmetric)
    model = quantized(nano("class_token")[1], profile)
    with pytest.raises(InputError, match=r"mlp.act: an interpolated table .* zero point"):
        lower(model, profile)
