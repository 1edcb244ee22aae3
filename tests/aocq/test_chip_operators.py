# SPDX-License-Identifier: Apache-2.0
"""A chip's own operators in calibration: those of its graphs, code by code."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny, tiny_graph

from aocq.capture import FloatNode, FloatOp, run
from aocq.capture.interpreter import apply
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.lowering.operators import approximate, operators_of
from aocq.methods.aocq.block_state import BlockState, Candidate
from aocq.methods.aocq.blocks import blocks
from aocq.methods.aocq.rounding import FakeQuantizedNetwork
from aocq.methods.chip_operators import exact_operators, with_those_before
from aocq.recipes.aocq_options import AocqOptions
from simulator.boundary import dequantize, quantize
from simulator.executor import Executor
from simulator.profile import load_profile

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from networks import DEMO, captured, images_of

NORMS, ATTENTION, FUNCTIONS = FloatOp.LAYERNORM, FloatOp.SOFTMAX, FloatOp.UNARY
CHIPS: Mapping[str, set[FloatOp]] = MappingProxyType(
    {
        "deeploy_pulp": {ATTENTION, FUNCTIONS, NORMS},
        "ita_26b": {ATTENTION, FUNCTIONS},
        "ivit_tvm": {ATTENTION, FUNCTIONS},
        "gemmini_20b": {FUNCTIONS},
        "edge_npu_int8": set(),
        "ethos_u85_256": set(),
    }
)


def approximated(profile: str) -> list[FloatNode]:
    return [node for node in tiny_graph().nodes if node.op in CHIPS[profile]]


def emulated(profile: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """A quantized model, and the real values of its integer graph's tensors, by name."""
    model = tiny(profile=profile)
    graph = lower(model, load_profile(profile))
    codes = quantize(images(8, input_size(TINY)).numpy(), graph.tensors[graph.inputs[0]])
    names = [op.name for op in graph.ops]
    taps = Executor(graph, threads=1).run(codes, taps=names).taps
    found = {
        name: torch.from_numpy(dequantize(taps[name], graph.tensors[name]))
        for name in names
        if graph.tensors[name].scale
    }
    return model, found


@pytest.mark.parametrize("profile", CHIPS)
def test_a_profile_tells_which_operators_it_approximates(profile: str) -> None:
    chip = load_profile(profile)
    assert approximate(chip) == CHIPS[profile]
    assert (operators_of(chip, for_chip(chip)[0]) is exact_operators) == (not CHIPS[profile])


@pytest.mark.parametrize("profile", [name for name, ops in CHIPS.items() if len(ops) > 1])
def test_an_operator_yields_what_the_graph_computes(profile: str) -> None:
    model, found = emulated(profile)
    operators = operators_of(load_profile(profile), model.recipe)
    exact = set()
    for node in approximated(profile):
        operator = operators(model.graph, node, model.activations)
        assert operator is not None
        source = node.inputs[0]
        factor = 1.0
        while source not in found:  # a factor has no op
            factor *= float(model.graph.node(source).attributes["factor"])
            (source,) = model.graph.node(source).inputs
        result = operator([found[source] * factor])
        assert torch.equal(result, found[node.name]), node.name
        quantizer = model.activations[node.name]
        plain = model.fake_quantize(node, run_exactly(model, node, found[source] * factor))
        if not torch.equal(plain, result):
            exact.add(node.op)
        assert operators(model.graph, node, model.activations) is operator
        assert operators(model.graph, node, {}) is None
        assert quantizer in model.activations.values()
    assert exact == CHIPS[profile]  # otherwise there would be nothing to know


def run_exactly(model: Any, node: FloatNode, x: torch.Tensor) -> torch.Tensor:
    return apply(node, [x], model.fake_quantized_parameters(), len(x))


@pytest.mark.parametrize("profile", ["deeploy_pulp", "ita_26b"])
def test_blocks_and_layers_see_the_operators(profile: str) -> None:
    model = tiny(profile=profile)
    graph, quantizers = model.graph, dict(model.activations)
    operators = operators_of(load_profile(profile), model.recipe)
    network = FakeQuantizedNetwork(graph, quantizers, model.recipe, model.limits, operators)
    exact = FakeQuantizedNetwork(graph, quantizers, model.recipe, model.limits)
    feeds = {graph.input.name: model.fake_quantized_image(images(2, input_size(TINY))).float()}
    block = blocks(graph)[1]
    values = network(feeds, [block.source, block.result])
    assert not torch.equal(
        values[block.result],
        exact({block.source: values[block.source]}, [block.result])[block.result],
    )
    own = {name: quantizers[name] for name in block.nodes if name in quantizers}
    before = with_those_before(operators, graph, quantizers)
    state = BlockState.of(graph, block, values[block.source], own, before)
    assert torch.equal(state.value(block.result), values[block.result])
    node = next(node for node in approximated(profile) if node.name in block.nodes)
    for name in (graph.node(node.inputs[0]).name, node.name):
        if name not in own or graph.node(name).op is FloatOp.SOFTMAX:  # chosen by the chip
            continue
        candidate = replace(own[name], scale=own[name].scale * 0.8)
        state.prepare(name)
        tried = state.result_with(name, Candidate(candidate), state.parts[0])
        changed = {**quantizers, name: candidate}
        wanted = FakeQuantizedNetwork(graph, changed, model.recipe, model.limits, operators)
        again = wanted({block.source: values[block.source]}, [block.result])
        assert torch.equal(tried, again[block.result][: len(tried)])


def test_a_calibration_that_knows_its_chip_is_closer_to_the_float_network() -> None:
    chip = load_profile("deeploy_pulp")
    recipe, limits = for_chip(chip, aocq=AocqOptions(scale_passes=1, search_images=8))
    graph, pixels = captured(DEMO), images_of(DEMO, 48).float()
    (target,) = run(graph, {graph.input.name: pixels}, [graph.output.name]).values()

    def error(operators: Any) -> float:
        model = calibrated("aocq", graph, pixels[:16], recipe, limits, operators=operators)
        lowered = lower(model, chip)
        codes = quantize(pixels.numpy(), lowered.tensors[lowered.inputs[0]])
        output = Executor(lowered, threads=1).run(codes).outputs[lowered.outputs[0]]
        real = dequantize(output, lowered.tensors[lowered.outputs[0]])
        return float(np.square(real - target.numpy()).sum())

    assert 1.3 * error(operators_of(chip, recipe)) < error(exact_operators)
