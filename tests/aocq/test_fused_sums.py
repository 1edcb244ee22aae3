# SPDX-License-Identifier: Apache-2.0
"""Branches whose last layer adds to the residual stream itself, from method to integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from asked import for_chip
from fake_quantized import logits
from tiny_models import NANO, images, input_size, network

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.capture.residual_stream import fusable_layers
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.quantizers import ActivationQuantizer
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.graph.ops import Add, MatMul
from simulator.profile import load_profile

SIZE = input_size(NANO)
CHIP = load_profile("edge_npu_int8")
UNFUSED = CHIP.model_copy(
    update={"residual": CHIP.residual.model_copy(update={"fused_add": False})}
)


@pytest.fixture(scope="module")
def graph() -> FloatGraph:
    return capture(network("class_token", NANO), "nano", SIZE)


def quantized(graph: FloatGraph, *, fused: bool = True, method: str = "aocq") -> QuantizedModel:
    options = {"scale_passes": 1, "search_images": 8}
    recipe = for_chip(CHIP if fused else UNFUSED, weight_bits=4, aocq=options)
    return METHODS[method](graph, images(16, SIZE), *recipe)


def test_branches_end_in_layers_and_embeddings_do_not(graph: FloatGraph) -> None:
    ends = fusable_layers(graph)
    assert set(ends) == {"blocks.0.attn.proj", "blocks.0.mlp.fc2"}
    assert all(total.op is FloatOp.ADD and name in total.inputs for name, total in ends.items())


@pytest.mark.parametrize(
    ("variant", "first"),
    [
        ("pre_norm", "norm_pre"),  # the stream begins with a normalization
        ("registers", "concat"),
        ("distilled", "add"),
        ("mean_then_norm", "add"),
        ("layer_scale", "add"),
    ],
)
def test_every_block_of_every_variant_ends_twice_on_the_stream(variant: str, first: str) -> None:
    graph = capture(network(variant, NANO), "nano", SIZE)
    ends = fusable_layers(graph)
    assert set(ends) == {"blocks.0.attn.proj", "blocks.0.mlp.fc2"}
    assert first in ends["blocks.0.attn.proj"].inputs


def test_their_layers_have_no_codes_and_no_add_of_their_own(graph: FloatGraph) -> None:
    model = quantized(graph)
    assert set(model.fused_layers) == set(fusable_layers(graph))
    assert not model.leaves_floats
    lowered = lower(model, CHIP)
    assert lowered.float_ops == 0
    ops = {op.name: op for op in lowered.ops}
    for name, total in fusable_layers(graph).items():
        assert name not in lowered.tensors
        op = ops[total.name]
        assert isinstance(op, MatMul)
        assert op.residual == next(other for other in total.inputs if other != name)
    # The position embedding is a constant, and stays an Add.
    assert [type(op) for op in lowered.ops].count(Add) == 1


@pytest.mark.parametrize("residual_bits", [8, 16])
def test_the_chip_computes_fake_quantization(graph: FloatGraph, residual_bits: int) -> None:
    chip = CHIP.model_copy(
        update={"activation": CHIP.activation.model_copy(update={"residual_bits": residual_bits})}
    )
    options: dict[str, Any] = {"scale_passes": 0, "search_images": 8}
    if residual_bits == 16:
        options["alpha"] = "none"
    recipe = for_chip(chip, weight_bits=4, aocq=options)
    model = METHODS["aocq"](graph, images(16, SIZE), *recipe)
    lowered = lower(model, chip)
    inputs = images(32, SIZE, seed=5)
    codes = quantize(inputs.numpy(), lowered.tensors["image"])
    taps = [total.name for total in fusable_layers(graph).values()]
    output = Executor(lowered, threads=1).run(codes, taps=taps)
    reference = run_reference(lowered, codes[0])
    for name in taps:
        np.testing.assert_array_equal(output.taps[name][0], reference[name])
    head = lowered.tensors["head"]
    assert head.scale
    integer = (output.outputs["head"].astype(float) - head.zero_point) * head.scale[0]
    differing = np.abs(integer - logits(model, inputs).numpy()) > 1e-6
    assert differing.mean() < 0.02


def test_a_sum_equals_an_add_of_its_exact_sums(graph: FloatGraph) -> None:
    """In real numbers: what the fused op rounds is the stream plus the layer's product."""
    model = quantized(graph)
    lowered = lower(model, CHIP)
    ops = {op.name: op for op in lowered.ops}
    inputs = quantize(images(4, SIZE, seed=2).numpy(), lowered.tensors["image"])
    for name, total in fusable_layers(graph).items():
        op = ops[total.name]
        assert isinstance(op, MatMul)
        assert op.residual is not None
        taps = Executor(lowered, threads=1).run(inputs, taps=[op.a, op.residual, op.name]).taps
        weight = lowered.constants[op.b].astype(np.int64)
        assert op.bias is not None
        sums = taps[op.a].astype(np.int64) @ weight.T + lowered.constants[op.bias]
        real = sums * model.bias_scale(graph.node(name))
        stream = model.activations[op.residual]
        assert isinstance(stream, ActivationQuantizer)
        total_quantizer = model.activations[op.name]
        assert isinstance(total_quantizer, ActivationQuantizer)
        scales = [quantizer.scales().numpy() for quantizer in (stream, total_quantizer)]
        wanted = np.floor((real + taps[op.residual] * scales[0]) / scales[1] + 0.5)
        assert (np.clip(wanted, -128, 127) == taps[op.name]).mean() > 0.9999


def test_a_chip_without_fused_sums_gets_codes_of_branches(graph: FloatGraph) -> None:
    model = quantized(graph, fused=False)
    assert not model.fused_layers
    assert [type(op) for op in lower(model, UNFUSED).ops].count(Add) == 3
    # They are fine on a chip that could do without, too.
    assert [type(op) for op in lower(model, CHIP).ops].count(Add) == 3


def test_a_chip_without_fused_sums_refuses_a_model_that_needs_them(graph: FloatGraph) -> None:
    with pytest.raises(InputError, match=r"residual\.fused_add = false"):
        lower(quantized(graph), UNFUSED)


def test_methods_that_give_branches_codes_ignore_the_chips_ability(graph: FloatGraph) -> None:
    model = quantized(graph, method="base_ptq")
    assert not model.fused_layers
    lower(model, UNFUSED)


def test_tiny_factors_leave_room_for_the_stream(graph: FloatGraph) -> None:
    """A row of almost no weight wants a shift so large that the stream's term would not fit."""
    model = quantized(graph)
    layer = graph.node("blocks.0.mlp.fc2").attributes
    weight = model.weights[layer["weight"]]
    scale, bias = weight.scale.copy(), model.graph.parameters[layer["bias"]].clone()
    scale[3], bias[3] = 1e-12, 0
    weights = {**model.weights, layer["weight"]: replace(weight, scale=scale)}
    parameters = {**model.graph.parameters, layer["bias"]: bias}
    changed = replace(model, weights=weights, graph=replace(model.graph, parameters=parameters))
    lowered = lower(changed, CHIP)
    codes = quantize(images(2, SIZE).numpy(), lowered.tensors["image"])
    taps = [total.name for total in fusable_layers(graph).values()]
    output = Executor(lowered, threads=1).run(codes, taps=taps)
    for tap in taps:
        np.testing.assert_array_equal(output.taps[tap][0], run_reference(lowered, codes[0])[tap])
