# SPDX-License-Identifier: Apache-2.0
"""Rules for single layers, from the recipe to the integers that a chip multiplies."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from families import EXAMPLES
from tiny_models import images, input_size, with_random_parameters
from tiny_quantized import TINY, meta_of, tiny_graph
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.capture.residual_stream import arithmetic_source
from aocq.jobs.calibration import calibrated
from aocq.jobs.reference_graph import in_form_of
from aocq.lowering import check_recipe, lower
from aocq.lowering.product_widths import check_products
from aocq.methods import QuantizedModel, storage
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.tensor_widths import tensor_widths, weight_widths
from aocq.methods.verify_quantized import verify
from aocq.methods.weightless import quantized, without_matrices
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.layer_rules import LayerRule, LayerRules
from aocq.recipes.limits import ChipLimits
from aocq.recipes.methods import METHOD_SPECS
from aocq.recipes.recipe import Recipe
from aocq.transforms.apply import transformed
from aocq.transforms.reader_widths import PRODUCTS, with_narrow_readers
from aocq.zoo.models import timm
from simulator.boundary import quantize
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import MatMul, NormalizedMatMul, Rescale, ScaledMatMul
from simulator.profile import load_profile

W4A4 = load_profile("edge_npu_w4a4")
WIDE = load_profile("edge_npu_int8_wide")
PIXELS = images(8, input_size(TINY))
SCORES_AT_8 = {"blocks.0.attn.scores": LayerRule(a=8)}


def asked(profile: Any, rules: dict[str, LayerRule], **values: Any) -> tuple[Recipe, ChipLimits]:
    widths = {"weight_bits": 4, "activation_bits": profile.activation.operand_width}
    options = AocqOptions(scale_passes=1, search_images=4)
    given = {**widths, "aocq": options, **values}
    return for_chip(profile, **given, layers=LayerRules.of(rules))


@cache
def made(method: str, profile: str, *rules: tuple[str, LayerRule], **values: Any) -> QuantizedModel:
    recipe, limits = asked(load_profile(profile), dict(rules), **values)
    graph = with_narrow_readers(tiny_graph(), recipe, limits)
    model = calibrated(method, graph, PIXELS, recipe, limits)
    verify(model)
    return model


def multiplied(graph: IntGraph) -> dict[str, tuple[int, int]]:
    """Widths of both operands of every product, by the layer's own name."""
    sums = {"blocks.0.add": "blocks.0.attn.proj", "blocks.0.add_1": "blocks.0.mlp.fc2"}
    return {
        sums.get(op.name, op.name).removesuffix(".sums"): (
            graph.tensors[op.operands[0]].type.bits,
            graph.tensors[op.operands[1]].type.bits,
        )
        for op in graph.ops
        if isinstance(op, MatMul | NormalizedMatMul | ScaledMatMul)
    }


def same_integers(graph: IntGraph, pixels: Tensor = PIXELS) -> bool:
    """Whether vector code and the portable kernels give the same codes of every op."""
    codes = quantize(pixels.numpy(), graph.tensors[graph.inputs[0]])
    taps = [op.name for op in graph.ops]
    fast = Executor(graph, threads=1).run(codes, taps=taps).taps
    portable = Executor(graph, gemm="numba", portable=True, threads=1).run(codes, taps=taps).taps
    return all(np.array_equal(fast[name], portable[name]) for name in taps)


# --- which tensor has which width -----------------------------------------------------------------


def test_a_rule_changes_what_it_names_and_nothing_else() -> None:
    graph, plain = tiny_graph(), asked(W4A4, {})
    recipe, limits = asked(W4A4, {"blocks.*.mlp.fc2": LayerRule(w=8, a=8)})
    before, after = (tensor_widths(graph, *each) for each in (plain, (recipe, limits)))
    assert {n: (b, after[n]) for n, b in before.items() if b != after[n]} == {
        "blocks.0.mlp.act": (4, 8)
    }
    weights = weight_widths(graph, recipe)
    assert {name for name, bits in weights.items() if bits != 4} == {"blocks.0.mlp.fc2.weight"}


