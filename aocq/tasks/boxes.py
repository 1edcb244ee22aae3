# SPDX-License-Identifier: Apache-2.0
"""What the host makes of a dense head's values: candidates, boxes, non-maximum suppression.

All of it is float64, operation by operation as in :mod:`aocq.tasks.boxes_reference`, whose results
are the same bits. Equal scores, of which integers have many, are ordered by token, then by class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Int = NDArray[np.int64]

CANDIDATES = 60  # of an image, over all tokens and classes
OVERLAP = 0.6  # a box with more of it to a better one of its class is dropped
# Of log distances, in units of a patch: beyond, no box would be smaller or larger in the picture.
LOG_DISTANCES = (-4.0, 3.0)
BOX_VALUES = 5  # of a token, behind its classes: centerness, and four distances


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found in an image, best first.

    Attributes
    ----------
    boxes
        left, top, right, bottom in pixels of what the network saw, [n, 4]
    scores
        0..1, [n]
    classes, tokens
        numbers of class and of patch token, from 0, [n]
    """

    boxes: Real
    scores: Real
    classes: Int
    tokens: Int


def detections(values: Real, patch: int) -> Detections:
    """Return what a dense head found in one image.

    Parameters
    ----------
    values
        of each patch token, row by row: class logits, centerness logit, logarithms of the distances
        to left, top, right, bottom in patches; [side, side, classes + 5]
    patch
        pixels along a side of a patch

    A score is ``sqrt(sigmoid(class) sigmoid(centerness))``, a box the patch's centre and
    ``patch exp(t)`` to each side, t held in :data:`LOG_DISTANCES` (a dense head as of FCOS, Tian et
    al., arXiv 1904.01355).
    """
    side, classes = values.shape[0], values.shape[-1] - BOX_VALUES
    flat = values.reshape(side * side, -1)
    shares = _sigmoid(flat[:, : classes + 1])
    scores = np.sqrt(shares[:, :classes] * shares[:, classes:])
    order = np.argsort(-scores.ravel(), kind="stable")[:CANDIDATES]
    tokens, numbers = order // classes, order % classes
    boxes = _boxes(flat[tokens, classes + 1 :], tokens, side, patch)
    kept = suppressed(boxes, numbers)
    return Detections(boxes[kept], scores.ravel()[order][kept], numbers[kept], tokens[kept])


def _exp(values: Real) -> Real:
    """Return Python's own exponentials: numpy's differ in the last bit from CPU to CPU."""
    found = [math.exp(value) for value in values.ravel().tolist()]
    return np.array(found, np.float64).reshape(values.shape)


def _sigmoid(logits: Real) -> Real:
    # Beyond 700 exp leaves float64; no head's order depends on such logits.
    return 1 / (1 + _exp(np.clip(-logits, -700, 700)))


def _boxes(logarithms: Real, tokens: Int, side: int, patch: int) -> Real:
    distances = patch * _exp(np.clip(logarithms, *LOG_DISTANCES))
    across = (tokens % side + 0.5) * patch
    down = (tokens // side + 0.5) * patch
    corners = np.stack([across, down, across, down], axis=1) + distances * [-1, -1, 1, 1]
    found: Real = np.clip(corners, 0, side * patch)
    return found


def overlaps(first: Real, second: Real) -> Real:
    """Return the intersection over union of every two boxes, [n, m]; 0 of empty boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    union = _areas(first)[:, None] + _areas(second)[None, :] - shared
    found: Real = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return found


def _areas(boxes: Real) -> Real:
    found: Real = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return found


def suppressed(boxes: Real, classes: Int) -> Int:
    """Return the places of boxes, best first, without those that a better one of a class covers."""
    covers = (overlaps(boxes, boxes) > OVERLAP) & (classes[:, None] == classes[None, :])
    alive = np.ones(len(boxes), bool)
    for place in range(len(boxes)):
        if alive[place]:
            alive[place + 1 :] &= ~covers[place, place + 1 :]
    return np.flatnonzero(alive)


def matched(first: Detections, second: Detections, least: float) -> int:
    """Return how many of the first detections the second ones have, too.

    Of the same class and with an overlap of ``least`` or more; best first, each at its best match,
    which no other takes then.
    """
    if not len(first.scores) or not len(second.scores):
        return 0
    found = overlaps(first.boxes, second.boxes)
    found[first.classes[:, None] != second.classes[None, :]] = -1.0
    count = 0
    for row in found:
        best = int(row.argmax())
        if row[best] >= least:
            count += 1
            found[:, best] = -1.0
    return count
