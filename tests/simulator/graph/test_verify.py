# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from small_graphs import (
    INT32,
    S4,
    S8,
    S16,
    S32,
    SATURATE,
    U8,
    WRAP,
    Draft,
    accumulator,
    exponentials,
    with_codes,
    with_op,
    with_tensor,
)

from simulator.graph import Role, verify
from simulator.graph.op import Requantization
from simulator.graph.ops import (
    Add,
    Concat,
    MatMul,
    Mean,
    Rescale,
    Reshape,
    Slice,
    Transpose,
    op_name,
)
from simulator.numerics.float_type import parse_type
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import Rounding


def op(graph, name):
    return next(op for op in graph.ops if op.name == name)


def without(mapping, name):
    return {key: value for key, value in mapping.items() if key != name}


def assert_refused(graph, *problems):
    """Every problem is found, and nothing else is."""
    found = verify(graph)
    assert len(found) == len(problems), found
    for problem in problems:
        assert any(problem in message for message in found), found


def test_a_graph_with_every_type_of_op_is_valid(block):
    assert verify(block) == []


# --- names ----------------------------------------------------------------------------------------


def test_operands_must_exist(block):
    assert_refused(
        with_op(block, "qkv", a="nothing"),
        "op qkv (matmul): operand nothing is not defined before it",
    )
    assert_refused(
        with_op(block, "qkv", bias="nothing"), "operand nothing is not defined before it"
    )
    requantize = replace(op(block, "qkv").requantize, shift="nothing")
    assert_refused(
        with_op(block, "qkv", requantize=requantize), "operand nothing is not defined before it"
    )


def test_operands_must_come_earlier(block):
    assert_refused(
        with_op(block, "norm1", a="add1"), "op norm1 (layernorm): operand add1 is not defined"
    )
    assert_refused(
        with_op(block, "norm1", a="norm1"), "op norm1 (layernorm): operand norm1 is not defined"
    )
    assert verify(replace(block, ops=block.ops[::-1]))


def test_every_op_needs_a_tensor_for_its_result(block):
    found = verify(replace(block, tensors=without(block.tensors, "head")))
    assert "op head (matmul): its result has no tensor" in found


def test_names_of_results_must_be_their_own(block):
    taken = "its name is taken by another tensor"
    twice = replace(block, ops=(*block.ops, op(block, "head")))
    assert_refused(twice, f"op head (matmul): {taken}")
    constant = replace(op(block, "final"), name="positions")
    assert_refused(replace(block, ops=(*block.ops, constant)), f"op positions (rescale): {taken}")


def test_every_activation_needs_an_op(block):
    lonely = replace(block.tensors["head"], name="lonely")
    assert_refused(
        replace(block, tensors={**block.tensors, "lonely": lonely}),
        "tensor lonely: no op computes it",
    )


def test_inputs_and_outputs_must_exist(block):
    assert_refused(replace(block, outputs=("nothing",)), "nothing: named as input or output")
    assert_refused(replace(block, inputs=("image", "nothing")), "nothing: named as input or output")


def test_the_input_must_be_the_one_tensor_of_that_role(block):
    problem = "there must be one input, the tensor of role input, and an output"
    assert_refused(replace(block, inputs=()), problem)
    assert_refused(replace(block, inputs=("image", "norm1")), problem)
    d = Draft()
    d.input("a", (1, 2))
    d.input("b", (1, 2))
    d.op(Add, "y", "a", "b")
    assert_refused(d.graph(), problem)


def test_outputs_must_be_computed(block):
    problem = "and an output"
    assert_refused(replace(block, outputs=()), problem)
    assert_refused(replace(block, outputs=("positions",)), "output positions: is a constant")


def test_constants_need_a_tensor_and_codes(block):
    problem = "must have both a tensor and codes"
    assert_refused(
        replace(block, constants=without(block.constants, "positions")),
        f"constant positions: {problem}",
    )
    extra = {**block.constants, "extra": np.zeros(3, np.int8)}
    assert_refused(replace(block, constants=extra), f"constant extra: {problem}")


