# SPDX-License-Identifier: Apache-2.0
"""Swin v2: cosine attention, norms at the ends of branches, and what methods make of them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from asked import asked
from families.swin_v2 import STATED
from tiny_models import images, with_random_parameters
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, capture, run
from aocq.capture.residual_stream import fusable_layers, residual_stream
from aocq.capture.verify import verify
from aocq.jobs.inputs import check_operations
from aocq.jobs.request import CalibrationRequest
from aocq.lowering import lower
from aocq.lowering.float_rules import FLOAT_RULES
from aocq.lowering.rules import RULES
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.operands import row_blocks, trace_operand
from aocq.methods.quantizers import ActivationQuantizer
from aocq.methods.storage import load, save
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import timm
from simulator.errors import InputError
from simulator.graph.ops import FloatFunction, Function
from simulator.profile import load_profile

EXAMPLE = STATED.examples[0]
BLOCKS = [f"layers.{stage}.blocks.{block}" for stage in (0, 1) for block in (0, 1)]

STREAM = {f"{block}.{name}" for block in BLOCKS for name in ("add", "add_1")}
STREAM |= {"patch_embed.norm", "layers.1.downsample.norm"}


@cache
def swin_v2() -> FloatGraph:
    return captured(EXAMPLE.input_size)[1]


def captured(size: tuple[int, int, int], **options: Any) -> tuple[nn.Module, FloatGraph]:
    arguments = {**EXAMPLE.arguments, "img_size": size[1:], **options}
    built = with_random_parameters(timm.create_model(EXAMPLE.model, pretrained=False, **arguments))
    return built, capture(built, "swin_v2", size)


@pytest.mark.parametrize(
    ("sides", "options"),
    [
        ((16, 24), {"window_size": (2, 3)}),
        ((10, 18), {}),  # odd: merging pads
        ((8, 8), {"num_heads": (1, 2)}),  # one window, one head
        ((16, 16), {"qkv_bias": False}),
        ((16, 16), {"pretrained_window_sizes": (3, 2)}),
    ],
    ids=["oblong_windows", "padded", "one_window", "without_biases", "positions_of_others"],
)
def test_any_image_and_any_window_are_captured(
    sides: tuple[int, int], options: dict[str, Any]
) -> None:
    size = (3, *sides)
    network, graph = captured(size, **options)
    verify(graph)
    for batch in (1, 3):
        inputs = images(batch, size)
        found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
        expected = network(inputs)
        largest = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6 * largest)
    gains = [node.attributes["gain"] for node in normalizations(graph)]
    assert sum(name is not None for name in gains) == len(gains) / 2 == 4
    assert residual_stream(graph) == STREAM


def normalizations(graph: FloatGraph) -> list[FloatNode]:
    return [node for node in graph.nodes if node.op is FloatOp.L2NORM]


def test_every_attention_of_swin_v2_has_two_normalizations_and_one_gain() -> None:
    graph = swin_v2()
    for block in BLOCKS:
        product = graph.node(f"{block}.attn.scores")
        queries, keys = (graph.node(name) for name in product.inputs)
        assert queries.op is keys.op is FloatOp.L2NORM
        assert queries.attributes["gain"] == f"{block}.attn.logit_scale.clamp"
        assert keys.attributes["gain"] is None
    assert not any(node.op is FloatOp.SCALE for node in graph.nodes)


def test_the_stream_of_branches_with_norms_at_their_ends_is_their_sums() -> None:
    assert residual_stream(swin_v2()) == STREAM
    assert fusable_layers(swin_v2()) == {}


def test_the_stream_of_a_vit_with_norms_at_its_branches_ends_starts_at_its_patches() -> None:
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    built = timm.create_model("vit_relpos_medium_patch16_rpn_224", pretrained=False, **small)
    graph = capture(with_random_parameters(built), "rpn", (3, 16, 16))
    sums = {f"blocks.{block}.{name}" for block in (0, 1) for name in ("add", "add_1")}
    assert residual_stream(graph) == sums | {"patch_embed.proj"}


class OtherShapes(nn.Module):
    """x + norm(branch(x)), the branch of another view of x than the sum's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.fc = nn.Conv2d(3, 24, 8, 8), nn.Linear(24, 24)
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2).reshape(-1, 2, 2, 24)
        x = x + self.norm(self.fc(x.reshape(-1, 1, 4, 24))).reshape(-1, 2, 2, 24)
        return self.head(x.reshape(-1, 4, 24).mean(1))


def test_the_stream_and_its_branch_may_read_views_of_one_tensor() -> None:
    graph = capture(with_random_parameters(OtherShapes()), "views", (3, 16, 16))
    assert residual_stream(graph) == {"stem", "add"}


