# SPDX-License-Identifier: Apache-2.0
"""Budgets: the most that a design may cost, by axis. Known without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches

from aocq.records.design_costs import BUDGET_AXES, WHOLE, DesignCosts, most_in_words
from simulator.sizes import parse_size

Budget = Mapping[str, float]


def parse_budget(text: str) -> dict[str, float]:
    """Return ``latency_ms=10,weight_bytes=3e6`` by axis; bytes may have a unit: ``70KiB``.

    Raises
    ------
    ValueError
        If a part is no ``AXIS=NUMBER``, there is no such axis, it is given twice, or the number is
        not finite and above 0.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        axis, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(f"{part.strip()!r}: wanted AXIS=NUMBER, e.g. latency_ms=10")
        if axis not in BUDGET_AXES:
            near = get_close_matches(axis, BUDGET_AXES, 1)
            nearest = f"; nearest: {near[0]}" if near else ""
            known = ", ".join(BUDGET_AXES)
            raise ValueError(f"{axis!r}: no such axis; choose from {known}{nearest}")
        if axis in found:
            raise ValueError(f"{axis}: given twice")
        found[axis] = _positive(axis, value)
    return found


def _positive(axis: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        if not axis.endswith("_bytes"):
            raise ValueError(f"{axis}={text}: not a number; write 3000000 or 3e6") from error
        number = _size(axis, text)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{axis}={text}: wanted a finite number above 0")
    return number


def _size(axis: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise ValueError(f"{axis}={text}: {error}; or write 3e6") from error


def exceeded(costs: DesignCosts, budget: Budget) -> list[str]:
    """Return the axes on which costs are above a budget, or not known, in the budget's order."""
    return [axis for axis, most in budget.items() if costs.of(axis) > most]


def in_words(costs: DesignCosts, budget: Budget) -> str:
    """Return what costs are on the axes of a budget, and what it allows."""
    return ", ".join(
        f"{axis} {_cost(axis, costs.of(axis))} of at most {most_in_words(axis, most)}"
        for axis, most in budget.items()
    )


def _cost(axis: str, cost: float) -> str:
    return f"{math.ceil(cost):,}" if axis in WHOLE else f"{cost:.6g}"
