# SPDX-License-Identifier: Apache-2.0
"""A model whose method leaves operators in float: lowered, run, counted, and as fake-quantized."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_models import NANO, images, input_size, network
from tiny_quantized import tiny

from aocq.capture import FloatOp, capture
from aocq.capture import run as run_float
from aocq.jobs.op_sqnr import sqnr_per_op
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer
from aocq.recipes.recipe import Recipe
from simulator.boundary import dequantize, quantize
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.graph import load, save, sha256, verify
from simulator.graph.macs import total_macs
from simulator.graph.ops import Dequantize, FloatFunction, Lookup, MatMul, Quantize, op_name
from simulator.numerics.float_type import FLOAT32
from simulator.numerics.integer_type import IntType
from simulator.profile import load_profile

PROFILE = load_profile("edge_npu_int8")
SIZE = input_size(NANO)
HEADS, WIDTH, TOKENS = 3, 8, 5


def operands_of_products(graph):
    """Names of the arithmetic nodes whose values enter a linear layer or a product."""
    moving = {FloatOp.RESHAPE, FloatOp.TRANSPOSE, FloatOp.SLICE, FloatOp.SCALE}
    found = set()
    for node in graph.nodes:
        if node.op in {FloatOp.LINEAR, FloatOp.MATMUL}:
            for name in node.inputs:
                source = graph.node(name)
                while source.op in moving:
                    source = graph.node(source.inputs[0])
                found.add(source.name)
    return found


def levels(model, name):
    """Twin ranges like those of a GELU: fine scales below zero, coarse ones above."""
    scale = model.activations[name].scale / 4
    points = (*range(-16, 0, 2), *range(0, 512, 16))
    borders = tuple((low + high) / 2 for low, high in pairwise(points))
    return LevelQuantizer(levels=points, thresholds=borders, scale=scale, bits=6)


def partly_quantized(**changes):
    graph = capture(network(base=NANO), "tiny", SIZE)
    model = METHODS["base_ptq"](graph, images(16, SIZE), Recipe())
    kept = {
        name: quantizer
        for name, quantizer in model.activations.items()
        if name in operands_of_products(graph)
    }
    qkv, softmax, act = (
        f"blocks.0.{name}" for name in ("attn.qkv", "attn.probabilities", "mlp.act")
    )
    by_head = np.repeat(np.linspace(0.5, 1, 3 * HEADS), WIDTH)
    kept[qkv] = replace(kept[qkv], alpha=tuple(by_head.tolist()))
    kept[softmax] = ActivationQuantizer(
        type=IntType(bits=8, signed=False),
        scale=1 / 255,
        zero_point=0,
        alpha=(1.0, 0.8, 0.6),
        axis=-3,
    )
    kept[act] = levels(model, act)
    kept |= changes
    return replace(
        model, activations={name: value for name, value in kept.items() if value is not None}
    )


MODEL = partly_quantized()
GRAPH = lower(MODEL, PROFILE)


def fake_quantized(model, batch):
    name, source = model.graph.output.name, model.graph.input.name
    with torch.inference_mode():
        return run_float(
            model.graph,
            {source: model.fake_quantized_image(batch)},
            [name],
            transform=model.fake_quantize,
            parameters=model.fake_quantized_parameters(),
        )[name].numpy()


def emulated(graph, batch):
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    run = Executor(graph).run(quantize(batch.numpy(), source))
    return dequantize(run.outputs[target.name], target)


def assert_as_fake_quantized(model, graph, count=24):
    batch = images(count, SIZE, seed=3)
    expected, found = fake_quantized(model, batch), emulated(graph, batch)
    errors = np.abs(found - expected).max(axis=1) / np.abs(expected).max()
    # A value that lies on a border may fall to the other side, and one code more shows.
    assert (errors < 1e-3).sum() >= 0.9 * count, errors
    assert errors.max() < 0.1


def test_it_lowers_and_does_what_fake_quantization_does():
    assert verify(GRAPH) == []
    assert MODEL.leaves_floats
    assert_as_fake_quantized(MODEL, GRAPH)


def test_float_ops_are_exactly_those_that_the_method_left():
    kinds = Counter(op_name(op) for op in GRAPH.ops if op.arithmetic == "float32")
    assert kinds == {
        "dequantize": 8,  # the sums of six linear layers and two products
        "quantize": 7,  # three norms, qkv, probabilities, context, GELU's levels
        "float_layernorm": 3,
        "float_add": 3,
        "float_gelu": 1,
        "float_softmax": 1,
    }
    assert GRAPH.float_ops == sum(kinds.values()) == 23
    assert all(
        op.requantize.multiplier == f"{op.name}.multiplier"
        and GRAPH.constants[op.requantize.multiplier].tolist() == [1]
        and GRAPH.constants[op.requantize.shift].tolist() == [0]
        and str(GRAPH.result(op).type) == "s32"
        for op in GRAPH.ops
        if isinstance(op, MatMul)
    )


def test_levels_are_numbered_in_few_bits_and_looked_up():
    by_name = {op.name: op for op in GRAPH.ops}
    index, wide = by_name["blocks.0.mlp.act.index"], by_name["blocks.0.mlp.act"]
    assert isinstance(index, Quantize)
    assert isinstance(wide, Lookup)
    assert (str(GRAPH.result(index).type), str(GRAPH.result(wide).type)) == ("u6", "s10")
    quantizer = MODEL.activations["blocks.0.mlp.act"]
    assert GRAPH.constants[wide.table].tolist()[:40] == list(quantizer.levels)
    borders = np.multiply(quantizer.thresholds, quantizer.scale).astype(np.float32)
    assert GRAPH.constants[index.thresholds].tolist() == borders.tolist()


def test_scales_per_head_survive_layout_and_products():
    scores = next(op for op in GRAPH.ops if op.name == "blocks.0.attn.scores")
    assert isinstance(scores, Dequantize)
    step = GRAPH.constants[scores.step]
    assert step.shape == (HEADS, 1, 1)
    qkv = MODEL.activations["blocks.0.attn.qkv"]
    q, k, _ = (qkv.scale * np.array(qkv.alpha)).reshape(3, HEADS, WIDTH)[..., 0]
    assert step.ravel() == pytest.approx(q * k * WIDTH**-0.5)
    assert GRAPH.tensors["blocks.0.attn.reshape_1"].scale == ()  # no scale can say "per head"


def test_the_reference_computes_the_same_graph():
    batch = images(1, SIZE, seed=5)
    codes = quantize(batch.numpy(), GRAPH.tensors["image"])
    output = Executor(GRAPH).run(codes, taps=[op.name for op in GRAPH.ops])
    reference = run_reference(GRAPH, codes[0])
    for op in GRAPH.ops:
        found, wanted = output.taps[op.name][0], reference[op.name]
        if GRAPH.result(op).is_float:
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6, err_msg=op.name)
        else:
            np.testing.assert_array_equal(found, wanted, err_msg=op.name)


def test_bits_do_not_depend_on_batch_or_threads():
    codes = quantize(images(9, SIZE, seed=6).numpy(), GRAPH.tensors["image"])
    together = Executor(GRAPH, threads=2).run(codes).outputs["head"]
    alone = [Executor(GRAPH, threads=1).run(codes[i : i + 1]).outputs["head"] for i in range(9)]
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_it_is_saved_and_loaded(tmp_path):
    assert save(GRAPH, tmp_path) == sha256(GRAPH)
    found = load(tmp_path)
    assert sha256(found) == sha256(GRAPH)
    batch = images(3, SIZE)
    assert emulated(found, batch).tolist() == emulated(GRAPH, batch).tolist()


def test_it_has_a_cost():
    cost = estimate(GRAPH, PROFILE)
    assert cost.total_cycles > 0
    by_name = {op.name: op for op in cost.ops}
    assert by_name["blocks.0.norm1.float"].vector == 5 * 24 * 8 // 16
    assert sum(op.macs for op in cost.ops) == total_macs(GRAPH)


PLAIN = ActivationQuantizer(type=IntType(bits=8), scale=0.05, zero_point=-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": None},
        {"head": PLAIN},
        {"add": PLAIN, "blocks.0.add": PLAIN},
        {"cls_token": PLAIN, "pos_embed": PLAIN, "patch_embed.proj": PLAIN},
        {"cls_token": PLAIN, "patch_embed.proj": PLAIN, "concat": replace(PLAIN, scale=0.043)},
        {"blocks.0.norm1": None, "blocks.0.attn.probabilities": None},
        {"blocks.0.mlp.fc1": PLAIN, "blocks.0.mlp.act": PLAIN},
        {"blocks.0.attn.scores": replace(PLAIN, scale=0.1, alpha=(1.0, 0.5, 2.0), axis=-3)},
        {"pos_embed": replace(PLAIN, zero_point=0, alpha=tuple(np.linspace(0.5, 1, 24)))},
    ],
    ids=", ".join,
)
def test_other_choices_of_what_to_quantize(changes):
    model = partly_quantized(**changes)
    graph = lower(model, PROFILE)
    assert verify(graph) == []
    assert_as_fake_quantized(model, graph)


def test_nothing_but_the_weights_may_be_quantized():
    model = replace(MODEL, activations={})
    graph = lower(model, PROFILE)
    assert {op_name(op) for op in graph.ops if op.arithmetic == "integer"} == {
        "reshape",
        "transpose",
        "slice",
        "concat",
    }
    assert graph.tensors["image"].type == graph.tensors["head"].type == FLOAT32
    batch = images(8, SIZE, seed=3)
    np.testing.assert_allclose(
        emulated(graph, batch), fake_quantized(model, batch), rtol=1e-4, atol=1e-5
    )
    products = [op for op in graph.ops if isinstance(op, FloatFunction) and op.weight]
    assert [op.name for op in products if op.function == "linear"] == [
        "patch_embed.proj",
        "blocks.0.attn.qkv",
        "blocks.0.attn.proj",
        "blocks.0.mlp.fc1",
        "blocks.0.mlp.fc2",
        "head",
    ]


def test_codes_that_two_float_operators_read_are_dequantized_once():
    graph = lower(partly_quantized(**{"add": PLAIN, "blocks.0.norm1": None}), PROFILE)
    readers = [op.name for op in graph.ops if "add.real" in op.operands]
    assert readers == ["blocks.0.norm1", "blocks.0.add"]
    assert sum(op.name == "add.real" for op in graph.ops) == 1


def test_plainly_quantized_operators_keep_their_integer_rule():
    graph = lower(
        partly_quantized(**{"blocks.0.mlp.fc1": PLAIN, "blocks.0.mlp.act": PLAIN}), PROFILE
    )
    (gelu,) = (op for op in graph.ops if op.name == "blocks.0.mlp.act")
    assert isinstance(gelu, Lookup)
    assert gelu.a == "blocks.0.mlp.fc1"


def test_a_softmax_of_another_scale_is_no_integer_softmax():
    scores = replace(PLAIN, scale=0.1, zero_point=0)
    odd = ActivationQuantizer(type=IntType(bits=8, signed=False), scale=1 / 200, zero_point=0)
    changes = {"blocks.0.attn.scores": scores, "blocks.0.attn.probabilities": odd}
    model = partly_quantized(**changes)
    graph = lower(model, PROFILE)
    assert "blocks.0.attn.probabilities.float" in graph.tensors
    assert_as_fake_quantized(model, graph)
    fitting = replace(odd, scale=1 / 256)
    graph = lower(partly_quantized(**changes | {"blocks.0.attn.probabilities": fitting}), PROFILE)
    assert "blocks.0.attn.probabilities.float" not in graph.tensors


def by_channel(name, count):
    alpha = tuple(np.linspace(0.5, 1, count).tolist())
    return {name: replace(MODEL.activations[name], zero_point=0, alpha=alpha)}


def test_factors_of_channels_may_be_carried_by_the_weight():
    model = partly_quantized(**by_channel("blocks.0.norm1", 24))
    weight = "blocks.0.attn.qkv.weight"
    alpha = model.activations["blocks.0.norm1"].alpha
    model = replace(
        model, weights={**model.weights, weight: replace(model.weights[weight], alpha=alpha)}
    )
    assert_as_fake_quantized(model, lower(model, PROFILE))


@pytest.mark.parametrize(
    ("name", "channels", "where"),
    [
        ("blocks.0.norm1", 24, "blocks.0.attn.qkv: the scale of blocks.0.norm1 varies"),
        ("blocks.0.attn.qkv", 72, "blocks.0.attn.scores: the product of the scales of blocks.0"),
    ],
)
def test_a_scale_must_not_vary_where_products_are_summed(name, channels, where):
    with pytest.raises(InputError, match=where) as caught:
        lower(partly_quantized(**by_channel(name, channels)), PROFILE)
    assert "along the dimension that is summed over" in str(caught.value)
    assert "multiplier_bits" not in str(caught.value)


def test_an_image_has_one_scale_or_none():
    image = replace(MODEL.activations["image"], alpha=(1.0,) * 16)
    with pytest.raises(InputError, match="image: the image has one scale for all its values"):
        lower(partly_quantized(image=image), PROFILE)


def test_sqnr_is_measured_where_a_scale_can_be_told():
    batch = images(4, SIZE), torch.zeros(4)
    found = sqnr_per_op(MODEL, Executor(GRAPH), [batch], MODEL.graph.parameters)
    assert found["add"] > 20
    assert found["blocks.0.mlp.act"] > 5
    assert found["blocks.0.attn.qkv"] > 20
    assert found["head"] > 5
    assert "blocks.0.attn.probabilities" not in found  # one scale per head


@pytest.mark.parametrize(
    ("profile", "functions"),
    [
        ("gemmini_20b", {"softmax", "layernorm"}),
        ("ort_cpu", {"softmax", "layernorm", "add"}),
    ],
)
def test_operators_that_a_chip_has_in_float_only_stay_so_beside_a_method_s_own(profile, functions):
    model = tiny("base_ptq", profile)
    kept = {name: found for name, found in model.activations.items() if name != "head"}
    graph = lower(replace(model, activations=kept), load_profile(profile))
    found = Counter(op.function for op in graph.ops if isinstance(op, FloatFunction))
    for function in functions:
        wanted = sum(node.op == function for node in model.graph.nodes)
        assert found[function] == wanted
