# SPDX-License-Identifier: Apache-2.0
"""What the host makes of a segmentation head's codes, one value at a time, in plain Python.

Each class has a scale of its own (``docs/decisions/0052-dense-results.md``), so that codes of two
classes cannot be compared: they become real values first.
"""

from __future__ import annotations

from collections.abc import Sequence


def classes_of(
    codes: Sequence[Sequence[int]], scales: Sequence[float], zero_point: int
) -> list[int]:
    """Return the class of each patch.

    Parameters
    ----------
    codes
        of each patch token, row by row: one for each class
    scales
        of each class
    zero_point
        of all of them
    """
    return [
        largest([real_value(*each, zero_point) for each in zip(row, scales, strict=True)])
        for row in codes
    ]


def real_value(code: int, scale: float, zero_point: int) -> float:
    """Return what a code means: ``scale (code - zero_point)``; a function, as costs count."""
    return scale * float(code - zero_point)


def largest(values: Sequence[float]) -> int:
    """Return the place of the largest value, the lowest of several."""
    found = 0
    for place in range(1, len(values)):
        if values[place] > values[found]:
            found = place
    return found