def test_what_an_op_reads_beside_its_operands_must_be_constant(block):
    requantize = replace(op(block, "final").requantize, multiplier="embed")
    assert_refused(
        with_op(block, "final", requantize=requantize),
        "op final (rescale): embed must be a constant",
    )
    assert_refused(with_op(block, "gelu", table="fc1"), "op gelu (lookup): fc1 must be a constant")


# --- constants, types, shapes of tensors ----------------------------------------------------------


def test_constants_must_be_what_they_are_declared_to_be(block):
    assert_refused(
        with_codes(block, "class_token", np.zeros((6, 1), np.int8)),
        "constant class_token: has shape (6, 1), declared (1, 6)",
    )
    assert_refused(
        with_codes(block, "class_token", np.zeros((1, 6), np.int16)),
        "constant class_token: is stored as int16, s8 wants int8",
    )
    for code in (8, -9):
        codes = block.constants["qkv.weight"].copy()
        codes[3, 1] = code
        assert_refused(
            with_codes(block, "qkv.weight", codes), "constant qkv.weight: has codes outside s4"
        )


@pytest.mark.parametrize("shape", [(), (0,), (4, 0), (-1, 4)])
def test_every_tensor_has_elements(shape):
    d = Draft()
    d.input("a", shape)
    d.op(Rescale, "y", "a")
    found = verify(d.graph())
    assert f"tensor a: has shape {shape}; wanted one or more dimensions of at least 1" in found


@pytest.mark.parametrize(("kind", "zero_point"), [(S8, 128), (S8, -129), (U8, -1), (S4, 8)])
def test_a_zero_point_is_a_code(kind, zero_point):
    d = Draft()
    d.input("a", (2, 3), kind, zero_point)
    d.op(Rescale, "y", "a")
    assert_refused(d.graph(), f"tensor a: has zero point {zero_point} outside {kind}")


def test_a_scale_is_one_number_or_one_per_channel(block):
    assert verify(with_tensor(block, "head", scale=(0.5,))) == []
    assert verify(with_tensor(block, "head", scale=(0.5, 1.0, 2.0, 3.0))) == []
    assert_refused(
        with_tensor(block, "head", scale=(0.5, 1.0)), "tensor head: has 2 scales for shape (4,)"
    )


# --- shapes of ops --------------------------------------------------------------------------------


def one_op(op_type, *inputs, result=None, **given):
    """Return a graph of one op on inputs of the given shapes, maybe with another result shape."""
    d = Draft()
    names = [d.operand(f"in{index}", shape) for index, shape in enumerate(inputs)]
    d.op(op_type, "y", *names, **given)
    graph = d.graph()
    return graph if result is None else with_tensor(graph, "y", shape=result)


@pytest.mark.parametrize(
    ("a", "b", "transpose_b", "valid"),
    [
        ((3, 5), (5, 4), False, True),
        ((3, 5), (4, 5), True, True),
        ((2, 3, 5), (2, 5, 4), False, True),
        ((3, 5), (4, 5), False, False),
        ((3, 5), (5, 4), True, False),
        ((2, 3, 5), (3, 5, 4), False, False),
        ((2, 3, 5), (5, 4), False, False),  # an activation is not broadcast
        ((3, 5), (1, 5, 4), False, False),
        ((5,), (5, 4), False, False),
        ((3, 5), (5,), False, False),
    ],
)
def test_shapes_of_a_product_of_activations(a, b, transpose_b, valid):
    d = Draft()
    d.input("a", a)
    d.operand("b", b)
    d.op(MatMul, "y", "a", "b", transpose_b=transpose_b)
    graph = with_tensor(d.graph(), "y", shape=(*a[:-1], 4))
    assert (verify(graph) == []) == valid


