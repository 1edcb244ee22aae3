# SPDX-License-Identifier: Apache-2.0
"""How alike two maps of one image are: their correlation, and the overlap of their peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]  # [rows, columns], nowhere below 0
TOP_SHARE = 5  # one patch of so many is at the top


def correlation(first: Map, second: Map) -> float | None:
    """Return Pearson's correlation over patches; None where a map is the same everywhere."""
    if any(x.min() == x.max() for x in (first, second)):  # a mean may be off by its rounding
        return None
    a, b = (x.ravel() - x.mean() for x in (first, second))
    power = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / power) if power > 0 else None  # squares may be too small for float64


def overlap_of_tops(first: Map, second: Map) -> float | None:
    """Return the intersection over union of the top fifths of the patches of two maps.

    Patches of value 0 are never at the top, however few others there are. None where both maps are
    0 everywhere.
    """
    a, b = _top(first), _top(second)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else None


def _top(values: Map) -> NDArray[np.bool_]:
    """Return the largest fifth, one patch at least; of equal values, the earlier ones first."""
    flat = values.ravel()
    order = np.argsort(-flat, kind="stable")[: max(len(flat) // TOP_SHARE, 1)]
    top = np.zeros(flat.shape, bool)
    top[order] = flat[order] > 0
    return top
