# SPDX-License-Identifier: Apache-2.0
"""Operands of products have their own width, and the two ends of a network theirs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from asked import asked, for_chip
from tiny_models import NANO, VARIANTS, images, input_size, network
from tiny_quantized import tiny

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.capture.float_graph import ARITHMETIC, readers_of
from aocq.capture.residual_stream import (
    arithmetic_source,
    readers_through_layout,
    residual_stream,
)
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods.tensor_widths import operands, tensor_widths, weight_widths
from aocq.methods.verify_quantized import verify
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.methods import METHOD_SPECS
from aocq.transforms.reader_widths import classifiers
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import MatMul, NormalizedMatMul
from simulator.numerics.real_functions import REAL_FUNCTIONS
from simulator.profile import load_profile
from simulator.profile.algorithms import InterpolatedGelu

W4A4 = load_profile("edge_npu_w4a4")
WIDTHS = {"weight_bits": 4, "activation_bits": 4}
PLAIN = asked(**WIDTHS)
# Every kind of tensor has a width of its own, so that none passes for another.
APART = asked(
    **{**WIDTHS, "end_bits": 7}, vector_bits=9, residual_bits=10, softmax_bits=5, fused_add=False
)


@cache
def graph_of(variant: str) -> FloatGraph:
    return capture(network(variant, NANO), variant, input_size(NANO))


# --- which tensor has which width -----------------------------------------------------------------


def test_widths_of_a_block() -> None:
    by_width: dict[int, set[str]] = {}
    for name, bits in tensor_widths(graph_of("class_token"), *APART).items():
        by_width.setdefault(bits, set()).add(name.removeprefix("blocks.0."))
    assert by_width == {
        4: {"norm1", "attn.qkv", "attn.context", "norm2", "mlp.act"},
        5: {"attn.probabilities"},
        7: {"image", "norm"},
        9: {
            *("patch_embed.proj", "cls_token", "pos_embed", "attn.scores", "attn.proj"),
            *("mlp.fc1", "mlp.fc2", "head"),
        },
        10: {"concat", "add", "add_1"},  # of the embeddings, and both of the block
    }
    assert weight_widths(graph_of("class_token"), APART[0]) == {
        "patch_embed.proj.weight": 7,
        **{
            f"blocks.0.{name}.weight": 4 for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        },
        "head.weight": 7,
    }


def test_without_a_word_everything_has_one_width_but_pixels_and_logits() -> None:
    graph = graph_of("class_token")
    found = tensor_widths(graph, *PLAIN)
    stream = residual_stream(graph)
    assert {found[name] for name in stream} == {8}
    assert {name: bits for name, bits in found.items() if name not in stream and bits != 4} == {
        "image": 8,
        "head": 8,
    }
    assert set(weight_widths(graph, PLAIN[0]).values()) == {4}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tensor_is_an_operand_if_a_product_reads_it_perhaps_moved(variant: str) -> None:
    graph, readers = graph_of(variant), readers_of(graph_of(variant))
    found = tensor_widths(graph, *APART)
    scaled = {node.name for node in graph.nodes if node.op is FloatOp.SCALE}
    for node in graph.nodes:
        if node.op not in ARITHMETIC or node.name in residual_stream(graph):
            continue
        reading = readers_through_layout(graph, readers, node.name)
        reading += [r for n in reading if n.name in scaled for r in readers.get(n.name, ())]
        by_products = any(r.op in {FloatOp.LINEAR, FloatOp.MATMUL} for r in reading)
        assert (node.name in operands(graph)) == by_products, node.name
        assert (found[node.name] == 9) == (not by_products), node.name


def test_both_heads_of_a_distilled_network_are_ends() -> None:
    graph = graph_of("distilled")
    assert [node.name for node in classifiers(graph)] == ["head", "head_dist"]
    found = weight_widths(graph, APART[0])
    assert {name for name, bits in found.items() if bits == 7} == {
        *("patch_embed.proj.weight", "head.weight", "head_dist.weight")
    }


def test_a_pooled_classifier_reads_its_mean() -> None:
    graph = graph_of("mean_of_all_tokens")
    (head,) = classifiers(graph)
    source = arithmetic_source(graph, head.inputs[0])
    assert source.op is FloatOp.MEAN
    assert tensor_widths(graph, *APART)[source.name] == 7
    pooled = arithmetic_source(graph, source.inputs[0])
    assert (pooled.op, tensor_widths(graph, *APART)[pooled.name]) == (FloatOp.LAYERNORM, 9)


# --- what methods decide, and what becomes of it --------------------------------------------------


def operand_bits(graph: IntGraph) -> dict[str, tuple[int, int]]:
    """Widths of both operands of every product."""
    return {
        op.name: (graph.tensors[op.operands[0]].type.bits, graph.tensors[op.operands[1]].type.bits)
        for op in graph.ops
        if isinstance(op, MatMul | NormalizedMatMul)
    }


# Methods without levels of their own for probabilities, which the chip's softmax has.
INTEGERS = ("aocq", "base_ptq", "base_ptq_paper")


@pytest.mark.parametrize("method", INTEGERS)
def test_products_of_the_chip_read_the_widths_asked_for(method: str) -> None:
    model = tiny(method, "edge_npu_w4a4", end_bits=8, float_ops="integer")
    verify(model)
    # Layers whose sums go onto the stream bear the name of the sum.
    proj, fc2 = (
        f"blocks.0.{name}"
        for name in (("add", "add_1") if method == "aocq" else ("attn.proj", "mlp.fc2"))
    )
    assert operand_bits(lower(model, W4A4)) == {
        "patch_embed.proj": (8, 8),
        "blocks.0.attn.qkv": (4, 4),
        "blocks.0.attn.scores": (4, 4),
        "blocks.0.attn.context": (4, 4),
        proj: (4, 4),
        "blocks.0.mlp.fc1": (4, 4),
        fc2: (4, 4),
        "head": (8, 8),
    }


@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_method_keeps_to_the_widths_with_operators_in_float(method: str) -> None:
    model = tiny(method, "edge_npu_w4a4", end_bits=8)
    verify(model)
    weights = {name: weight.bits for name, weight in model.weights.items()}
    assert weights == weight_widths(model.graph, model.recipe)
    assert model.activations["norm"].type.bits == 8
    assert model.activations["blocks.0.norm1"].type.bits == 4


def test_probabilities_of_8_bits_are_operands_in_two_passes() -> None:
    chip = W4A4.model_copy(update={"softmax": load_profile("edge_npu_int8").softmax})
    graph, recipe = graph_of("class_token"), for_chip(chip, **WIDTHS)
    lowered = lower(calibrated("base_ptq", graph, images(4, input_size(NANO)), *recipe), chip)
    assert operand_bits(lowered)["blocks.0.attn.context"] == (8, 4)
    assert operand_bits(lowered)["blocks.0.attn.scores"] == (4, 4)


def test_ends_as_everywhere_are_narrow_but_for_pixels() -> None:
    found = operand_bits(lower(tiny("base_ptq", "edge_npu_w4a4"), W4A4))
    assert (found["patch_embed.proj"], found["head"]) == ((8, 4), (4, 4))


# --- what does not fit ----------------------------------------------------------------------------


def test_a_tensor_or_weight_of_another_width_is_refused() -> None:
    model = tiny("base_ptq", "edge_npu_w4a4", end_bits=8)
    wide = model.activations["blocks.0.mlp.fc1"]
    activations = {**model.activations, "blocks.0.norm2": wide}
    with pytest.raises(InputError, match=r"blocks\.0\.norm2: has 8 bits, the recipe 4 for it"):
        verify(replace(model, activations=activations))
    weights = {**model.weights, "head.weight": replace(model.weights["head.weight"], bits=4)}
    codes = weights["head.weight"].codes.clip(-8, 7)
    weights["head.weight"] = replace(weights["head.weight"], codes=codes)
    with pytest.raises(InputError, match=r"head\.weight: has 4 bits, the recipe 8 for it"):
        verify(replace(model, weights=weights))


@pytest.mark.parametrize(
    ("decided_for", "lowered_for", "problem"),
    [
        (
            "edge_npu_w4a4",
            "edge_npu_a4",
            "activation.bits = 4, the model's tensors that no",
        ),
        (
            "edge_npu_a4",
            "edge_npu_w4a4",
            "activation.bits = 8, the model's tensors that no",
        ),
        ("edge_npu_w4a4", "edge_npu_int8", "activation.bits = 8, the model has 4"),
        ("edge_npu_int8", "edge_npu_w4a4", "activation.operand_bits = 4, the model has 8"),
    ],
)
def test_chips_of_other_widths_refuse_a_model(
    decided_for: str, lowered_for: str, problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        lower(tiny("base_ptq", decided_for, weight_bits=4), load_profile(lowered_for))


@pytest.mark.parametrize(
    ("profile", "ends", "problem"),
    [
        ("edge_npu_w4a4", 3, r"weight.bits = \[4, 8\] has no 3 \(choose --end-bits 4 or 8\)"),
        ("edge_npu_w4a4", 5, "products read operands of 4 or 8 bits, the model's ends have 5"),
        ("edge_npu_int8", 4, "products read operands of 8 bits, the model's ends have 4"),
        ("tflm_int16x8", 8, "products read operands of 16 bits, the model's ends have 8"),
    ],
)
def test_ends_that_the_array_does_not_read_are_refused(
    profile: str, ends: int, problem: str
) -> None:
    chip = load_profile(profile)
    widths = {"activation_bits": chip.activation.operand_width, "weight_bits": 8}
    model = tiny("base_ptq", profile, **widths)
    with pytest.raises(InputError, match=problem):
        lower(replace(model, recipe=replace(model.recipe, end_bits=ends)), chip)


# --- wide vector units ----------------------------------------------------------------------------


@pytest.mark.parametrize(("vector", "stream"), [(16, 16), (16, 8), (8, 16)])
def test_vector_units_and_streams_of_16_bits(vector: int, stream: int) -> None:
    activation = W4A4.activation.model_copy(update={"bits": vector, "residual_bits": stream})
    chip = W4A4.model_copy(update={"activation": activation})
    graph = graph_of("class_token")
    recipe = for_chip(chip, **WIDTHS)
    lowered = lower(calibrated("base_ptq", graph, images(4, input_size(NANO)), *recipe), chip)
    found = {name: tensor.type.bits for name, tensor in lowered.tensors.items()}
    assert found["blocks.0.attn.scores"] == found["blocks.0.mlp.fc1"] == vector
    assert found["blocks.0.add"] == found["add"] == stream
    assert found["blocks.0.norm1"] == found["blocks.0.mlp.act"] == 4


@pytest.mark.parametrize("zero_point", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("method", ["base_ptq", "aocq"])
def test_samples_of_16_bit_codes_make_operands(method: str, zero_point: str) -> None:
    """GELU by lines between 513 samples, then rescaled: as near to its codes as rounding twice."""
    activation = {"bits": 16, "residual_bits": 16, "zero_point": zero_point}
    chip = W4A4.model_copy(
        update={
            "activation": W4A4.activation.model_copy(update=activation),
            "gelu": InterpolatedGelu(algorithm="table_513"),
            "residual": W4A4.residual.model_copy(update={"fused_add": False}),
        }
    )
    graph, pixels = graph_of("class_token"), images(4, input_size(NANO))
    recipe = for_chip(chip, **WIDTHS, aocq=AocqOptions(scale_passes=0, search_images=4))
    model = calibrated(method, graph, pixels, *recipe)
    lowered = lower(model, chip)
    source, name = lowered.tensors["blocks.0.mlp.fc1"], "blocks.0.mlp.act"
    codes = quantize(pixels.numpy(), lowered.tensors[lowered.inputs[0]])
    found = Executor(lowered, threads=1).run(codes, taps=[source.name, name]).taps
    real = (found[source.name].astype(np.float64) - source.zero_point) * np.array(source.scale)
    function = np.vectorize(REAL_FUNCTIONS["gelu"])
    wanted = model.activations[name].integer_codes(function(real))
    assert lowered.tensors[name].type.bits == 4
    assert len(np.unique(wanted)) >= 8
    differences = np.abs(found[name].astype(np.int64) - wanted)
    assert differences.max() <= 1
    assert np.mean(differences != 0) < 0.002