@pytest.mark.parametrize(
    ("a", "weights", "transpose_b", "valid"),
    [
        ((5,), (5, 4), False, True),
        ((2, 2, 3, 5), (4, 5), True, True),
        ((3, 5), (4, 5), False, False),
        ((2, 3, 5), (2, 5, 4), False, False),  # weights have two dimensions
    ],
)
def test_shapes_of_a_product_with_weights(a, weights, transpose_b, valid):
    d = Draft()
    d.input("a", a)
    d.constant("w", np.ones(weights, int), S8)
    d.op(MatMul, "y", "a", "w", transpose_b=transpose_b)
    graph = with_tensor(d.graph(), "y", shape=(*a[:-1], 4))
    assert (verify(graph) == []) == valid


def test_shapes_of_a_sum():
    assert_refused(one_op(Add, (3, 4), (4, 3)), "cannot add (4, 3) to (3, 4)")
    assert_refused(one_op(Add, (4,), (3, 4)), "cannot add (3, 4) to (4,)")
    assert_refused(one_op(Add, (3, 4), (4,)), "only a constant is broadcast")
    assert_refused(one_op(Add, (3, 2, 4), (3, 1, 4)), "only a constant is broadcast")
    assert_refused(one_op(Add, (3, 4), (3, 1)), "cannot add (3, 1) to (3, 4)")
    assert_refused(one_op(Add, (3, 1, 4), (3, 2, 4)), "cannot add (3, 2, 4) to (3, 1, 4)")
    for shape, codes in (((3, 4), [1, 2, 3, 4]), ((2, 3, 4), [[[1, 2, 3, 4]], [[5, 6, 7, 8]]])):
        d = Draft()
        d.input("a", shape)
        d.op(Add, "y", "a", d.constant("b", codes, S8))
        assert verify(d.graph()) == []


def test_shapes_of_layout_ops():
    assert_refused(one_op(Concat, (2, 3), (2, 4)), "cannot concatenate [(2, 3), (2, 4)] along 0")
    assert_refused(
        one_op(Slice, (4, 3), start=1, stop=5, result=(3, 3)), "1:5 of dimension 0 of (4, 3)"
    )
    assert_refused(one_op(Slice, (4, 3), start=2, stop=2, result=(1, 3)), "2:2 of dimension 0")
    assert_refused(one_op(Slice, (4, 3), start=-1, stop=2, result=(3, 3)), "-1:2 of dimension 0")
    assert_refused(
        one_op(Slice, (4, 3), start=0, stop=4, step=0, result=(4, 3)), "step 0: must be 1"
    )
    assert_refused(
        one_op(Slice, (5, 3), start=0, stop=5, step=2, result=(2, 3)),
        "result has shape (2, 3), operands imply (3, 3)",
    )
    assert_refused(one_op(Reshape, (4, 3), shape=(5, 2)), "(4, 3) has 12 elements, (5, 2) has 10")
    assert_refused(
        with_op(one_op(Transpose, (4, 3), permutation=(1, 0)), "y", permutation=(0, 0)),
        "(0, 0) does not permute (4, 3)",
    )
    assert_refused(
        with_op(one_op(Transpose, (4, 3), permutation=(1, 0)), "y", permutation=(0, 1)),
        "result has shape (3, 4), operands imply (4, 3)",
    )


def test_an_axis_is_counted_from_the_front():
    rows = one_op(Slice, (4, 3), start=1, stop=3)
    assert verify(rows) == []
    joined = one_op(Concat, (2, 3), (2, 3))
    mean = one_op(Mean, (4, 3))
    for axis in (-2, -1, 2, 5):
        assert len(verify(with_op(rows, "y", axis=axis))) == 1
        assert len(verify(with_op(joined, "y", axis=axis))) == 1
        assert_refused(with_op(mean, "y", axis=axis), f"axis {axis} of (4, 3)")


def test_the_mean_is_not_over_channels():
    assert_refused(with_op(one_op(Mean, (4, 3)), "y", axis=2), "axis 2 of (4, 3)")


