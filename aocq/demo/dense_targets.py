# SPDX-License-Identifier: Apache-2.0
"""What a dense head should yield for a canvas: of each patch a class, a box, and a class of pixels.

As in FCOS (Tian et al., arXiv 1904.01355), a patch answers for a box that its centre is in, near
the middle of the box; of a box so narrow that no centre is in it, the nearest patch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aocq.data.masks import classes_of_patches
from aocq.demo.canvases import BACKGROUND, SIDE, Canvas, label_map

PATCH = 8  # pixels along a side
PATCHES = SIDE // PATCH  # along a side of a canvas
REACH = 1.5  # patches from the middle of a box, in either direction
SHORTEST_DISTANCE = 0.05  # patches; logarithms are taken of distances
DIGITS = 10


class DenseTargets(NamedTuple):
    """What the patches of N canvases should yield; row by row, T of each canvas.

    Attributes
    ----------
    classes : ndarray of int64, shape (N, T)
        The digit of the box that a patch answers for; 10 where it answers for none.
    distances : ndarray of float32, shape (N, T, 4)
        From its centre to left, top, right and bottom of that box, in patches; 1 without a box.
    patch_classes : ndarray of int64, shape (N, T)
        The class that most pixels of a patch have, the lowest of several.
    """

    classes: NDArray[np.int64]
    distances: NDArray[np.float32]
    patch_classes: NDArray[np.int64]


def dense_targets(found: Sequence[Canvas]) -> DenseTargets:
    """Return the targets of canvases."""
    boxes = [_of_boxes(each) for each in found]
    return DenseTargets(
        np.stack([classes for classes, _ in boxes]),
        np.stack([distances for _, distances in boxes]),
        np.stack(
            [classes_of_patches(label_map(each), PATCHES, BACKGROUND + 1).ravel() for each in found]
        ),
    )


def _of_boxes(found: Canvas) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    middles = np.arange(PATCHES) + 0.5
    centres = np.stack(np.meshgrid(middles, middles), axis=-1).reshape(-1, 1, 2)
    low, high = found.boxes[:, :2] / PATCH, found.boxes[:, 2:] / PATCH
    distances = np.concatenate([centres - low, high - centres], axis=-1)
    away = np.abs(centres - (low + high) / 2).max(axis=-1)
    answers = (distances.min(axis=-1) > 0) & (away <= REACH)
    answers[away.argmin(axis=0), np.arange(len(found.labels))] = True
    # Boxes do not overlap: only a nearest patch can answer for two, and takes the nearer one.
    chosen = np.where(answers, away, np.inf).argmin(axis=1)
    any_box = answers.any(axis=1)
    tokens = np.arange(len(any_box))
    near = np.maximum(distances[tokens, chosen], SHORTEST_DISTANCE)
    return (
        np.where(any_box, found.labels[chosen], DIGITS),
        np.where(any_box[:, None], near, 1.0).astype(np.float32),
    )
