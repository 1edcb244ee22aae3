# SPDX-License-Identifier: Apache-2.0
"""What the host makes of a dense head: the same bits as plain Python; ties; suppression."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from aocq.tasks import boxes, boxes_reference
from aocq.tasks.boxes import BOX_VALUES, CANDIDATES, Detections

PATCH = 16


def head_values(side: int, classes: int, seed: int, step: float = 0.0) -> NDArray[np.float64]:
    """Random values of a dense head; whole multiples of ``step``, as codes are, where it is set."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 2, (side, side, classes + BOX_VALUES))
    return np.rint(values / step) * step if step else values


def plain(found: Detections) -> list[tuple[Any, ...]]:
    return [
        (tuple(box), score, number, token)
        for box, score, number, token in zip(
            found.boxes.tolist(),
            found.scores.tolist(),
            found.classes.tolist(),
            found.tokens.tolist(),
            strict=True,
        )
    ]


@pytest.mark.parametrize("step", [0.0, 0.5, 2.0])
@pytest.mark.parametrize(("side", "classes"), [(1, 1), (2, 3), (7, 12), (14, 2)])
def test_detections_are_those_of_plain_python_bit_by_bit(
    side: int, classes: int, step: float
) -> None:
    for seed in range(4):
        values = head_values(side, classes, seed, step)
        wanted = boxes_reference.detections(values.reshape(side * side, -1).tolist(), PATCH)
        assert plain(boxes.detections(values, PATCH)) == wanted


@given(st.lists(st.floats(-1e300, 1e300), min_size=7, max_size=7))
def test_no_value_of_a_head_leaves_the_picture_or_a_score_its_range(values: list[float]) -> None:
    found = boxes.detections(np.array(values).reshape(1, 1, 7), PATCH)
    assert ((found.boxes >= 0) & (found.boxes <= PATCH)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert plain(found) == boxes_reference.detections([values], PATCH)


def test_equal_scores_are_ordered_by_token_then_by_class() -> None:
    values = np.zeros((2, 2, 3 + BOX_VALUES))
    values[..., -4:] = -4.0  # small boxes, none of which covers another
    found = boxes.detections(values, PATCH)
    assert [*zip(found.tokens.tolist(), found.classes.tolist(), strict=True)] == [
        (token, number) for token in range(4) for number in range(3)
    ]
    assert set(found.scores.tolist()) == {0.5}


def test_an_image_has_no_more_than_so_many_candidates() -> None:
    values = np.zeros((14, 14, 2 + BOX_VALUES))
    values[..., -4:] = -4.0
    assert len(boxes.detections(values, PATCH).scores) == CANDIDATES


def test_a_box_is_its_patch_and_four_distances() -> None:
    values = np.full((3, 3, 1 + BOX_VALUES), -50.0)
    values[1, 2] = [40.0, 40.0, *(math.log(d / PATCH) for d in (4.0, 8.0, 2.0, 16.0))]
    found = boxes.detections(values, PATCH)
    np.testing.assert_allclose(found.boxes[0], [40 - 4, 24 - 8, 40 + 2, 24 + 16], rtol=1e-12)
    assert found.tokens[0] == 5
    assert found.scores[0] == 1.0


def of_boxes(corners: list[list[float]], classes: list[int]) -> Detections:
    count = len(classes)
    return Detections(
        np.array(corners, np.float64).reshape(count, 4),
        np.linspace(1, 0.5, count),
        np.array(classes, np.int64),
        np.arange(count),
    )


def test_a_better_box_of_the_same_class_suppresses_what_it_covers() -> None:
    corners = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 5.0]])
    kept = boxes.suppressed(corners, np.array([0, 0, 1, 0]))
    assert kept.tolist() == [0, 2, 3]
    # What is suppressed suppresses nothing.
    chain = np.array([[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 10, 4.9]])
    assert boxes.suppressed(chain, np.zeros(3, np.int64)).tolist() == [0, 2]


def test_overlap_is_intersection_over_union_and_nothing_for_empty_boxes() -> None:
    first = np.array([[0, 0, 2, 2], [1, 1, 1, 1.0]])
    second = np.array([[1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1.0]])
    found = boxes.overlaps(first, second)
    assert found.tolist() == [[1 / 7, 0, 0], [0, 0, 0]]
    assert boxes_reference.overlap((0, 0, 2, 2), (1, 1, 3, 3)) == 1 / 7


def test_each_detection_is_matched_once_and_by_its_class() -> None:
    same = of_boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 1])
    assert boxes.matched(same, same, 0.9) == 2
    assert boxes.matched(same, of_boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [1, 1]), 0.9) == 1
    assert boxes.matched(same, of_boxes([[0, 0, 10, 8.9], [20, 20, 30, 30]], [0, 1]), 0.9) == 1
    twice = of_boxes([[0, 0, 10, 10], [0, 0, 10, 10]], [0, 0])
    assert boxes.matched(twice, of_boxes([[0, 0, 10, 10]], [0]), 0.9) == 1
    none = of_boxes([], [])
    assert boxes.matched(none, same, 0.9) == boxes.matched(same, none, 0.9) == 0
