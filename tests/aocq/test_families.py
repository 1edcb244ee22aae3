# SPDX-License-Identifier: Apache-2.0
"""Every known family: captured as it computes, with the roles that are stated, exact in integers.

A new family is a row in ``aocq/zoo/families.py``, a file in ``families`` beside this and a row in
its table; these tests take it up.
"""

from __future__ import annotations

from fnmatch import fnmatch
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from asked import for_chip
from families import EXAMPLES, STATED
from tiny_models import images, with_random_parameters
from torch import nn

from aocq.capture import FloatGraph, FloatOp, capture, run
from aocq.capture.residual_stream import fusable_layers, residual_stream
from aocq.capture.verify import verify
from aocq.jobs.coverage import with_random_weights
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.recipe import Recipe
from aocq.zoo.families import FAMILIES, Family, known_networks
from aocq.zoo.models import random_model, timm
from simulator.boundary import quantize
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import Concat, Transpose
from simulator.ops import BEHAVIOURS
from simulator.profile import load_profile

CHIP = load_profile("edge_npu_int8")
WITHOUT = [(family, pattern) for family in FAMILIES.values() for pattern in family.without]
every_family = pytest.mark.parametrize("name", FAMILIES)
every_example = pytest.mark.parametrize("name", EXAMPLES)


class Captured(NamedTuple):
    network: nn.Module
    graph: FloatGraph


@cache
def captured(name: str) -> Captured:
    example = EXAMPLES[name]
    built = timm.create_model(example.model, pretrained=False, **example.arguments)
    network = with_random_parameters(built)
    return Captured(network, capture(network, name, example.input_size))


@cache
def lowered(name: str, method: str) -> IntGraph:
    plain = AocqOptions(scale_passes=0, search_images=4, rounding="nearest")
    recipe = for_chip(CHIP, weight_bits=4, aocq=plain)
    graph = captured(name).graph
    calibration = images(8, EXAMPLES[name].input_size)
    return lower(METHODS[method](graph, calibration, *recipe), CHIP)


@every_family
def test_timm_has_networks_of_the_family(name: str) -> None:
    for module in FAMILIES[name].timm_modules:
        assert timm.list_models(module=module)


def test_every_family_has_its_statement() -> None:
    assert [stated.family for stated in STATED] == [*FAMILIES]


@every_example
def test_the_graph_is_sound(name: str) -> None:
    verify(captured(name).graph)


@every_example
@pytest.mark.parametrize("batch", [1, 3])
def test_the_graph_computes_what_the_network_does(name: str, batch: int) -> None:
    network, graph = captured(name)
    inputs = images(batch, EXAMPLES[name].input_size)
    found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    expected = network(inputs)
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6 * largest)


@every_example
def test_the_roles_that_are_stated_are_those_that_are_found(name: str) -> None:
    """Every tensor of the stream has its pattern, and every pattern its tensor."""
    graph = captured(name).graph
    (stated,) = (stated for stated in STATED if EXAMPLES[name] in stated.examples)
    for found, patterns in (
        (set(residual_stream(graph)), stated.stream),
        (set(fusable_layers(graph)), stated.fusable_layers),
    ):
        matched = {
            pattern: {node.name for node in graph.nodes if _matches(node.name, pattern)}
            for pattern in patterns
        }
        assert all(matched.values()), matched
        assert found == set().union(*matched.values())


def _matches(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatch, parts, wanted))


@every_example
def test_fusable_layers_are_added_to_the_stream_without_anything_between(name: str) -> None:
    graph = captured(name).graph
    for end, total in fusable_layers(graph).items():
        assert end in total.inputs
        assert total.op is FloatOp.ADD


@every_example
def test_every_op_gives_the_integers_of_its_reference(name: str) -> None:
    """In the graph that comes of the network, op by op, on what the chip really holds."""
    graph = lowered(name, "aocq")
    source = graph.inputs[0]
    codes = quantize(images(2, EXAMPLES[name].input_size, seed=5).numpy(), graph.tensors[source])
    taps = (
        Executor(graph, gemm="numba", threads=1).run(codes, taps=[op.name for op in graph.ops]).taps
    )
    held = {source: codes, **taps}
    for op in graph.ops:
        operands = [
            graph.constants[operand] if graph.is_constant(operand) else held[operand][1]
            for operand in op.operands
        ]
        expected = BEHAVIOURS[type(op)].reference(op, graph, operands).codes
        assert np.array_equal(taps[op.name][1], expected), op.name


@every_example
def test_images_do_not_depend_on_their_batch(name: str) -> None:
    graph = lowered(name, "base_ptq")
    codes = quantize(images(5, EXAMPLES[name].input_size).numpy(), graph.tensors["image"])
    executor = Executor(graph, gemm="numba", threads=1)
    taps = [op.name for op in graph.ops]
    whole = executor.run(codes, taps=taps).taps
    alone = [executor.run(codes[start : start + 2], taps=taps).taps for start in (0, 2, 4)]
    for op in taps:
        assert np.array_equal(whole[op], np.concatenate([part[op] for part in alone])), op


@every_example
def test_nothing_is_computed_in_float_or_left_without_a_cost(name: str) -> None:
    graph = lowered(name, "base_ptq")
    assert graph.float_ops == 0
    costs = estimate(graph, CHIP)
    assert costs.total_cycles > 0
    assert costs.peak_sram_bytes >= costs.peak_lower_bound_bytes > 0
    moved = {op.name: cost for op, cost in zip(graph.ops, costs.ops, strict=True)}
    for op in graph.ops:
        if isinstance(op, (Concat, Transpose)):
            assert moved[op.name].vector > 0, op.name


@pytest.mark.parametrize(("family", "pattern"), WITHOUT, ids=lambda given: str(given)[:20])
def test_what_is_not_listed_cannot_be_lowered(family: Family, pattern: str) -> None:
    """A pattern goes when its operator has a lowering."""
    names = [name for module in family.timm_modules for name in timm.list_models(module=module)]
    chosen = [name for name in names if fnmatch(name, pattern)]
    assert chosen, "timm has no such network any more"
    assert not set(chosen) & set(known_networks(lambda module: timm.list_models(module=module)))
    # In one narrow block there is all that is in many.
    plain = {"depth": 1, "embed_dim": 96, "num_heads": 3}
    model = random_model(
        chosen[0], arguments=plain if family.name in {"vit", "naflex"} else {"img_size": 64}
    )
    with pytest.raises(InputError, match=r"has no lowering|cannot be lowered|only LayerScale"):
        with_random_weights(
            model, capture(model.network, chosen[0], model.input_size), Recipe(), CHIP
        )
