# SPDX-License-Identifier: Apache-2.0
"""The plain method: what it observes, and which tensor gets which quantizer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from asked import asked
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import residual_stream
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.ranges import activation_quantizer
from simulator.errors import InputError

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)


def quantized(graph: FloatGraph, count: int = 20, **recipe: object) -> QuantizedModel:
    return METHODS["base_ptq"](graph, images(count, SIZE), *asked(**recipe))


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "registers", "distilled"])
def test_every_arithmetic_node_has_a_quantizer_and_every_layer_weights(
    variant: str, nano: Captured
) -> None:
    _, graph = nano(variant)
    model = quantized(graph, weight_bits=4)
    assert set(model.activations) == {node.name for node in graph.nodes if node.op in ARITHMETIC}
    layers = [node for node in graph.nodes if node.op is FloatOp.LINEAR]
    assert set(model.weights) == {node.attributes["weight"] for node in layers}
    assert {weight.bits for weight in model.weights.values()} == {4}
    assert (model.method, model.calibration_images) == ("base_ptq", 20)


def test_scales_come_from_the_least_and_greatest_value_over_all_images(nano: Captured) -> None:
    _, graph = nano("class_token")
    names = ["image", "blocks.0.mlp.fc1", "blocks.0.add", "head"]
    values = run(graph, {"image": images(20, SIZE)}, names)
    model = quantized(graph)
    log = {entry["tensor"]: (entry["low"], entry["high"]) for entry in model.log}
    for name in names:
        low, high = log[name]
        assert low == pytest.approx(float(values[name].min()), rel=1e-5)
        assert high == pytest.approx(float(values[name].max()), rel=1e-5)
        assert model.activations[name] == activation_quantizer(low, high, 8, "asymmetric")


def test_both_searches_can_be_chosen(nano: Captured) -> None:
    _, graph = nano("class_token")
    plain = quantized(graph)
    clipped = quantized(graph, activation_range="mse")
    assert clipped.activations["head"].scale <= plain.activations["head"].scale
    narrower = [
        name
        for name, quantizer in clipped.activations.items()
        if quantizer.scale < plain.activations[name].scale * 0.99
    ]
    assert narrower, "somewhere among all tensors clipping pays"
    whole = quantized(graph, weight_bits=4, weight_range="minmax")
    found = quantized(graph, weight_bits=4, weight_range="mse")
    assert (whole.weights["head.weight"].scale >= found.weights["head.weight"].scale).all()
    assert (whole.weights["head.weight"].scale > found.weights["head.weight"].scale).any()


@pytest.mark.parametrize(
    ("variant", "operands"),
    [
        ("class_token", {"blocks.0.attn.qkv", "blocks.0.attn.probabilities"}),
        (
            "qk_norm",
            {
                "blocks.0.attn.q_norm",
                "blocks.0.attn.k_norm",
                "blocks.0.attn.qkv",
                "blocks.0.attn.probabilities",
            },
        ),
    ],
)
def test_operands_of_products_of_activations_have_zero_point_zero(
    variant: str, operands: set[str], nano: Captured
) -> None:
    _, graph = nano(variant)
    model = quantized(graph, zero_point="asymmetric")
    assert {model.activations[name].zero_point for name in operands} == {0}
    others = {
        quantizer.zero_point
        for name, quantizer in model.activations.items()
        if name not in operands
    }
    assert others - {0}, "the other tensors may have one"


def test_symmetric_means_no_zero_point_anywhere(nano: Captured) -> None:
    _, graph = nano("registers")
    model = quantized(graph, zero_point="symmetric")
    assert {quantizer.zero_point for quantizer in model.activations.values()} == {0}


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "registers"])
def test_residual_bits_widen_the_stream_and_nothing_else(variant: str, nano: Captured) -> None:
    _, graph = nano(variant)
    model = quantized(graph, residual_bits=16)
    wide = {name for name, q in model.activations.items() if q.type.bits == 16}
    stream = residual_stream(graph)
    assert stream <= wide
    # What is only concatenated into the stream takes its form: tokens, the embedded patches.
    parts = {n for node in graph.nodes if node.op is FloatOp.CONCAT for n in node.inputs}
    assert wide <= stream | parts
    assert not any(".attn" in name or ".mlp" in name or "norm" in name for name in wide)


def test_the_parts_of_a_concatenation_share_its_scale(nano: Captured) -> None:
    _, graph = nano("registers")
    model = quantized(graph)
    concat = graph.node("concat")
    assert len(concat.inputs) == 3
    for name in concat.inputs:
        assert model.activations[name] == model.activations["concat"]


def test_progress_reaches_the_end_in_equal_steps(nano: Captured) -> None:
    _, graph = nano("class_token")
    for search, total in (("minmax", 3), ("mse", 6)):
        steps: list[tuple[int, int]] = []
        METHODS["base_ptq"](
            graph,
            images(20, SIZE),
            *asked(activation_range=search),
            lambda done, of, steps=steps: steps.append((done, of)),
        )
        assert steps == [(done, total) for done in range(1, total + 1)]


def test_fake_quantization_is_close_and_closer_with_more_bits(nano: Captured) -> None:
    _, graph = nano("class_token")
    inputs = images(40, SIZE, seed=2)
    real = run(graph, {"image": inputs}, ["head"])["head"].double()
    ratios = []
    for bits in (3, 4, 8):
        model = quantized(graph, weight_bits=bits)
        result = run(
            graph,
            {"image": model.fake_quantized_image(inputs)},
            ["head"],
            transform=model.fake_quantize,
            parameters=model.fake_quantized_parameters(),
        )["head"]
        ratios.append(float(10 * torch.log10((real**2).sum() / ((real - result) ** 2).sum())))
    assert ratios == sorted(ratios)
    assert ratios[-1] > 20


def test_a_recipe_refuses_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight_bit'"):
        asked(weight_bit=4)
    with pytest.raises(ValueError, match="per_row"):
        asked(weight_granularity="per_row")


def test_a_network_that_is_not_finite_on_the_images_is_refused_where_it_begins(
    nano: Captured,
) -> None:
    _, graph = nano("class_token")
    parameters = {**graph.parameters, "blocks.0.mlp.fc1.bias": torch.full((96,), torch.inf)}
    broken = FloatGraph(name="broken", nodes=graph.nodes, parameters=parameters)
    with pytest.raises(InputError, match=r"^blocks\.0\.mlp\.fc1: .* not finite"):
        quantized(broken)
