# SPDX-License-Identifier: Apache-2.0
"""The same as :mod:`aocq.tasks.boxes`, one value at a time: for those who build it into a chip."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aocq.tasks.boxes import BOX_VALUES, CANDIDATES, LOG_DISTANCES, OVERLAP

Box = tuple[float, float, float, float]
Found = tuple[Box, float, int, int]  # box, score, class, token


def detections(values: Sequence[Sequence[float]], patch: int) -> list[Found]:
    """Return the boxes of one image, best first; ``values`` of each patch token, row by row."""
    side, classes = math.isqrt(len(values)), len(values[0]) - BOX_VALUES
    scored = [
        (math.sqrt(sigmoid(row[number]) * sigmoid(row[classes])), token, number)
        for token, row in enumerate(values)
        for number in range(classes)
    ]
    scored.sort(key=lambda found: (-found[0], found[1], found[2]))
    kept: list[Found] = []
    for score, token, number in scored[:CANDIDATES]:
        box = box_of(values[token][classes + 1 :], token, side, patch)
        same = (better for better, _, other, _ in kept if other == number)
        if all(overlap(better, box) <= OVERLAP for better in same):
            kept.append((box, score, number, token))
    return kept


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
