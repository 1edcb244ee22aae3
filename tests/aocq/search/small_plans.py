# SPDX-License-Identifier: Apache-2.0
"""A few places with scores and costs that can be added up by hand."""

from __future__ import annotations

from aocq.records.design_costs import DesignCosts
from aocq.search.places import Place
from aocq.search.plan import StepCosts

A, B, C = (Place(op=name, widths=(3, 4, 8)) for name in ("a", "b", "c"))
PLACES = (A, B, C)
ELEMENTS = {A: 1000, B: 1000, C: 4000}
AT_FOUR = {A: 0.04, B: 0.01, C: 0.02}  # shares of noise
REST = 0.01
UNIFORM = dict.fromkeys(PLACES, 4)


def scores() -> dict[tuple[Place, int], float]:
    """A quarter for each bit more."""
    return {
        (place, bits): noise * 4.0 ** (4 - bits)
        for place, noise in AT_FOUR.items()
        for bits in place.widths
    }


def cost(weight_bytes: float) -> DesignCosts:
    return DesignCosts(weight_bytes=weight_bytes, cycles=0, latency_ms=0.0, peak_sram_bytes=0)


def step_costs() -> StepCosts:
    """Weights packed at their bits."""
    added = {
        (place, bits): cost(ELEMENTS[place] * (bits - 4) / 8)
        for place in PLACES
        for bits in place.widths
        if bits != 4
    }
    return StepCosts(start=UNIFORM, costs=cost(sum(ELEMENTS.values()) / 2), added=added)