@pytest.mark.parametrize("op_type", [Rescale, Add])
def test_results_have_the_shape_that_the_operands_imply(op_type):
    inputs = [(3, 4)] * (2 if op_type is Add else 1)
    assert_refused(
        one_op(op_type, *inputs, result=(4, 4)), "result has shape (4, 4), operands imply (3, 4)"
    )


# --- operands and the batch dimension -------------------------------------------------------------


def test_an_op_needs_an_operand_with_images():
    d = Draft()
    d.input("a", (2, 3))
    d.constant("c", [[1, 2, 3], [4, 5, 6]], S8)
    d.op(Rescale, "rescaled", "c")
    d.op(Add, "sum", "c", "a")
    d.op(Concat, "joined", "c", "c")
    assert_refused(
        d.graph(),
        "op rescaled (rescale): operand c is a constant",
        "op sum (add): operand c is a constant",
        "op joined (concat): all operands are constants",
    )


# --- types and zero points ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"type": S16}, {"type": U8, "zero_point": 3}, {"zero_point": 1}]
)
@pytest.mark.parametrize(
    ("op_type", "given"),
    [
        (Concat, {}),
        (Slice, {"start": 0, "stop": 2}),
        (Reshape, {"shape": (12,)}),
        (Transpose, {"permutation": (1, 0)}),
    ],
)
def test_layout_ops_keep_type_and_zero_point(op_type, given, change):
    graph = one_op(op_type, (4, 3), **given)
    assert verify(graph) == []
    assert_refused(with_tensor(graph, "y", **change), "moves codes of in0 (s8) into")


def test_activations_are_multiplied_without_zero_points_and_bias(block):
    assert_refused(with_tensor(block, "v", zero_point=1), "op v (reshape): moves codes")
    assert_refused(
        with_tensor(block, "probabilities", zero_point=1),
        "op mix (matmul): a product of two activations needs zero points 0",
    )
    d = Draft()
    d.input("a", (4, 4))
    d.operand("b", (4, 4))
    d.op(MatMul, "y", "a", "b", bias=d.constant("bias", [1, 2, 3, 4], S32))
    assert_refused(d.graph(), "op y (matmul): a product of two activations has no bias")


@pytest.mark.parametrize(("a", "b"), [(S32, S8), (S8, S32), (IntType(bits=17), S8)])
def test_operands_of_a_product_have_16_bits(a, b):
    d = Draft()
    d.input("a", (2, 3), a)
    d.op(MatMul, "y", "a", d.constant("w", np.ones((3, 4), int), b), shift=(20,))
    name = "a" if a.bits > 16 else "w"
    assert_refused(d.graph(), f"op y (matmul): operand {name} has more than 16 bits")


def test_a_bias_has_48_bits():
    for bits, valid in ((48, True), (49, False)):
        d = Draft()
        d.input("a", (2, 3))
        d.constant("w", np.ones((3, 2), int), S8)
        d.constant("bias", [1, 2], IntType(bits=bits))
        d.op(MatMul, "y", "a", "w", bias="bias")
        assert (verify(d.graph()) == []) == valid


def test_a_bias_is_codes():
    """A constant of real values, which a requantization in float may read, is none."""
    d = Draft()
    d.input("a", (2, 3))
    d.constant("w", np.ones((3, 2), int), S8)
    d.constants["factors"] = np.array([0.25, 0.5])
    d.declare("factors", (2,), parse_type("f64"), role=Role.CONSTANT)
    d.op(MatMul, "y", "a", "w", bias="factors")
    for name in ("y.multiplier", "y.shift"):
        del d.constants[name], d.tensors[name]
    in_float = Requantization(
        multiplier="factors",
        shift=None,
        rounding=Rounding.HALF_EVEN,
        overflow=Overflow.SATURATE,
        arithmetic=Arithmetic.FLOAT64,
    )
    d.ops[-1] = replace(d.ops[-1], requantize=in_float)
    assert_refused(d.graph(), "op y (matmul): bias factors is f64, wanted codes of at most 48 bits")
    d.ops[-1] = replace(d.ops[-1], bias=None)
    assert verify(d.graph()) == []


