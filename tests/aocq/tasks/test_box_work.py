# SPDX-License-Identifier: Apache-2.0
"""Operations of decoding and suppression: the stated counts are what plain Python does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aocq.tasks import box_work, boxes_reference
from aocq.tasks.box_work import (
    BOX_FUNCTIONS,
    BOX_OPERATIONS,
    COMPARED,
    OVERLAP_FUNCTIONS,
    OVERLAP_OPERATIONS,
    SCORE_FUNCTIONS,
    SCORE_OPERATIONS,
    SIGMOID_FUNCTIONS,
    SIGMOID_OPERATIONS,
    selection_comparisons,
)
from aocq.tasks.boxes import BOX_VALUES, CANDIDATES
from aocq.tasks.detection import TASK

PATCH = 16
DONE: Counter[str] = Counter()


class Counted(float):
    """A number that counts what is done with it."""

    __hash__ = float.__hash__

    def __eq__(self, other: object) -> bool:
        DONE["operations"] += 1
        return float(self) == other


def _result(kind: str, method: str) -> Callable[..., Any]:
    def done(self: Counted, *others: float) -> Any:
        DONE[kind] += 1
        found = getattr(float, method)(self, *others)
        return found if isinstance(found, bool) else Counted(found)

    return done


for _method in ("add", "radd", "sub", "rsub", "mul", "rmul", "neg", "lt", "le", "gt", "ge"):
    setattr(Counted, f"__{_method}__", _result("operations", f"__{_method}__"))
for _method in ("truediv", "rtruediv"):
    setattr(Counted, f"__{_method}__", _result("functions", f"__{_method}__"))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What the reference did, on numbers that count."""

    def counting(kind: str, of: Callable[..., float]) -> Callable[..., Counted]:
        def call(*values: float) -> Counted:
            DONE[kind] += 1
            return Counted(of(*map(float, values)))

        return call

    names = {"exp": counting("functions", math.exp), "sqrt": counting("functions", math.sqrt)}
    monkeypatch.setattr(boxes_reference, "math", SimpleNamespace(isqrt=math.isqrt, **names))
    for name, of in (("min", min), ("max", max)):
        monkeypatch.setattr(boxes_reference, name, counting("operations", of), raising=False)
    DONE.clear()
    yield DONE
    DONE.clear()


def counts(operations: int, functions: int) -> dict[str, int]:
    return {"operations": operations, "functions": functions}


def head(side: int, classes: int, rising: bool) -> list[list[Counted]]:
    """Values of a head whose boxes are so small that none covers another."""
    random = np.random.default_rng(1)
    values = random.normal(0, 2, (side * side, classes + BOX_VALUES))
    if rising:
        values[:, :classes] = np.linspace(-3, 3, side * side * classes).reshape(-1, classes)
        values[:, classes] = 0.0
    values[:, classes + 1 :] = -3.0
    return [[Counted(value) for value in row] for row in values.tolist()]


def test_a_sigmoid_a_box_and_an_overlap_take_what_is_said(done: Counter[str]) -> None:
    boxes_reference.sigmoid(Counted(0.3))
    assert done == counts(SIGMOID_OPERATIONS, SIGMOID_FUNCTIONS)
    done.clear()
    first, second = (
        boxes_reference.box_of([Counted(value)] * 4, 5, 3, PATCH) for value in (0.5, 0.7)
    )
    assert done == counts(2 * BOX_OPERATIONS, 2 * BOX_FUNCTIONS)
    done.clear()
    assert boxes_reference.overlap(first, second) <= 0.9
    assert done == counts(OVERLAP_OPERATIONS, OVERLAP_FUNCTIONS)


def test_scores_take_what_is_said(done: Counter[str]) -> None:
    tokens, classes = 9, 4
    assert len([*boxes_reference.scores_of(head(3, classes, rising=False), classes)]) == 36
    sigmoids = tokens * (classes + 1)
    assert done == counts(
        SIGMOID_OPERATIONS * sigmoids + SCORE_OPERATIONS * tokens * classes,
        SIGMOID_FUNCTIONS * sigmoids + SCORE_FUNCTIONS * tokens * classes,
    )


