# SPDX-License-Identifier: Apache-2.0
"""Timing in turns: every side runs once in every round, and rounds are compared, not averages.

A machine that others share, or that changes its clock, is slow for both sides of a round. A ratio
of times from one round therefore says more than either time, and the median of such ratios more
than the ratio of medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of those that are compared.

    Attributes
    ----------
    name
        unique among the sides
    turn
        does its work once and returns the seconds of one unit (an image, a product)
    """

    name: str
    turn: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Ratios of one round each: their median, and the least and the most of them."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def cpu_seconds(job: Callable[[], object], at_least: float = 0.0) -> float:
    """Return the mean processor seconds of ``job``, done until ``at_least`` seconds have passed.

    For work on one core: time that the core spends on another process does not count. Those of all
    threads of this process do, so that nobody gains by starting more.
    """
    done = 0
    start = time.process_time()
    while True:
        job()
        done += 1
        passed = time.process_time() - start
        if passed >= at_least:
            return passed / done


def take_turns(
    sides: Sequence[Side], pairs: int, note: Callable[[str], None] | None = None
) -> Mapping[str, Sequence[float]]:
    """Run every side once a round; return the seconds of all rounds by name.

    Every other round goes backwards, so that nobody always follows the same neighbour.

    Parameters
    ----------
    note
        called with a line after every round
    """
    found: dict[str, list[float]] = {side.name: [] for side in sides}
    for index in range(pairs):
        for side in sides if index % 2 == 0 else reversed(sides):
            found[side.name].append(side.turn())
        if note:
            times = ", ".join(f"{name} {times[-1] * 1e3:.4g} ms" for name, times in found.items())
            note(f"round {index + 1} of {pairs}: {times}")
    return found


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Compare two sides round by round: how many times ``denominator`` fits ``numerator``."""
    found = [a / b for a, b in zip(numerator, denominator, strict=True)]
    return Ratio(median=statistics.median(found), least=min(found), most=max(found))


def images_of_a_turn(seconds_per_image: float, wanted: float, step: int, most: int) -> int:
    """Return how many images fill ``wanted`` seconds: a multiple of ``step``, ``most`` or fewer.

    At least one step, even where that takes longer.
    """
    steps = int(np.clip(round(wanted / seconds_per_image / step), 1, max(most // step, 1)))
    return steps * step


def talk(text: str) -> None:
    """Print a line of progress; results go to files and to stdout, talk to stderr."""
    print(text, file=sys.stderr, flush=True)
