# SPDX-License-Identifier: Apache-2.0
"""Dominance and hypervolumes, held to their definitions on every small set of designs."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement, permutations, product

import numpy as np
import pytest

from aocq.records.dominance import dominance, hypervolume

Design = tuple[int, ...]
Designs = Sequence[Design]


def dominates(first: Design, second: Design) -> bool:
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def peeled(designs: Designs) -> list[int]:
    """Ranks by the definition: take the front away, again and again."""
    ranks: dict[int, int] = {}
    while len(ranks) < len(designs):
        left = [place for place in range(len(designs)) if place not in ranks]
        front = [p for p in left if not any(dominates(designs[q], designs[p]) for q in left)]
        ranks |= dict.fromkeys(front, max(ranks.values(), default=0) + 1)
    return [ranks[place] for place in range(len(designs))]


def by_inclusion_and_exclusion(designs: Designs, reference: Design) -> int:
    """The volume of a union of boxes: of each, less of each two, and so on."""
    total = 0
    for number in range(1, len(designs) + 1):
        for some in combinations(designs, number):
            nearest = [max(losses) for losses in zip(*some, strict=True)]
            sides = [max(0, worst - loss) for worst, loss in zip(reference, nearest, strict=True)]
            total += math.prod(sides) * (1 if number % 2 else -1)
    return total


def small_sets() -> Iterator[list[Design]]:
    """Yield every set of designs: up to 4 of 3 x 3 or 2 x 2 x 2, 3 of one axis; equal ones too."""
    for side, axes, number in ((3, 2, 4), (2, 3, 4), (4, 1, 3)):
        grid = [*product(range(side), repeat=axes)]
        for some in range(1, number + 1):
            yield from map(list, combinations_with_replacement(grid, some))


SETS = [*small_sets()]


def test_ranks_of_every_small_set_are_those_of_fronts_taken_away() -> None:
    assert len(SETS) > 1000
    for designs in SETS:
        assert dominance(designs).ranks.tolist() == peeled(designs), designs


def test_what_beats_a_design_is_on_the_front_and_dominates_it() -> None:
    for designs in SETS:
        found = dominance(designs)
        for place, by in enumerate(found.beaten_by.tolist()):
            assert (by == -1) == (place in found.front), designs
            assert by == -1 or (by in found.front and dominates(designs[by], designs[place]))


def test_the_order_of_designs_does_not_matter() -> None:
    designs = [(0, 3, 1), (1, 1, 1), (1, 1, 1), (2, 2, 2), (3, 0, 5)]
    ranks = dict(zip(designs, dominance(designs).ranks.tolist(), strict=True))
    for order in permutations(designs):
        assert dominance(order).ranks.tolist() == [ranks[design] for design in order]


def test_hypervolumes_of_every_small_set_are_those_of_inclusion_and_exclusion() -> None:
    for designs in SETS:
        for reference in ((2,) * len(designs[0]), (5, 3, 4)[: len(designs[0])]):
            wanted = by_inclusion_and_exclusion(designs, reference)
            assert hypervolume(designs, reference) == wanted, designs


@pytest.mark.parametrize("axes", [2, 4, 6])
def test_both_hold_on_many_axes_too(axes: int) -> None:
    rng = np.random.default_rng(axes)
    for _ in range(20):
        designs = [tuple(map(int, row)) for row in rng.integers(0, 6, (11, axes))]
        assert dominance(designs).ranks.tolist() == peeled(designs)
        assert hypervolume(designs, (5,) * axes) == by_inclusion_and_exclusion(designs, (5,) * axes)


def test_an_infinite_loss_is_worse_than_all_others_and_no_loss_is_nan() -> None:
    assert dominance([(math.inf, 1.0), (-math.inf, 1.0), (0.0, 1.0)]).ranks.tolist() == [3, 1, 2]
    with pytest.raises(ValueError, match="not a number"):
        dominance([(math.nan, 1.0)])
    with pytest.raises(ValueError, match="not finite"):
        hypervolume([(math.inf, 1.0)], (2, 2))
    with pytest.raises(ValueError, match="not finite"):
        hypervolume([(1.0, 1.0)], (2, math.inf))


def test_axes_that_do_not_fit_are_told() -> None:
    with pytest.raises(ValueError, match="3 parts of a reference for 2 axes"):
        hypervolume([(1.0, 1.0)], (2, 2, 2))
    with pytest.raises(ValueError, match="designs x axes"):
        dominance([()])
    assert dominance([]).front == []
    assert hypervolume([], (1, 1)) == 0.0


def test_ranks_need_numpy_alone() -> None:
    code = "import sys, aocq.records.dominance; print({'moocore', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