def test_what_is_averaged_has_32_bits():
    for bits, valid in ((32, True), (33, False)):
        d = Draft()
        d.input("a", (2, 3), IntType(bits=bits))
        d.op(Mean, "y", "a", accumulator=accumulator((0, 50, WRAP)))
        assert (verify(d.graph()) == []) == valid


# --- constants of ops -----------------------------------------------------------------------------


def test_vectors_have_one_element_per_channel(block):
    def resized(name, size):
        codes = np.resize(block.constants[name], size)
        return with_tensor(with_codes(block, name, codes), name, shape=(size,))

    assert_refused(
        resized("qkv.multiplier", 17),
        "op qkv (matmul): constant qkv.multiplier has shape (17,), wanted (18,)",
    )
    assert verify(resized("qkv.multiplier", 1)) == []
    assert_refused(resized("final.shift", 2), "constant final.shift has shape (2,), wanted (6,)")
    assert_refused(
        resized("add1.multiplier_b", 3), "constant add1.multiplier_b has shape (3,), wanted (6,)"
    )
    for name, owner in (
        ("qkv.bias", "qkv"),
        ("norm1.gamma", "norm1"),
        ("norm1.beta", "norm1"),
        ("norm1.channel_shift", "norm1"),
    ):
        field = name.split(".")[1]
        assert_refused(
            resized(name, 1),
            f"op {owner} ({op_name(op(block, owner))}): {field} {name} has shape (1,), wanted",
        )
    assert any("gamma norm1.gamma has shape (5,)" in m for m in verify(resized("norm1.gamma", 5)))


@pytest.mark.parametrize("shift", [63, -1, 64])
def test_shifts_are_0_to_62(block, shift):
    assert_refused(with_op(block, "add1", shift=shift), f"op add1 (add): shift {shift}: must be")
    for field in ("shift", "beta_shift"):
        message = f"op norm1 (layernorm): shift {shift}"
        assert_refused(with_op(block, "norm1", **{field: shift}), message)
    assert_refused(
        with_op(block, "probabilities", shift=shift), f"op probabilities (softmax): shift {shift}"
    )
    for name, owner in (("qkv", "matmul"), ("final", "rescale"), ("mean", "mean")):
        codes = block.constants[f"{name}.shift"].astype(np.int8)
        codes[-1] = shift
        graph = with_tensor(block, f"{name}.shift", type=S8)
        assert_refused(
            with_codes(graph, f"{name}.shift", codes), f"op {name} ({owner}): shift {shift}"
        )


def test_a_shift_of_62_is_possible():
    d = Draft()
    d.input("a", (2, 3))
    d.op(Rescale, "y", "a", shift=(62,))
    assert verify(d.graph()) == []


@pytest.mark.parametrize(
    "name", ["qkv.multiplier", "final.multiplier", "mean.multiplier", "add1.multiplier_b"]
)
def test_multipliers_are_not_negative(block, name):
    codes = block.constants[name].astype(np.int32)
    codes[-1] = -1
    graph = with_codes(with_tensor(block, name, type=S32), name, codes)
    assert_refused(graph, "a multiplier is negative")


def test_channel_shifts_are_not_negative(block):
    codes = block.constants["norm1.channel_shift"].astype(np.int8)
    codes[2] = -1
    graph = with_tensor(block, "norm1.channel_shift", type=S8)
    assert_refused(
        with_codes(graph, "norm1.channel_shift", codes), "op norm1 (layernorm): shift -1: must be"
    )


