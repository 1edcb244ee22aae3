# SPDX-License-Identifier: Apache-2.0
"""Networks without their matrices have the graphs, but for values, of those with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from families import EXAMPLES

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.jobs.cost_record import cost_records, plain_costs
from aocq.jobs.coverage import with_random_weights
from aocq.lowering import check_recipe, lower
from aocq.methods import base_ptq
from aocq.methods.masks import scores_of
from aocq.methods.weightless import WeightlessNetwork, quantized, without_matrices
from aocq.recipes.limits import ANY_CHIP, limits_of
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import LoadedModel, random_model
from simulator.errors import InputError
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.profile import NpuProfile, load_profile, profile_paths

# One of plain integer ops, one of LayerNorms as graphs with ranges of their own, one of scales
# that are powers of two.
CHIPS = ("edge_npu_int8", "litert_ref", "esp32_p4")
EVERY_CHIP = "vit_tiny_patch16_224"


class Network(NamedTuple):
    model: LoadedModel
    graph: FloatGraph
    weightless: WeightlessNetwork


@cache
def network(name: str) -> Network:
    example = EXAMPLES[name]
    arguments = dict(example.arguments)
    model = random_model(name, arguments.pop("num_classes", None), arguments=arguments)
    # The images of an example are smaller than its name says.
    model = replace(
        model, preprocessing={**model.preprocessing, "input_size": list(example.input_size)}
    )
    graph = capture(model.network, name, model.input_size)
    images = torch.randn(2, *model.input_size, generator=torch.Generator().manual_seed(0))
    return Network(model, graph, without_matrices(graph, images))


def structure(graph: IntGraph) -> tuple[list[type[Op]], Mapping[str, Any]]:
    tensors = {name: (t.shape, t.type, t.role) for name, t in graph.tensors.items()}
    return [type(op) for op in graph.ops], tensors


def lowered(name: str, recipe: Recipe, chip: NpuProfile) -> IntGraph:
    limits = limits_of(chip, recipe)
    check_recipe(recipe, limits, chip)
    return lower(quantized(network(name).weightless, recipe, limits), chip)


def costs(graph: IntGraph, chip: NpuProfile) -> Mapping[str, Any]:
    """Everything that is printed of a graph's costs."""
    return plain_costs(cost_records(graph, chip, 8, allow_unplaced=True))


def outcome(lowering: Callable[[], IntGraph]) -> IntGraph | str:
    """The graph, or why there is none."""
    try:
        return lowering()
    except InputError as error:
        return str(error)


def assert_same_costs(name: str, chip: NpuProfile, weight_bits: int) -> None:
    recipe = Recipe(weight_bits=weight_bits, activation_bits=chip.activation.operand_width)
    model, graph, _ = network(name)
    expected = outcome(lambda: with_random_weights(model, graph, recipe, chip))
    found = outcome(lambda: lowered(name, recipe, chip))
    if isinstance(expected, str) or isinstance(found, str):
        assert found == expected
        return
    assert structure(found) == structure(expected)
    assert costs(found, chip) == costs(expected, chip)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_costs_are_those_of_random_weights(name: str, chip: str) -> None:
    assert_same_costs(name, load_profile(chip), 8)


@pytest.mark.parametrize("chip", sorted(profile_paths()))
def test_costs_on_every_chip_at_every_width(chip: str) -> None:
    profile = load_profile(chip)
    for bits in profile.weight.bits:
        assert_same_costs(EVERY_CHIP, profile, bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_quantizers_are_those_of_base_ptq(bits: int) -> None:
    """Masked scores too, whose lowest code has to be low enough for the probabilities."""
    recipe = Recipe(activation_bits=bits, weight_range="minmax")
    limits = replace(ANY_CHIP, layernorm_part_bits=8)
    model, graph, weightless = network("swin_tiny_patch4_window7_224")
    images = torch.randn(2, *model.input_size, generator=torch.Generator().manual_seed(0))
    expected = base_ptq.quantize(graph, images, recipe, limits).activations
    found = quantized(weightless, recipe, limits).activations
    masked = {scores_of(graph, graph.node(name))[0] for name in weightless.masked}
    assert masked
    assert found.keys() == expected.keys()
    for name, quantizer in found.items():
        if name in masked:  # float32 in one, float64 in the other
            assert quantizer.scale == pytest.approx(expected[name].scale, rel=1e-6)
            assert quantizer.type == expected[name].type
        else:
            assert quantizer == expected[name]


def test_matrices_are_gone_and_vectors_stay() -> None:
    _, graph, weightless = network("swin_tiny_patch4_window7_224")
    kept = weightless.graph.parameters
    for node in graph.nodes:
        if node.op is FloatOp.LINEAR:
            assert node.attributes["weight"] not in kept
            largest = float(graph.parameters[node.attributes["weight"]].abs().max())
            assert weightless.largest[node.attributes["weight"]] == largest
        if node.op is FloatOp.LAYERNORM:
            for key in ("weight", "bias"):
                name = node.attributes[key]
                assert np.array_equal(kept[name], graph.parameters[name].numpy())
        if node.op in {FloatOp.CONSTANT, FloatOp.MASK}:
            name = node.attributes["parameter"]
            assert kept[name].shape == tuple(graph.parameters[name].shape)
            assert not kept[name].any()
    assert any(node.op is FloatOp.MASK for node in graph.nodes)
    assert weightless.masked


def test_weights_share_memory() -> None:
    recipe, chip = Recipe(), load_profile("edge_npu_int8")
    model = quantized(network(EVERY_CHIP).weightless, recipe, limits_of(chip, recipe))
    first, *others = (weight.codes for weight in model.weights.values())
    assert all(np.shares_memory(first, other) for other in others)


def test_values_that_are_not_finite_are_refused() -> None:
    model, graph, _ = network(EVERY_CHIP)
    images = torch.full((1, *model.input_size), float("inf"))
    with pytest.raises(InputError, match="values that are not finite"):
        without_matrices(graph, images)
