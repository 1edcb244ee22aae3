# SPDX-License-Identifier: Apache-2.0
"""Where values differ: in which images, rows and channels, in tiles or lanes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_RANGES = 4  # that a line lists
_PERIODS = (2, 4, 8, 16, 32, 64)
_TILES = (128, 64, 32, 16, 8, 4)


def places(unequal: NDArray[np.bool_]) -> list[str]:
    """Return a line per dimension: which of its places hold differing values.

    Parameters
    ----------
    unequal
        [images, ...]
    """
    lines = []
    for axis, extent in enumerate(unequal.shape):
        if extent < 2:
            continue
        others = tuple(i for i in range(unequal.ndim) if i != axis)
        touched = np.flatnonzero(unequal.any(axis=others))
        name = _name(axis, unequal.ndim)
        lines.append(f"{name}: {len(touched)} of {extent}{_which(touched, extent)}")
    return lines


def _name(axis: int, dimensions: int) -> str:
    """Return what a dimension is called: images first, channels last."""
    if axis == 0:
        return "images"
    if axis == dimensions - 1:
        return "channels (last dimension)"
    return "rows (dimension 1)" if axis == dimensions - 2 == 1 else f"dimension {axis}"


def _which(touched: NDArray[np.intp], extent: int) -> str:
    """Return the places, as ranges; and what is regular in them."""
    if len(touched) in {0, extent}:
        return ""
    return f": {_ranges(touched)}{_regular(touched, extent)}"


def _ranges(touched: Sequence[int] | NDArray[np.intp]) -> str:
    """Return places as ``0–3, 8, 12–15``."""
    found: list[list[int]] = []
    for place in map(int, touched):
        if found and place == found[-1][1] + 1:
            found[-1][1] = place
        else:
            found.append([place, place])
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in found]
    more = ", …" if len(texts) > _RANGES else ""
    return ", ".join(texts[:_RANGES]) + more


def _regular(touched: NDArray[np.intp], extent: int) -> str:
    """Return whether the places are one lane of a word, or one tile."""
    if len(touched) < 2:
        return ""
    for period in _PERIODS:
        lanes = np.unique(touched % period)
        if period * 2 <= extent and len(lanes) == 1 and len(touched) * 2 > extent // period:
            return f"; all are lane {lanes[0]} of {period}"
    for size in _TILES:
        tiles = np.unique(touched // size)
        if size * 2 <= extent and len(tiles) == 1 and len(touched) * 2 > size:
            return f"; all are in tile {tiles[0]} of {size}"
    return ""
