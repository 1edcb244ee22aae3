# SPDX-License-Identifier: Apache-2.0
"""Real and integer tensors do not mix, and every op in float has what it needs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_graphs import S8, S32, Draft, with_codes, with_op, with_tensor

from simulator.graph import load, save, sha256, text, verify
from simulator.graph.macs import total_macs
from simulator.graph.ops import Dequantize, FloatFunction, Function, MatMul, Quantize
from simulator.numerics.float_type import FLOAT32, parse_type


def mixed():
    """image s8 -> real -> layernorm -> gelu -> linear -> codes -> s32 sums -> real."""
    d = Draft()
    d.input("image", (2, 3, 4))
    d.op(Dequantize, "real", "image", step=[[[0.5]], [[0.25]]])
    d.op(
        FloatFunction,
        "norm",
        "real",
        function=Function.LAYERNORM,
        weight=[1, 2, 3, 4],
        epsilon=1e-6,
    )
    d.op(FloatFunction, "gelu", "norm", function=Function.GELU)
    d.op(FloatFunction, "sum", "gelu", "real", function=Function.ADD)
    d.op(
        FloatFunction,
        "linear",
        "sum",
        function=Function.LINEAR,
        weight=np.ones((5, 4)),
        bias=[0.5] * 5,
    )
    d.reshape("moved", "linear", 6, 5)
    d.op(Quantize, "codes", "moved", step=[0.1, 0.2, 0.3, 0.4, 0.5])
    d.constant("w", np.ones((5, 2), int), S8)
    d.op(MatMul, "sums", "codes", "w", type=S32, shift=(0,))
    d.op(Dequantize, "logits", "sums", step=[0.01, 0.02], bias=[1.0, -1.0])
    d.op(Quantize, "levels", "logits", thresholds=[0.25, 1.0])
    return d.graph("logits", "levels")


MIXED = mixed()


def l2norm(**changes):
    return with_op(MIXED, "norm", function=Function.L2NORM, **changes)


def test_an_l2_normalization_has_one_gain_or_one_for_each_head():
    assert verify(resized("norm.weight", [2.0], of=l2norm())) == []
    assert verify(resized("norm.weight", [[[2.0]], [[3.0]]], of=l2norm())) == []


def refusals(graph):
    return verify(graph)


def test_a_graph_of_both_is_valid_and_counts_its_float_ops():
    assert verify(MIXED) == []
    assert (len(MIXED.ops), MIXED.float_ops) == (10, 8)
    assert total_macs(MIXED) == 6 * 4 * 5 + 6 * 5 * 2


def test_it_is_stored_byte_by_byte(tmp_path):
    save(MIXED, tmp_path / "one")
    found = load(tmp_path / "one")
    assert found.tensors == MIXED.tensors
    assert found.ops == MIXED.ops
    for name, values in MIXED.constants.items():
        assert found.constants[name].tobytes() == values.tobytes()
        assert found.constants[name].dtype == values.dtype
    assert sha256(found) == sha256(MIXED)
    save(found, tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_float_constant_is_part_of_the_hash():
    step = MIXED.constants["real.step"].copy()
    step[0] = np.nextafter(step[0], np.float32(1))
    assert sha256(with_codes(MIXED, "real.step", step)) != sha256(MIXED)


def test_the_text_names_arithmetic_and_parameters():
    lines = text(MIXED)
    assert "8 float" in lines
    for part in (
        "real    f32[2,3,4]",
        "dequantize image × f32[2,1,1]",
        "float_layernorm real   weight f32[4] bias none   epsilon 1e-06",
        "float_add gelu, real",
        "quantize moved / f32[5] half_even saturate",
        "dequantize sums × f32[2] + f32[2] bias",
        "quantize logits by thresholds f32[2]",
    ):
        assert part in lines


def test_types_are_read_as_they_are_written():
    assert parse_type("f32") == FLOAT32
    assert str(parse_type("s8")) == "s8"
    with pytest.raises(ValueError, match="f16"):
        parse_type("f16")


@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("image", FLOAT32, "op real (dequantize): operand image is f32, wanted integers"),
        ("real", S8, "op norm (float_layernorm): operand real is s8, wanted real values (f32)"),
        ("norm", S8, "op norm (float_layernorm): result norm is s8, wanted real values (f32)"),
        ("codes", FLOAT32, "op codes (quantize): result codes is f32, wanted integers"),
        ("codes", FLOAT32, "op sums (matmul): operand codes is f32, wanted integers"),
        ("sums", FLOAT32, "op sums (matmul): result sums is f32, wanted integers"),
        ("moved", S8, "op moved (reshape): moves codes of linear (f32) into s8"),
    ],
)
def test_types_must_go_together(name, kind, problem):
    assert problem in refusals(with_tensor(MIXED, name, type=kind))


def test_an_integer_op_takes_no_float_constant():
    values = MIXED.constants["w"].astype(np.float32)
    graph = with_tensor(with_codes(MIXED, "w", values), "w", type=FLOAT32)
    assert refusals(graph) == ["op sums (matmul): operand w is f32, wanted integers"]


def test_a_float_op_takes_no_integer_constant():
    graph = with_tensor(with_codes(MIXED, "real.step", np.ones((2, 1, 1), "i1")), "real.step")
    graph = with_tensor(graph, "real.step", type=S8)
    assert refusals(graph) == [
        "op real (dequantize): constant real.step is s8, wanted real values (f32)"
    ]


@pytest.mark.parametrize("change", [{"zero_point": 3}, {"scale": (0.5,)}])
def test_a_real_tensor_has_neither_scale_nor_zero_point(change):
    assert "tensor norm: f32 has neither scale nor zero point" in refusals(
        with_tensor(MIXED, "norm", **change)
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_float_constants_are_finite(value):
    values = np.array([1, value, 1, 1], np.float32)
    assert "constant norm.weight: has values that are not finite numbers" in refusals(
        with_codes(MIXED, "norm.weight", values)
    )


def test_float_constants_are_float32():
    graph = with_codes(MIXED, "norm.weight", np.ones(4, np.float64))
    assert refusals(graph) == ["constant norm.weight: is stored as float64, f32 wants float32"]


def resized(name, values, of=MIXED):
    graph = with_codes(of, name, np.asarray(values, np.float32))
    return with_tensor(graph, name, shape=np.shape(values))


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        (resized("codes.step", [1, 2]), "step codes.step has shape (2,), which does not broadcast"),
        (resized("codes.step", [[[1.0]]]), "has shape (1, 1, 1), which does not broadcast"),
        (resized("codes.step", [0.1, 0.2, 0, 1, 1]), "step codes.step: must be positive"),
        (resized("logits.bias", [1]), "bias logits.bias has shape (1,), wanted (2,)"),
        (resized("levels.thresholds", [1, 1]), "levels.thresholds: must be a vector that ascends"),
        (resized("levels.thresholds", range(256)), "256 thresholds levels.thresholds for the 256"),
        (with_op(MIXED, "levels", thresholds=None), "must have either a step or thresholds"),
        (with_op(MIXED, "codes", thresholds="levels.thresholds"), "either a step or thresholds"),
        (with_op(MIXED, "norm", epsilon=0.0), "epsilon 0.0: must be positive"),
        (with_op(MIXED, "norm", factor=float("inf")), "is not a finite number"),
        (with_op(MIXED, "gelu", weight="norm.weight"), "gelu has no weight and no bias"),
        (l2norm(), "weight norm.weight has shape (4,), wanted (2, 1, 1)"),
        (l2norm(weight=None, bias="norm.weight"), "float_l2norm): l2norm has no bias"),
        (l2norm(weight=None, epsilon=0.0), "epsilon 0.0: must be positive"),
        (with_op(MIXED, "linear", weight=None), "linear needs a weight"),
        (resized("linear.weight", np.ones((5, 3))), "has shape (5, 3), wanted (5, 4)"),
        (resized("linear.bias", np.ones(4)), "bias linear.bias has shape (4,), wanted (5,)"),
        (resized("norm.weight", np.ones(1)), "weight norm.weight has shape (1,), wanted (4,)"),
        (with_op(MIXED, "gelu", inputs=("norm", "real")), "gelu has 2 inputs, wanted 1"),
        (with_op(MIXED, "sum", inputs=("gelu",)), "add has 1 inputs, wanted 2"),
        (with_op(MIXED, "sum", inputs=()), "add has 0 inputs, wanted 2"),
        (with_op(MIXED, "sum", inputs=("linear.bias", "gelu")), "operand linear.bias is a const"),
        (with_op(MIXED, "sum", inputs=("gelu", "real.step")), "cannot add (2, 1, 1) to (2, 3, 4)"),
        (with_op(MIXED, "sum", function=Function.MATMUL), "cannot multiply (2, 3, 4) by (2, 3, 4)"),
        (with_op(MIXED, "gelu", function=Function.MEAN, axis=2), "axis 2 of (2, 3, 4): the last"),
        (
            with_op(MIXED, "sum", function=Function.MATMUL, inputs=("gelu", "linear.weight")),
            "operand linear.weight is a constant: use linear",
        ),
    ],
)
def test_parameters_must_fit(graph, problem):
    assert any(problem in message for message in refusals(graph)), refusals(graph)


def test_only_a_constant_is_broadcast_in_a_sum():
    d = Draft()
    d.input("a", (2, 3), FLOAT32)
    d.op(FloatFunction, "row", "a", function=Function.MEAN, axis=0)
    d.op(FloatFunction, "y", "a", "row", function=Function.ADD)
    assert refusals(d.graph()) == [
        "op y (float_add): cannot add (3,) to (2, 3): only a constant is broadcast"
    ]


def test_a_graph_may_begin_with_real_values():
    d = Draft()
    d.input("image", (3, 4), FLOAT32)
    d.op(FloatFunction, "y", "image", function=Function.RELU)
    assert verify(d.graph()) == []
    assert replace(d.graph()).float_ops == 1