def test_heads_of_normalized_queries_are_their_own_dimension() -> None:
    """And the rows of the joint layer are still shared out among queries, keys and values."""
    graph = swin_v2()
    product = graph.node("layers.0.blocks.0.attn.scores")
    for side in (0, 1):
        found = trace_operand(graph, product, side)
        assert (found.source, found.axis, found.factor) == (product.inputs[side], -3, 1.0)
        assert found.heads == ((0,), (1,), (2,))
    blocks = row_blocks(graph, graph.node("layers.0.blocks.0.attn.linear"))
    assert blocks == (tuple(range(12)), tuple(range(12, 24)), tuple(range(24, 36)))


@cache
def quantized(method: str, **changed: str) -> QuantizedModel:
    options = AocqOptions(scale_passes=1, search_images=2, rounding="nearest")
    recipe = asked(weight_bits=4, aocq=options, **changed)
    return METHODS[method](swin_v2(), images(4, EXAMPLE.input_size), *recipe)


@pytest.mark.parametrize("method", ["base_ptq", "fq_vit", "aocq", "ptq4vit_paper"])
def test_every_method_quantizes_normalized_rows_without_a_zero_point(method: str) -> None:
    model = quantized(method, float_ops="integer")
    assert not model.leaves_floats
    for node in normalizations(model.graph):
        quantizer = model.activations[node.name]
        assert isinstance(quantizer, ActivationQuantizer)
        assert (quantizer.zero_point, quantizer.alpha) == (0, ()), node.name
        # A row has one scale, or its length would be that of something else.
        assert model.scales(node.inputs[0]).shape[-1] == 1, node.name
    for node in model.graph.nodes:
        if node.op is FloatOp.LINEAR:
            assert (model.bias_scale(node) > 0).all(), node.name
    gained = model.graph.node("layers.0.blocks.0.attn.l2norm")
    largest = float(model.graph.parameters[gained.attributes["gain"]].max())
    assert model.activations[gained.name].scale * 127 <= largest * 1.2


def test_merged_patches_hand_the_factors_of_the_stream_to_the_reduction() -> None:
    """The stream's factors, four times in a row: in one merged patch are four patches."""
    model = quantized("aocq", float_ops="integer")
    stream = model.activations["layers.0.blocks.1.add_1"]
    reduction = model.graph.node("layers.1.downsample.reduction")
    assert isinstance(stream, ActivationQuantizer)
    assert len(set(stream.alpha)) > 1
    assert model.weights[reduction.attributes["weight"]].alpha == stream.alpha * 4


@pytest.mark.parametrize("method", ["ptq4vit_paper", "base_ptq_paper"])
def test_methods_that_leave_floats_search_a_scale_for_each_head(method: str) -> None:
    model = quantized(method)
    found = model.activations["layers.0.blocks.0.attn.l2norm"]
    assert isinstance(found, ActivationQuantizer)
    assert (len(found.alpha), found.axis, found.zero_point) == (3, -3, 0)


def test_a_method_that_leaves_the_normalization_in_float_is_lowered_with_a_float_operator() -> None:
    graph = lower(quantized("ptq4vit_paper"), load_profile("edge_npu_int8"))
    functions = [op.function for op in graph.ops if isinstance(op, FloatFunction)]
    assert functions.count(Function.L2NORM) == 2 * len(BLOCKS)


def test_every_operation_has_a_lowering_in_integers_and_in_float() -> None:
    assert set(RULES) == set(FLOAT_RULES) == set(FloatOp)


def test_a_profile_without_an_exact_root_is_refused_before_calibration() -> None:
    graph, profile = quantized("base_ptq").graph, load_profile("litert_ref")
    asked = CalibrationRequest(method="aocq", recipe=Recipe(), folder=Path(), images=1)
    with pytest.raises(InputError, match=r'attn.l2norm: .* layernorm.algorithm = "graph"'):
        check_operations(asked, graph, profile)
    check_operations(replace(asked, method="ptq4vit_paper"), graph, profile)
    check_operations(asked, graph, load_profile("edge_npu_int8"))


def test_a_quantized_model_keeps_the_gain(tmp_path: Path) -> None:
    model = quantized("base_ptq")
    save(model, tmp_path)
    again = load(tmp_path)
    gained = normalizations(model.graph)[0].attributes["gain"]
    assert torch.equal(again.graph.parameters[gained], model.graph.parameters[gained])
    assert [dict(node.attributes) for node in normalizations(again.graph)] == [
        dict(node.attributes) for node in normalizations(model.graph)
    ]
