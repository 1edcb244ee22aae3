# SPDX-License-Identifier: Apache-2.0
"""Candidates are judged on a few images first: which ones are left, and what that saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
import torch
from tiny_models import NANO, images, input_size
from torch import Tensor, nn

from aocq.capture import FloatGraph, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.methods.aocq.balance import ChannelRange
from aocq.methods.aocq.block_state import BlockState, Candidate
from aocq.methods.aocq.blocks import blocks
from aocq.methods.aocq.initial_scales import InitialScales
from aocq.methods.aocq.race import FEWEST_IMAGES, FIRST_IMAGES, KEPT, race, spread
from aocq.methods.aocq.token_norm import BlockLoss, block_loss
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
NAME = "blocks.0.mlp.fc1"
FACTORS = (0.3, 0.6, 0.8, 0.9, 1.1)


@dataclass(frozen=True, slots=True)
class Counting(BlockLoss):
    """Notes how many images each judgement was of."""

    judged: list[int] = field(default_factory=list)

    def error(self, result: Tensor, images: Tensor | slice = slice(None)) -> Tensor:
        self.judged.append(len(result))
        return BlockLoss.error(self, result, images)


def prepared(graph: FloatGraph, count: int) -> tuple[BlockState, Counting, list[Candidate]]:
    """The block of :data:`NAME`, a loss that counts, and candidates for that tensor."""
    recipe, limits = Recipe(activation_bits=5), ChipLimits(residual_bits=5)
    x = images(count, input_size(NANO))
    nodes = [node for node in graph.nodes if node.op in ARITHMETIC]
    values = run(graph, {"image": x}, [node.name for node in graph.nodes])
    rows = {n.name: values[n.name].reshape(-1, n.shape[-1]).double() for n in nodes}
    seen = {name: ChannelRange(found.amin(0), found.amax(0)) for name, found in rows.items()}
    initial = InitialScales(graph, seen, recipe, limits)
    block = next(found for found in blocks(graph) if NAME in found.nodes)
    chosen = initial.of_block(block, values[block.source])
    state = BlockState.of(graph, block, values[block.source], chosen)
    target, importance = values[block.result], initial.importance[block.result]
    plain = block_loss(graph, block.result, target, chosen[block.result], importance, recipe.aocq)
    now = state.quantizers[NAME]
    candidates = [Candidate(replace(now, scale=now.scale * factor)) for factor in FACTORS]
    return state, Counting(plain.target, plain.weights, plain.channels), candidates


def errors_of(state: BlockState, loss: BlockLoss, candidates: list[Candidate]) -> list[list[float]]:
    state.prepare(NAME)
    return [[state.error_with(NAME, c, loss, p) for p in state.parts] for c in candidates]


def test_all_candidates_are_judged_on_few_images_and_the_best_on_all(nano: Captured) -> None:
    count = FEWEST_IMAGES + 4
    state, loss, candidates = prepared(nano("class_token")[1], count)
    errors = errors_of(state, loss, candidates)
    loss.judged.clear()
    best = race(state, NAME, candidates, loss)
    assert sum(loss.judged) == len(FACTORS) * FIRST_IMAGES + KEPT * (count - FIRST_IMAGES)
    leading = sorted(range(len(FACTORS)), key=lambda index: errors[index][0])[:KEPT]
    wanted = min(sorted(leading), key=lambda index: sum(errors[index]))
    assert best is not None
    assert (best.index, best.errors) == (wanted, errors[wanted])


def test_few_images_judge_all_candidates_at_once(nano: Captured) -> None:
    state, loss, candidates = prepared(nano("class_token")[1], FEWEST_IMAGES - 1)
    errors = errors_of(state, loss, candidates)
    loss.judged.clear()
    best = race(state, NAME, candidates, loss)
    assert sum(loss.judged) == len(FACTORS) * (FEWEST_IMAGES - 1)
    assert best is not None
    assert sum(best.errors) == min(map(sum, errors))


def test_a_candidate_must_be_below_the_limit_first_and_last(nano: Captured) -> None:
    state, loss, candidates = prepared(nano("class_token")[1], FEWEST_IMAGES)
    errors = errors_of(state, loss, candidates)
    best = race(state, NAME, candidates, loss)
    assert best is not None
    first, *others = best.errors
    slack = 1 + 1e-6
    assert race(state, NAME, candidates, loss, [first * slack, *others]) is not None
    assert race(state, NAME, candidates, loss, [first * slack, *others[:-1], 0.0]) is None
    # Nobody is below on the first images: none is judged on the others.
    loss.judged.clear()
    assert race(state, NAME, candidates, loss, [0.0, *(1e9 for _ in others)]) is None
    assert sum(loss.judged) == len(FACTORS) * FIRST_IMAGES
    assert min(error[0] for error in errors) > 0


def test_of_equal_candidates_the_first_is_taken(nano: Captured) -> None:
    state, loss, candidates = prepared(nano("class_token")[1], FEWEST_IMAGES)
    best = race(state, NAME, [candidates[2]] * 3, loss)
    assert best is not None
    assert best.index == 0


def test_what_is_found_does_not_depend_on_threads(nano: Captured) -> None:
    state, loss, candidates = prepared(nano("class_token")[1], FEWEST_IMAGES)
    configured, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(race(state, NAME, candidates, loss))
    finally:
        torch.set_num_threads(configured)
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 30, 32, 250])
def test_the_first_images_are_evenly_spread(count: int) -> None:
    order = spread(count)
    assert sorted(order) == list(range(count))
    first = sorted(order[:FIRST_IMAGES])
    assert first[0] == 0
    gaps = [after - before for before, after in pairwise(first)]
    assert len(set(gaps)) <= 1
    assert all(gap == max(count // FIRST_IMAGES, 1) for gap in gaps)
