# SPDX-License-Identifier: Apache-2.0
"""Places of saturated results and overflowed sums: as many as the executor counts of each token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_graphs import WRAP, accumulator
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny

from aocq.capture.token_grid import TokenGrid
from aocq.capture.token_places import TokenPlaces, token_places
from aocq.jobs.token_events import TokenEvents, token_events
from aocq.lowering import lower
from simulator.boundary import quantize
from simulator.executor import Executor
from simulator.gemm import NumbaGemm
from simulator.kernel_choice import single_step
from simulator.profile import load_profile
from simulator.taps import activations

GRID = TokenGrid(prefix=1, rows=2, columns=2)
PLACES = token_places(tiny().graph)
LAYER, SUMS = "blocks.0.attn.qkv", "blocks.0.mlp.fc1"


@pytest.fixture(scope="module")
def graph():
    """A tiny network in which a layer saturates and another's accumulator is too narrow."""
    found = lower(tiny(), load_profile("edge_npu_int8"))
    constants = dict(found.constants)
    narrow = accumulator((0, 9, WRAP))
    ops = []
    for op in found.ops:
        if op.name == LAYER:
            name = op.requantize.shift  # results are four times as large
            constants[name] = constants[name] - 2
        ops.append(replace(op, accumulator=narrow) if op.name == SUMS else op)
    return replace(found, ops=tuple(ops), constants=constants)


@pytest.fixture(scope="module")
def run(graph):
    """One image of larger values than those of calibration."""
    pixels = 2 * images(1, input_size(TINY)).numpy()
    codes = quantize(pixels, graph.tensors[graph.inputs[0]])
    return Executor(graph, threads=1).run(codes, taps=activations(graph))


def alone(graph, run, name, token):
    """The counts of an op whose operands are one token's rows."""
    (op,) = (op for op in graph.ops if op.name == name)
    step = single_step(op, graph, NumbaGemm(), portable=True)
    values = {**graph.constants, **run.taps}
    rows = [
        values[operand] if graph.is_constant(operand) else values[operand][:, token : token + 1]
        for operand in step.operands
    ]
    _, result = step.kernel([np.ascontiguousarray(part) for part in rows])
    return result


def test_every_token_has_the_events_of_its_own_rows(graph, run):
    saturated, overflowed = token_events(graph, run.taps, run.counts, PLACES, [GRID])
    assert run.counts[LAYER].saturated > 3
    assert run.counts[SUMS].sums.persistent > 3
    assert saturated.placed[LAYER] == run.counts[LAYER].saturated
    assert overflowed.placed == {SUMS: run.counts[SUMS].sums.persistent}
    sums = [alone(graph, run, SUMS, token).sums.persistent for token in range(GRID.tokens)]
    assert overflowed.tokens[GRID].tolist() == sums
    only = {name: count for name, count in run.counts.items() if name == LAYER}
    quiet = {name: replace(count, saturated=0) for name, count in run.counts.items()} | only
    placed, _ = token_events(graph, run.taps, quiet, PLACES, [GRID])
    layer = [alone(graph, run, LAYER, token).saturated for token in range(GRID.tokens)]
    assert placed.tokens[GRID].tolist() == layer
    assert len(set(layer)) > 1


def test_nothing_is_lost_of_what_was_counted(graph, run):
    saturated, _ = token_events(graph, run.taps, run.counts, PLACES, [GRID])
    counted = {name: each.saturated for name, each in run.counts.items() if each.saturated}
    assert {**saturated.placed, **saturated.elsewhere} == counted
    assert sum(saturated.placed.values()) == saturated.tokens[GRID].sum()


def test_patches_in_front_of_the_class_token_have_places():
    found = TokenEvents()
    mask = np.zeros((4, 8), bool)
    mask[2, :3] = True
    found.add("patches", 3, mask, PLACES["patch_embed.proj"], [GRID])
    assert found.tokens[GRID].tolist() == [0, 0, 0, 3, 0]


def test_attention_counts_at_the_token_that_asks():
    found = TokenEvents()
    mask = np.zeros((2, 5, 5), bool)
    mask[:, 3, :4] = True
    found.add("scores", 8, mask, PLACES["blocks.0.attn.scores"], [GRID])
    assert found.tokens[GRID].tolist() == [0, 0, 0, 8, 0]


def test_places_that_do_not_add_up_are_not_shown():
    found = TokenEvents()
    stream = PLACES["blocks.0.add"]
    found.add("op", 2, np.eye(5, 8, dtype=bool), stream, [GRID])
    found.add("logits", 1, np.eye(1, 10, dtype=bool)[0], PLACES["head"], [GRID])
    found.add("unknown", 7, None, stream, [GRID])
    found.add("constant", 5, np.eye(5, 8, dtype=bool), None, [GRID])
    found.add(
        "other grid", 5, np.eye(5, 8, dtype=bool), stream, [TokenGrid(prefix=1, rows=1, columns=4)]
    )
    assert found.tokens == {}
    assert found.placed == {}
    assert found.elsewhere == {"op": 2, "logits": 1, "unknown": 7, "constant": 5, "other grid": 5}


def test_padding_of_windows_has_no_place():
    """One event of an op at no token: none is shown, and none is lost."""
    numbers = torch.tensor([[1], [2], [3], [4], [5], [0]]).expand(6, 8)
    places = TokenPlaces(grid=GRID, numbers=numbers)
    found = TokenEvents()
    mask = np.zeros((6, 8), bool)
    mask[2:4] = True
    found.add("inside", 16, mask, places, [GRID])
    mask[5, 0] = True
    found.add("beside", 17, mask, places, [GRID])
    assert found.tokens[GRID].tolist() == [0, 0, 8, 8, 0]
    assert found.elsewhere == {"beside": 17}