def test_a_rule_wins_over_the_width_of_the_ends() -> None:
    graph = tiny_graph()
    recipe, limits = asked(W4A4, {"head": LayerRule(w=4, a=4)}, end_bits=8)
    assert weight_widths(graph, recipe)["head.weight"] == 4
    assert weight_widths(graph, recipe)["patch_embed.proj.weight"] == 8
    assert tensor_widths(graph, recipe, limits)["norm"] == 4


def test_a_whole_block_leaves_probabilities_to_the_chip() -> None:
    graph = tiny_graph()
    recipe, limits = asked(WIDE, {"blocks.0": LayerRule(w=3, a=8)})
    assert tensor_widths(graph, recipe, limits)["blocks.0.attn.probabilities"] == 16
    assert set(weight_widths(graph, recipe).values()) == {3, 4}


@pytest.mark.parametrize("method", METHOD_SPECS)
def test_every_method_decides_by_the_rules(method: str) -> None:
    rules = {"blocks.0.mlp.fc1": LayerRule(w=8, a=8), "blocks.0.attn.proj": LayerRule(w=8)}
    found = multiplied(lower(made(method, "edge_npu_w4a4", *rules.items()), W4A4))
    assert found["blocks.0.mlp.fc1"] == (8, 8)
    assert found["blocks.0.attn.proj"] == (4, 8)
    assert found["blocks.0.attn.qkv"] == (4, 4)


# --- readers of one tensor ------------------------------------------------------------------------


def test_products_that_read_alike_need_nothing_between() -> None:
    recipe, limits = asked(W4A4, {"blocks.0.attn": LayerRule(a=8)})
    assert with_narrow_readers(tiny_graph(), recipe, limits) is tiny_graph()
    assert tensor_widths(tiny_graph(), recipe, limits)["blocks.0.attn.qkv"] == 8


def test_the_narrower_reader_gets_codes_of_its_own() -> None:
    """Queries, keys and values are one tensor, read at 8 bits by scores; values are narrowed."""
    recipe, limits = asked(W4A4, SCORES_AT_8)
    graph = with_narrow_readers(tiny_graph(), recipe, limits)
    (narrow,) = (node for node in graph.nodes if node.op is FloatOp.REQUANTIZE)
    assert graph.node("blocks.0.attn.context").inputs[1] == narrow.name
    widths = tensor_widths(graph, recipe, limits)
    assert (widths["blocks.0.attn.qkv"], widths[narrow.name]) == (8, 4)
    assert with_narrow_readers(graph, recipe, limits) is graph  # nothing is left to be narrowed


def test_a_tensor_has_the_widest_of_its_readers_whether_or_not_others_are_narrowed() -> None:
    recipe, limits = asked(W4A4, SCORES_AT_8)
    assert tensor_widths(tiny_graph(), recipe, limits)["blocks.0.attn.qkv"] == 8


def test_the_float_network_is_brought_into_the_same_form() -> None:
    model = made("base_ptq", "edge_npu_w4a4", *SCORES_AT_8.items())
    found = in_form_of(model, tiny_graph(), None)
    assert [node.name for node in found.nodes] == [node.name for node in model.graph.nodes]


@pytest.mark.parametrize("method", ["base_ptq", "aocq"])
def test_codes_of_a_reader_are_rescaled_and_costed(method: str) -> None:
    model = made(method, "edge_npu_w4a4", *SCORES_AT_8.items())
    graph = lower(model, W4A4)
    found = multiplied(graph)
    assert found["blocks.0.attn.scores"] == (8, 8)
    assert found["blocks.0.attn.context"][1] == 4
    (rescale,) = (op for op in graph.ops if isinstance(op, Rescale) and "requantize" in op.name)
    assert graph.result(rescale).type.bits == 4
    costs = {op.name: cost for op, cost in zip(graph.ops, estimate(graph, W4A4).ops, strict=True)}
    assert costs[rescale.name].vector > 0
    assert same_integers(graph)


