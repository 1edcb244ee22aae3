# SPDX-License-Identifier: Apache-2.0
"""Greedy steps through the widths of a network: the most noise taken away for what it costs.

A plan starts with the lowest widths everywhere and gives one place after the other a higher one:
of all steps that fit the budget, the one of most score gained per cost. Costs are estimated to be
the sum of what single steps cost, a step's cost being the mean share of the budget that it takes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aocq.records.design_costs import DesignCosts
from aocq.search.budget import Budget, exceeded, in_words
from aocq.search.noise_model import NoiseModel
from aocq.search.places import Place, Widths
from simulator.errors import InputError

# What a step costs beside its share of the budget, so that of free steps the better one is first.
LEAST_PRICE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCosts:
    """Costs of one design, and what another width at a single place would add to them.

    Attributes
    ----------
    start
        the design
    costs
        its own
    added
        by place and bits, less than nothing for lower ones
    """

    start: Widths
    costs: DesignCosts
    added: Mapping[tuple[Place, int], DesignCosts]

    def of(self, widths: Widths) -> DesignCosts:
        """Return what a design costs by this estimate."""
        found = self.costs
        for place, bits in widths.items():
            if bits != self.start[place]:
                found = found.plus(self.added[place, bits])
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A place's change of width, and the design with it."""

    place: Place
    bits: int
    widths: Widths


def lowest(places: Collection[Place]) -> dict[Place, int]:
    """Return the lowest width of every place."""
    return {place: place.widths[0] for place in places}


def check_affordable(costs: StepCosts, budget: Budget) -> None:
    """Check that the lowest widths are within a budget.

    Raises
    ------
    InputError
        If they are above it, or a cost that it limits is not known.
    """
    least = costs.of(lowest(costs.start))
    if exceeded(least, budget):
        raise InputError(
            "no recipe of this network is within the budget: the lowest widths everywhere have "
            f"{in_words(least, budget)}; raise the budget, or choose another profile"
        )


def plan(
    noise: NoiseModel,
    costs: StepCosts,
    budget: Budget,
    held: Mapping[Place, int] | None = None,
) -> list[Step]:
    """Return the steps from the lowest widths up to a budget, in their order.

    Parameters
    ----------
    held
        places that have a width and keep it

    Returns
    -------
    none where the lowest widths are above the budget
    """
    kept = held or {}
    axes = list(budget)
    most = np.array([budget[axis] for axis in axes])
    added = {key: np.array([cost.of(axis) for axis in axes]) for key, cost in costs.added.items()}
    nothing = np.zeros(len(axes))
    widths = {**lowest(costs.start), **kept}
    total = np.array([costs.of(widths).of(axis) for axis in axes])
    steps: list[Step] = []
    if (total > most).any():
        return steps
    while True:
        best, rate, best_total = None, 0.0, total
        for place, bits in _higher(widths, kept):
            gain = noise.at(place, widths[place]) - noise.at(place, bits)
            own = added.get((place, widths[place]), nothing)
            after = total - own + added.get((place, bits), nothing)
            if gain <= 0 or (after > most).any():
                continue
            price = max(float(((after - total) / most).mean()), LEAST_PRICE)
            if gain / price > rate:
                best, rate, best_total = (place, bits), gain / price, after
        if best is None:
            return steps
        widths, total = widths | {best[0]: best[1]}, best_total
        steps.append(Step(place=best[0], bits=best[1], widths=widths))


def _higher(widths: Widths, kept: Collection[Place]) -> Iterator[tuple[Place, int]]:
    for place, now in widths.items():
        if place not in kept:
            yield from ((place, bits) for bits in place.widths if bits > now)


def neighbours(
    noise: NoiseModel, costs: StepCosts, budget: Budget, known: Collection[Widths]
) -> list[Widths]:
    """Return designs that plans end in with one place held at some width, the best first.

    Those in ``known`` are left out.
    """
    found: list[Widths] = []
    for place in costs.start:
        for bits in place.widths:
            steps = plan(noise, costs, budget, {place: bits})
            if steps and steps[-1].widths not in [*found, *known]:
                found.append(steps[-1].widths)
    return sorted(found, key=noise.noise)


def spread(steps: Sequence[Step], count: int, noise: NoiseModel, start: Widths) -> list[Widths]:
    """Return designs along a plan, evenly chosen, its last among them.

    Of those that should have no more noise than the start, if there are any: lower widths than
    those are on the way only.
    """
    most = noise.noise(start)
    worth = [step for step in steps if noise.noise(step.widths) <= most and step.widths != start]
    steps = worth or steps
    places = {len(steps) * (number + 1) // count - 1 for number in range(count)}
    return [steps[place].widths for place in sorted(places) if place >= 0]
