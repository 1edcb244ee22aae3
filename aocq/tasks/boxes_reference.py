# SPDX-License-Identifier: Apache-2.0
"""The same as :mod:`aocq.tasks.boxes`, one value at a time: for those who build it into a chip."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence

from aocq.tasks.boxes import BOX_VALUES, CANDIDATES, LOG_DISTANCES, OVERLAP

Box = tuple[float, float, float, float]
Found = tuple[Box, float, int, int]  # box, score, class, token


def detections(values: Sequence[Sequence[float]], patch: int) -> list[Found]:
    """Return the boxes of one image, best first; ``values`` of each patch token, row by row."""
    side, classes = math.isqrt(len(values)), len(values[0]) - BOX_VALUES
    kept: list[Found] = []
    for score, place in best(scores_of(values, classes), CANDIDATES):
        token, number = divmod(place, classes)
        box = box_of(values[token][classes + 1 :], token, side, patch)
        same = (better for better, _, other, _ in kept if other == number)
        if all(overlap(better, box) <= OVERLAP for better in same):
            kept.append((box, score, number, token))
    return kept


def scores_of(values: Sequence[Sequence[float]], classes: int) -> Iterator[float]:
    """Yield the score of every token and class, class by class of each token."""
    for row in values:
        centerness = sigmoid(row[classes])
        for logit in row[:classes]:
            yield math.sqrt(sigmoid(logit) * centerness)


def best(scores: Iterable[float], count: int) -> list[tuple[float, int]]:
    """Return the largest scores and their places, best first; of equal ones the earlier first."""
    kept: list[tuple[float, int]] = []  # a heap: the worst is in front
    for place, score in enumerate(scores):
        if len(kept) < count:
            heapq.heappush(kept, (score, -place))
        else:
            heapq.heappushpop(kept, (score, -place))
    rising = [heapq.heappop(kept) for _ in range(len(kept))]
    return [(score, -place) for score, place in reversed(rising)]


def sigmoid(logit: float) -> float:
    """Return ``1 / (1 + exp(-x))``, x held within 700."""
    return 1 / (1 + math.exp(min(max(-logit, -700.0), 700.0)))


def box_of(logarithms: Sequence[float], token: int, side: int, patch: int) -> Box:
    """Return a token's box, from logarithms of its distances."""
    across, down = (token % side + 0.5) * patch, (token // side + 0.5) * patch
    left, top, right, bottom = (
        patch * math.exp(min(max(value, LOG_DISTANCES[0]), LOG_DISTANCES[1]))
        for value in logarithms
    )
    corners = (across - left, down - top, across + right, down + bottom)
    found = [min(max(corner, 0.0), float(side * patch)) for corner in corners]
    return found[0], found[1], found[2], found[3]


def overlap(first: Box, second: Box) -> float:
    """Return the intersection over union of two boxes; 0 of empty ones."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    union = areas[0] + areas[1] - shared
    return shared / union if union > 0 else 0.0
