# SPDX-License-Identifier: Apache-2.0
"""Which images of a run its report shows."""

from __future__ import annotations

from collections.abc import Mapping

from aocq.data.image_folder import evenly

SPREAD, DIFFERENT = 4, 4  # images of each kind


def spread_and_different(apart: Mapping[int, float]) -> tuple[list[int], list[int]]:
    """Return labels spread evenly over all, and those of the others that differ most.

    Parameters
    ----------
    apart
        how much the networks differ in an image, by its label, in the order of the images
    """
    spread = [*evenly(list(apart), SPREAD)]
    rest = [label for label in apart if label not in spread and apart[label] > 0]
    return spread, sorted(rest, key=lambda label: (-apart[label], label))[:DIFFERENT]