def multiplied(block, codes, kind):
    """The block with channel multipliers in its first LayerNorm."""
    name = "norm1.channel_multiplier"
    tensor = replace(
        block.tensors["norm1.channel_shift"], name=name, type=kind, shape=(len(codes),)
    )
    graph = replace(
        block,
        tensors=MappingProxyType({**block.tensors, name: tensor}),
        constants=MappingProxyType({**block.constants, name: np.array(codes, kind.dtype)}),
    )
    return with_op(graph, "norm1", channel_multiplier=name)


def test_channel_multipliers_are_one_per_channel_and_not_negative(block):
    channels = block.tensors["norm1"].shape[-1]
    assert verify(multiplied(block, [3] * channels, S8)) == []
    assert_refused(
        multiplied(block, [1, -3, *[1] * (channels - 2)], S8),
        "op norm1 (layernorm): a multiplier is negative",
    )
    assert_refused(
        multiplied(block, [3], S8), "channel_multiplier norm1.channel_multiplier has shape (1,)"
    )


def test_accumulator_levels_must_be_possible(block):
    assert_refused(
        with_op(block, "qkv", accumulator=accumulator((2, 70, SATURATE), (0, 32, WRAP))),
        "op qkv (matmul): levels[0].bits = 70: must be 8..64",
    )
    assert_refused(
        with_op(block, "mean", accumulator=accumulator((4, 8, WRAP))),
        "op mean (mean): levels: exactly the last (outermost) level",
    )


def test_tables_cover_all_codes(block):
    def shortened(name):
        codes = block.constants[name][:-1]
        return with_tensor(with_codes(block, name, codes), name, shape=(255,))

    assert_refused(
        shortened("gelu.table"),
        "op gelu (lookup): table has shape (255,), wanted (256,) for 8-bit codes",
    )
    assert_refused(
        shortened("probabilities.table"),
        "op probabilities (softmax): table has shape (255,), wanted (256,) for 8-bit codes",
    )
    square = block.constants["probabilities.table"].reshape(16, 16)
    graph = with_tensor(block, "probabilities.table", shape=(16, 16))
    assert_refused(
        with_codes(graph, "probabilities.table", square), "table has shape (16, 16), wanted (256,)"
    )


def test_a_table_holds_codes_of_the_result(block):
    assert_refused(
        with_tensor(block, "gelu.table", type=IntType(bits=7)),
        "op gelu (lookup): table holds s7, result is s8",
    )


def test_exponentials_begin_above_zero_and_stay_there(block):
    problem = "table of exponentials must start above 0 and not go below it"
    table = block.constants["probabilities.table"].copy()
    table[0] = 0
    assert_refused(with_codes(block, "probabilities.table", table), problem)
    signed = exponentials()[:-1] + [-1]
    graph = with_tensor(block, "probabilities.table", type=S16)
    assert_refused(with_codes(graph, "probabilities.table", np.array(signed, np.int16)), problem)


@pytest.mark.parametrize(
    "changes",
    [
        {"sqrt_fraction_bits": -1},
        {"normalized_fraction_bits": -1},
        {"reciprocal_bits": 13},  # 4 + 10 fraction bits
    ],
)
def test_fields_of_a_layer_norm(block, changes):
    assert_refused(
        with_op(block, "norm1", **changes),
        "op norm1 (layernorm): fraction bits and the spare reciprocal bits must not be negative",
    )


def test_the_epsilon_of_a_layer_norm_is_not_negative(block):
    assert_refused(
        with_op(block, "norm1", epsilon=-1),
        "op norm1 (layernorm): epsilon -1: must not be negative",
    )


@pytest.mark.parametrize("bits", [-1, 63, 10**18])
def test_a_reciprocal_has_at_most_62_bits(block, bits):
    assert_refused(
        with_op(block, "probabilities", reciprocal_bits=bits),
        f"op probabilities (softmax): reciprocal_bits {bits}: must be 0..62",
    )
    if bits > 0:
        assert_refused(
            with_op(block, "norm1", reciprocal_bits=bits),
            f"op norm1 (layernorm): reciprocal_bits {bits}: must be 0..62",
        )