@pytest.mark.parametrize("order", ["rising", "falling", "random", "equal"])
@pytest.mark.parametrize("candidates", [1, 2, 63, 64, 65, 2352])
def test_no_order_of_scores_takes_more_comparisons(candidates: int, order: str) -> None:
    numbers = np.arange(candidates) if order != "equal" else np.zeros(candidates)
    if order == "random":
        numbers = np.random.default_rng(0).permutation(candidates)
    scores = [Counted(value) for value in numbers[:: -1 if order == "falling" else 1].tolist()]
    DONE.clear()
    boxes_reference.best(scores, CANDIDATES)
    most = COMPARED * selection_comparisons(candidates, min(CANDIDATES, candidates))
    assert candidates - 1 <= DONE["operations"] <= most
    if order == "rising" and candidates > 1000:  # the bound is not far above what happens
        assert 2 * DONE["operations"] > most


@given(st.lists(st.integers(0, 9), min_size=1, max_size=90), st.integers(1, 20))
def test_the_best_are_those_of_sorting(scores: list[int], count: int) -> None:
    counted = [Counted(score) for score in scores]
    DONE.clear()
    found = boxes_reference.best(counted, count)
    most = COMPARED * selection_comparisons(len(scores), min(count, len(scores)))
    assert DONE["operations"] <= most
    wanted = sorted(enumerate(scores), key=lambda each: (-each[1], each[0]))[:count]
    assert [(place, int(score)) for score, place in found] == wanted


@pytest.mark.parametrize("side", [5, 14])
def test_one_class_without_overlaps_takes_all_of_the_work(
    done: Counter[str], side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    selecting, best = 0, boxes_reference.best

    def counted_best(scores: Iterable[float], count: int) -> list[tuple[float, int]]:
        nonlocal selecting
        listed = [*scores]
        before = done["operations"]
        found = best(listed, count)
        selecting = done["operations"] - before
        return found

    monkeypatch.setattr(boxes_reference, "best", counted_best)
    found = boxes_reference.detections(head(side, 1, rising=True), PATCH)
    boxes = min(side * side, CANDIDATES)
    assert len(found) == boxes
    decode, suppress = box_work.box_work(side * side, 1)
    of_codes = side * side * (1 + BOX_VALUES)  # from codes to values, before all of this
    allowed = COMPARED * selection_comparisons(side * side, boxes)
    assert done == counts(
        decode.operations + suppress.operations - allowed + selecting,
        decode.functions + suppress.functions - of_codes,
    )
    assert selecting <= allowed


@pytest.mark.parametrize(("side", "classes"), [(2, 4), (3, 4), (3, 8), (5, 2), (5, 3), (7, 2)])
def test_classes_of_few_tokens_take_all_of_the_work(
    done: Counter[str], side: int, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class by class each token is a candidate, as long as candidates are left: the worst case."""
    tokens = side * side
    boxes = min(CANDIDATES, tokens * classes)
    places = [token * classes + number for number in range(classes) for token in range(tokens)]
    chosen = [(1.0 - place / 1000, where) for place, where in enumerate(places[:boxes])]
    monkeypatch.setattr(boxes_reference, "best", lambda scores, count: chosen)
    found = boxes_reference.detections(head(side, classes, rising=False), PATCH)
    assert len(found) == boxes
    _, suppress = box_work.box_work(tokens, classes)
    assert done == counts(
        suppress.operations + BOX_OPERATIONS * boxes, suppress.functions + BOX_FUNCTIONS * boxes
    )


@given(st.lists(st.integers(0, 12), min_size=1, max_size=9))
def test_no_other_classes_of_candidates_have_more_pairs(of_class: list[int]) -> None:
    """Of 12 tokens: so many candidates of each class."""
    pairs = sum(each * (each - 1) // 2 for each in of_class)
    assert pairs <= box_work.pairs_of_a_class(sum(of_class), 12)


def test_more_classes_take_no_more_than_is_said(done: Counter[str]) -> None:
    boxes_reference.detections(head(7, 12, rising=False), PATCH)
    work = box_work.box_work(49, 12)
    assert done["operations"] < sum(each.operations for each in work)
    assert done["functions"] < sum(each.functions for each in work)


def test_the_figures_of_the_documentation_are_those_of_deit_tiny() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cost.md").read_text("utf-8")
    decode, suppress = box_work.box_work(196, 12)
    said = (
        f"that is {decode.operations:,} operations and {decode.functions:,} functions to decode, "
        f"{suppress.operations:,} and {suppress.functions:,} to suppress"
    )
    assert said in " ".join(page.split())


def test_the_task_counts_patch_tokens_alone() -> None:
    assert TASK.host_work((197, 17)) == box_work.box_work(196, 12)
    assert TASK.host_work((7, 7, 6)) == box_work.box_work(49, 1)