# --- 16 bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["base_ptq", "aocq"])
def test_a_classifier_reads_16_bits_in_two_passes(method: str) -> None:
    wide = lower(made(method, "edge_npu_int8_wide", ("head", LayerRule(w=8, a=16))), WIDE)
    plain = lower(made(method, "edge_npu_int8_wide", ("head", LayerRule(w=8))), WIDE)
    assert multiplied(wide)["head"] == (16, 8)
    assert multiplied(plain)["head"] == (8, 8)
    assert same_integers(wide)
    cycles = [
        next(
            cost.compute
            for op, cost in zip(g.ops, estimate(g, WIDE).ops, strict=True)
            if op.name == "head"
        )
        for g in (wide, plain)
    ]
    assert cycles[0] == 2 * cycles[1]


def test_sums_of_wide_operands_are_heeded_in_registers_that_hold_those_of_bytes() -> None:
    assert asked(WIDE, {"head": LayerRule(a=8)})[1].sum_bits is None
    assert asked(WIDE, {"head": LayerRule(a=16)})[1].sum_bits == 32


def test_a_bias_that_products_of_wide_operands_exceed_keeps_its_weights() -> None:
    """Of 8 bits they would be less than the bias, whose weights then had larger scales."""
    model = made("base_ptq", "edge_npu_w4a4", ("head", LayerRule(a=16)))
    head = model.graph.node("head")
    bias = torch.from_numpy(100_000 * model.bias_scale(head)).float()
    parameters = {**model.graph.parameters, head.attributes["bias"]: bias}
    graph = replace(model.graph, parameters=parameters)
    biased = replace(model, graph=graph, limits=replace(model.limits, bias_bits=16))
    known, found = biased.weights["head.weight"], with_room_for_biases(biased).weights
    assert np.array_equal(found["head.weight"].codes, known.codes)
    products = np.abs(known.codes.astype(np.int64)).sum(1)
    assert (products << 8 < 100_000).all()
    assert (products << 16 > 100_000).all()


def test_costs_without_weights_have_the_same_widths() -> None:
    rules = {**SCORES_AT_8, "head": LayerRule(w=8, a=8)}
    recipe, limits = asked(W4A4, rules)
    model = quantized(without_matrices(tiny_graph(), PIXELS), recipe, limits)
    known = made("base_ptq", "edge_npu_w4a4", *rules.items())
    assert multiplied(lower(model, W4A4)) == multiplied(lower(known, W4A4))


# --- all families, and what else is asked of a network --------------------------------------------


