# SPDX-License-Identifier: Apache-2.0
"""What few images rule out: held to a plain twin, and its promise to enumeration."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from built_run import build_with_costs
from simulated_pruning import simulate

from aocq.records.image_outcomes import image_outcomes
from aocq.records.pruning import (
    Candidate,
    candidate_of_run,
    promising,
    promising_runs,
    sign_test,
)
from aocq.records.run import RunResult

Bits = tuple[bool, ...]
Costs = tuple[float | None, ...]


def candidate(
    name: str, costs: Costs, outcomes: Sequence[bool] | None, group: str = "network"
) -> Candidate:
    found = None if outcomes is None else np.array(outcomes, np.bool_)
    return Candidate(name=name, compared_with=group, costs=costs, outcomes=found)


def bits(text: str) -> Bits:
    return tuple(letter == "1" for letter in text)


def kept_by_definition(of: Sequence[tuple[Costs, Bits]], level: Fraction) -> list[bool]:
    """The rule, word by word, in fractions."""
    found = []
    for place, (costs, outcomes) in enumerate(of):
        rivals = [
            theirs
            for other, (cost, theirs) in enumerate(of)
            if other != place and all(b <= a for a, b in zip(costs, cost, strict=True))
        ]
        beaten = False
        for theirs in rivals:
            pairs = [*zip(outcomes, theirs, strict=True)]
            ours_alone, theirs_alone = pairs.count((True, False)), pairs.count((False, True))
            differ = ours_alone + theirs_alone
            at_least = [p for p in product((0, 1), repeat=differ) if sum(p) >= theirs_alone]
            beaten |= Fraction(len(at_least), 2**differ) <= level / len(rivals)
        found.append(not beaten)
    return found


def test_decisions_are_those_of_the_rule_in_fractions() -> None:
    patterns = [bits(text) for text in ("000000", "111111", "000111", "111000", "011111", "100000")]
    places = [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)]
    pruned = 0
    for outcomes in product(patterns, repeat=3):
        for costs in product(places, repeat=3):
            of = [*zip(costs, outcomes, strict=True)]
            candidates = [candidate(str(i), *each) for i, each in enumerate(of)]
            found = [decision.kept for decision in promising(candidates, 0.75)]
            assert found == kept_by_definition(of, Fraction(1, 4)), of
            pruned += found.count(False)
    assert pruned > 1000


def test_the_sign_test_is_a_count_of_all_ways() -> None:
    for images in range(12):
        ways = [sum(way) for way in product((0, 1), repeat=images)]
        for against in range(images + 1):
            wanted = sum(way >= against for way in ways) / 2**images
            assert sign_test(images - against, against) == wanted
    assert sign_test(3, 0) == 1.0
    assert 0 < sign_test(20_000, 20_400) < 0.03


def samples(shares: Sequence[Fraction], images: int) -> Iterator[tuple[tuple[int, ...], Fraction]]:
    """Yield how often each kind of image may come, and how probable that is."""
    if len(shares) == 1:
        yield (images,), shares[0] ** images
        return
    for number in range(images + 1):
        first = math.comb(images, number) * shares[0] ** number
        if first:
            for rest, probability in samples(shares[1:], images - number):
                yield (number, *rest), first * probability


# Kinds of images by who of three is right on them, and shares of these: the first candidate is as
# good as both others, or better. Of two candidates the third is not run.
TWO = [bits("10"), bits("01"), bits("11")]
SHARES_OF_TWO = [(a, b, 10 - a - b) for a in range(11) for b in range(a + 1) if a + b <= 10]
THREE = [bits("100"), bits("010"), bits("001"), bits("011"), bits("111")]
SHARES_OF_THREE = [
    *[(2, 2, 0, 0, 6), (5, 5, 0, 0, 0), (4, 2, 2, 2, 0), (5, 0, 0, 5, 0)],
    *[(1, 1, 0, 0, 0), (3, 1, 1, 2, 3), (6, 2, 1, 1, 0), (2, 1, 1, 1, 5)],
]


@pytest.mark.parametrize(
    ("kinds", "shares", "images"), [(TWO, SHARES_OF_TWO, 7), (THREE, SHARES_OF_THREE, 6)]
)
def test_who_is_as_good_as_all_rivals_is_hardly_ever_pruned(
    kinds: list[Bits], shares: list[tuple[int, ...]], images: int
) -> None:
    """In exact probabilities over all samples, never above what the confidence leaves."""
    largest = Fraction(0)
    for numbers in shares:
        pruned = Fraction(0)
        for sample, probability in samples([Fraction(n, sum(numbers)) for n in numbers], images):
            columns = [
                kind for kind, times in zip(kinds, sample, strict=True) for _ in range(times)
            ]
            outcomes = [*zip(*columns, strict=True)]
            found = promising(
                [candidate(str(i), (1.0,), right) for i, right in enumerate(outcomes)], 0.75
            )
            pruned += probability * (not found[0].kept)
        assert pruned <= Fraction(1, 4), numbers
        largest = max(largest, pruned)
    assert largest > Fraction(1, 16), "the rule prunes at all"


def test_a_rival_costs_no_more_on_any_axis() -> None:
    good, bad = 64 * (True,), 64 * (False,)
    of = [
        candidate("good", (2.0, 2.0), good),
        candidate("cheaper on one axis", (1.0, 3.0), bad),
        candidate("as dear", (2.0, 2.0), bad),
        candidate("dearer", (2.0, 3.0), bad),
        candidate("of another network", (9.0, 9.0), bad, "other"),
        candidate("of unknown cost", (None, 9.0), bad),
        candidate("judged by boxes", (9.0, 9.0), None),
    ]
    found = {decision.name: decision for decision in promising(of)}
    assert [name for name, decision in found.items() if not decision.kept] == ["as dear", "dearer"]
    dearer = found["dearer"]
    assert dearer.rival == "good"
    assert dearer.limit == (1 - 0.95) / 3, "the one as dear is a rival too, and one is cheaper"
    assert dearer.probability == 2.0**-64
    assert dearer.difference is not None
    assert dearer.difference.low > 0.5
    assert "of 64 images 64 count for it alone and 0 for this one alone" in dearer.reason
    assert found["of unknown cost"].reason == "a cost is not known"
    assert "not judged one by one" in found["judged by boxes"].reason
    share = found["good"].share
    assert share is not None
    assert share.high == 1.0


def test_the_best_of_those_compared_is_kept() -> None:
    rng = np.random.default_rng(1)
    for _ in range(15):
        outcomes = rng.random((8, 40)) < rng.random((8, 1))
        found = promising([candidate(str(i), (1.0,), row) for i, row in enumerate(outcomes)])
        assert found[int(outcomes.sum(axis=1).argmax())].kept
        assert not all(decision.kept for decision in found)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ([candidate("a", (1.0,), bits("11"))], "two candidates of this name"),
        ([candidate("b", (1.0, 2.0), bits("11"))], "other axes of costs"),
        ([candidate("b", (math.nan,), bits("11"))], "not a number"),
        ([candidate("b", (1.0,), bits("111"))], "other images"),
    ],
)
def test_what_cannot_be_compared_is_refused(others: list[Candidate], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        promising([candidate("a", (1.0,), bits("10")), *others])
    with pytest.raises(ValueError, match="confidence"):
        promising([], 1.0)


def run_with(right: Sequence[bool], latency: float, **parts: Any) -> RunResult:
    """A run on 400 images, of which some are right and the others as float."""
    result, _ = build_with_costs(2)
    record = image_outcomes(right, [not bit for bit in right])
    accuracy = result.accuracy.model_copy(update={"outcomes": record})
    return result.model_copy(update={"accuracy": accuracy, "latency_ms": latency, **parts})


def test_runs_are_compared_by_the_outcomes_of_their_records() -> None:
    good = [place % 4 > 0 for place in range(400)]
    bad = [place % 4 > 2 for place in range(400)]
    axes = ("latency_ms", "weight_bytes")
    few = {"good": run_with(good, 1.0), "dearer": run_with(bad, 2.0)}
    few |= {"cheaper": run_with(bad, 0.5), "older": build_with_costs(2)[0]}

    def kept(runs: dict[str, RunResult], *axes: str) -> list[str]:
        return [decision.name for decision in promising_runs(runs, axes) if decision.kept]

    assert kept(few, "drop", *axes) == ["good", "cheaper", "older"]
    assert kept(few, "agreement", *axes) == ["dearer", "cheaper", "older"]
    assert candidate_of_run("a", few["good"], ("drop", *axes)).outcomes.tolist() == good  # type: ignore[union-attr]


def test_runs_of_other_weights_images_or_processes_are_no_rivals() -> None:
    good = run_with([True] * 400, 1.0)
    bad = run_with([False] * 400, 2.0)
    assert bad.data is not None
    assert bad.energy_record is not None
    process = {"energy_record": bad.energy_record.model_copy(update={"node_nm": 7.0})}
    others = {
        "weights": {"model": bad.model.model_copy(update={"checkpoint_sha256": "0" * 64})},
        "images": {"data": bad.data.model_copy(update={"digest": "0" * 64})},
        "process": process,
    }
    axes = ("drop", "latency_ms", "energy_mj")
    assert not promising_runs({"good": good, "bad": bad}, axes)[1].kept
    for name, parts in others.items():
        few = {"good": good, name: bad.model_copy(update=parts)}
        assert promising_runs(few, axes)[1].kept, name
    of_costs = {"good": good, "bad": bad.model_copy(update=process)}
    assert not promising_runs(of_costs, axes[:2])[1].kept, "without energies the process is nothing"


@pytest.mark.parametrize(
    "axes", [("latency_ms",), ("sqnr_db", "latency_ms"), ("drop", "agreement", "latency_ms")]
)
def test_few_images_decide_on_one_share_of_images(axes: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="few images decide on one of drop, agreement"):
        promising_runs({}, axes)


def test_in_a_simulation_few_images_save_most_and_lose_hardly_anything() -> None:
    """The same figures, of more repetitions, are in docs/front.md."""
    found = simulate(images=64, repetitions=40, seed=0)
    assert found.lost <= 0.05 * found.on_front
    assert found.pruned > 0.05 * found.candidates