# --- 64 bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "shift", "needed"), [(33, 31, 64), (33, 61, 65), (34, 0, 65)])
def test_a_requantization_may_need_64_bits_but_not_65(bits, shift, needed):
    d = Draft()
    d.input("a", (1, 2), IntType(bits=bits))
    d.op(Rescale, "y", "a", multiplier=((1 << 31) - 1,), shift=(shift,))
    if needed == 64:
        assert verify(d.graph()) == []
    else:
        assert_refused(d.graph(), "op y (rescale): an intermediate may need 65 bits, the emulator")


def test_the_zero_point_of_the_result_counts():
    def graph(zero_point):
        d = Draft()
        d.input("a", (1, 2), IntType(bits=64))
        d.op(Rescale, "y", "a", shift=(0,), zero_point=zero_point)
        return d.graph()

    assert_refused(graph(100), "an intermediate may need 65 bits")


def test_a_product_may_not_need_65_bits(block):
    graph = with_codes(block, "scores.multiplier", np.array([1 << 30], np.uint32))
    wide = accumulator((0, 40, WRAP))
    assert verify(with_op(graph, "scores", accumulator=INT32)) == []
    # Three products of two codes: 17 bits where that is proven, 40 bits where it is not.
    assert verify(with_op(graph, "scores", accumulator=wide)) == []
    narrow_inside = accumulator((1, 8, SATURATE), (0, 40, WRAP))
    assert_refused(
        with_op(graph, "scores", accumulator=narrow_inside),
        "op scores (matmul): an intermediate may need 71 bits",
    )


def test_a_sum_may_not_need_65_bits():
    for bits, valid in ((32, True), (33, False)):
        d = Draft()
        d.input("a", (1, 2), IntType(bits=bits))
        d.op(Add, "y", "a", "a", multiplier_a=(1 << 30,), multiplier_b=(1 << 30,))
        problem = "op y (add): an intermediate may need 65 bits"
        assert_refused(d.graph(), *([] if valid else [problem]))
    d = Draft()
    d.input("a", (40, 2), S32)
    d.op(Mean, "y", "a", accumulator=accumulator((0, 40, WRAP)), multiplier=((1 << 31) - 1,))
    assert_refused(d.graph(), "op y (mean): an intermediate may need 69 bits")


@pytest.mark.parametrize(
    "changes",
    [
        {"sqrt_fraction_bits": 12, "epsilon": 1 << 40},  # the radicand
        {"sqrt_fraction_bits": 0, "reciprocal_bits": 62},  # deviation times reciprocal
        {"sqrt_fraction_bits": 0, "normalized_fraction_bits": 52, "reciprocal_bits": 53},  # times γ
    ],
)
def test_a_normalization_may_not_need_65_bits(block, changes):
    (found,) = verify(with_op(block, "norm1", **changes))
    assert "op norm1 (layernorm): an intermediate may need" in found


def test_a_softmax_may_not_need_65_bits(block):
    table = block.constants["probabilities.table"].copy()
    wide = with_op(block, "probabilities", reciprocal_bits=62)
    assert verify(wide) == []
    table[0] = 1  # so that the sum may be 1, and the reciprocal meets exponentials of 1000
    assert_refused(
        with_codes(wide, "probabilities.table", table),
        "op probabilities (softmax): an intermediate may need 73 bits",
    )


@pytest.mark.parametrize("number", [1 << 63, -(1 << 63) - 1])
def test_numbers_fit_64_bits(block, number):
    assert_refused(
        with_op(block, "norm1", epsilon=number),
        "op norm1 (layernorm): epsilon: has a number that signed 64 bits do not hold",
    )
    levels = accumulator((number, 16, SATURATE), (0, 32, WRAP))
    assert_refused(
        with_op(block, "qkv", accumulator=levels),
        "op qkv (matmul): accumulator.levels.0.group: has a number that",
    )