def one_after_the_other(graph: FloatGraph, widths: tuple[int, ...]) -> dict[str, LayerRule]:
    """Rules that give each product in turn another width: most tensors have readers that differ."""
    products = [node.name for node in graph.nodes if node.op in PRODUCTS]
    return {name: LayerRule(a=widths[n % len(widths)]) for n, name in enumerate(products)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_products_of_every_family_read_the_widths_of_their_rules(name: str) -> None:
    example = EXAMPLES[name]
    network = timm.create_model(example.model, pretrained=False, **example.arguments)
    graph = capture(with_random_parameters(network), name, example.input_size)
    chip = W4A4.model_copy(update={"softmax": load_profile("edge_npu_int8").softmax})
    rules = one_after_the_other(graph, (4, 8, 8))
    recipe, limits = asked(chip, rules)
    narrowed = with_narrow_readers(graph, recipe, limits)
    assert any(node.op is FloatOp.REQUANTIZE for node in narrowed.nodes)
    pixels = images(4, example.input_size)
    lowered = lower(calibrated("base_ptq", narrowed, pixels, recipe, limits), chip)
    ops = {op.name: op for op in lowered.ops}
    read = {}
    for layer in rules.keys() & ops.keys():
        side = int(graph.node(layer).op is FloatOp.MATMUL)  # the left one may be probabilities
        if arithmetic_source(graph, graph.node(layer).inputs[side]).op is not FloatOp.SOFTMAX:
            read[layer] = lowered.tensors[ops[layer].operands[side]].type.bits
    assert read == {layer: rules[layer].a for layer in read}
    assert len(read) > 4
    assert same_integers(lowered, pixels)


@pytest.mark.parametrize(
    "options",
    [
        {"row_steps": "all"},
        {"row_steps": "attention", "hadamard": "all", "rotate_heads": True},
        {"rounding": "reconstruct", "reconstruction_steps": 2},
    ],
    ids=str,
)
def test_rotated_and_dynamic_operands_have_the_widths_of_their_rules(
    options: dict[str, Any],
) -> None:
    chip = load_profile("edge_npu_w4a4_dynamic")
    rules = {**SCORES_AT_8, "blocks.0.mlp": LayerRule(w=8, a=8), "head": LayerRule(a=16)}
    chosen = AocqOptions(scale_passes=0, search_images=4, **options)
    recipe, limits = asked(chip, rules, aocq=chosen)
    graph = transformed(tiny_graph(), recipe.aocq, limits, PIXELS)
    graph = with_narrow_readers(graph, recipe, limits)
    model = calibrated("aocq", graph, PIXELS, recipe, limits)
    verify(model)
    lowered = lower(model, chip)
    found = multiplied(lowered)
    assert found["blocks.0.attn.scores"] == (8, 8)
    assert found["blocks.0.attn.context"][1] == 4
    assert found["blocks.0.mlp.fc1"] == found["blocks.0.mlp.fc2"] == (8, 8)
    assert found["head"] == (16, 4)
    assert same_integers(lowered)


# --- what a chip does not have, and what contradicts ----------------------------------------------


@pytest.mark.parametrize(
    ("profile", "rule", "wanted"),
    [
        (
            "edge_npu_int8",
            LayerRule(a=16),
            r'read operands of 8 bits .*layers\."head"\.a is 16 \(choose 8',
        ),
        (
            "edge_npu_int8_wide",
            LayerRule(a=4),
            r'read operands of 8 or 16 bits .*layers\."head"\.a is 4 \(choose 8 or 16',
        ),
        (
            "edge_npu_w4a4",
            LayerRule(w=3),
            r'weight\.bits = \[4, 8\], layers\."head"\.w is 3 \(choose 4 or 8',
        ),
    ],
)
def test_widths_that_a_chip_does_not_have_are_refused_without_a_network(
    profile: str, rule: LayerRule, wanted: str
) -> None:
    chip = load_profile(profile)
    with pytest.raises(InputError, match=wanted):
        check_recipe(*asked(chip, {"head": rule}), chip)


def test_two_operands_that_the_array_does_not_read_together_are_refused() -> None:
    recipe, limits = asked(WIDE, {"blocks.0": LayerRule(a=16)})
    check_recipe(recipe, limits, WIDE)
    with pytest.raises(InputError, match=r"attn\.scores: multiplies operands of 16 and 16 bits"):
        check_products(tiny_graph(), recipe, limits, WIDE)


def test_a_network_without_what_a_rule_names_is_refused() -> None:
    recipe, limits = asked(W4A4, {"blocks.7.mlp": LayerRule(a=8)})
    with pytest.raises(InputError, match=r'pattern "blocks\.7\.mlp" meets no operation'):
        check_products(tiny_graph(), recipe, limits, W4A4)


def test_a_model_is_stored_with_its_rules(tmp_path: Path) -> None:
    model = made("base_ptq", "edge_npu_w4a4", *SCORES_AT_8.items())
    model = replace(model, meta=meta_of(model.graph))
    storage.save(model, tmp_path)
    assert storage.load(tmp_path).recipe == model.recipe
    wrong = replace(model, recipe=replace(model.recipe, layers=LayerRules()))
    with pytest.raises(InputError, match=r"attn\.qkv: has 8 bits, the recipe 4 for it"):
        verify(wrong)
