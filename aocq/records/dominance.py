# SPDX-License-Identifier: Apache-2.0
"""Which of many designs no other beats: Pareto dominance, ranks, hypervolume.

A design is a row of losses, one for each axis, of which less is better. It dominates another where
it is no worse on every axis and better on one. Equal designs do not dominate each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dominance:
    """How designs stand to each other; a place for each, in the order they were given.

    Attributes
    ----------
    ranks
        1 of those that no other dominates: the front. Without the front, 2 of those that no other
        dominates, and so on
    beaten_by
        the place of one design of the front that dominates it; -1 on the front
    """

    ranks: NDArray[np.int64]
    beaten_by: NDArray[np.int64]

    @property
    def front(self) -> list[int]:
        """The places of the designs that no other dominates."""
        return [int(place) for place in np.flatnonzero(self.ranks == 1)]


def dominance(losses: Sequence[Sequence[float]] | Losses) -> Dominance:
    """Sort designs by dominance (non-dominated sorting).

    A design's rank is the length of the longest chain of designs that ends with it, each of which
    dominates the next: dominance is transitive, and a front taken away shortens each chain by one.
    In the lexicographic order of losses a design comes behind all that dominate it. Source of the
    ranks: Deb, Pratap, Agarwal and Meyarivan, A fast and elitist multiobjective genetic algorithm:
    NSGA-II, IEEE Transactions on Evolutionary Computation 6 (2002) 182-197, section III.A.

    Parameters
    ----------
    losses
        designs x axes; infinities are values, NaN is none

    Raises
    ------
    ValueError
        If a loss is NaN, or designs have different numbers of axes.
    """
    table = _table(losses)
    if len(table) == 0:
        none = np.zeros(0, np.int64)
        return Dominance(ranks=none, beaten_by=none)
    different, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    ranks = np.ones(len(different), np.int64)
    beaten_by = np.full(len(different), -1)
    for place, design in enumerate(different):
        no_worse = np.flatnonzero((different[:place] <= design).all(axis=1))
        if len(no_worse):
            ranks[place] = ranks[no_worse].max() + 1
            beaten_by[place] = first[no_worse[ranks[no_worse] == 1][0]]
    which = which.reshape(-1)
    return Dominance(ranks=ranks[which], beaten_by=beaten_by[which])


def hypervolume(losses: Sequence[Sequence[float]] | Losses, reference: Sequence[float]) -> float:
    """Return how much of the space in front of ``reference`` designs dominate.

    Its unit is the product of the axes' units. A design that is no better than the reference on
    some axis adds nothing. Source: Zitzler and Thiele, Multiobjective optimization using
    evolutionary algorithms: a comparative case study, PPSN V (1998) 292-301; computed by moocore.

    Parameters
    ----------
    losses
        designs x axes
    reference
        the worst loss that counts, of each axis

    Raises
    ------
    ValueError
        If a loss or a part of the reference is not finite, or the axes are not as many.
    """
    import moocore

    table = _table(losses)
    worst = np.asarray(reference, np.float64)
    if not (np.isfinite(table).all() and np.isfinite(worst).all()):
        raise ValueError("no hypervolume: a loss or the reference is not finite")
    if len(table) == 0:
        return 0.0
    if table.shape[1] != len(worst):
        raise ValueError(f"{len(worst)} parts of a reference for {table.shape[1]} axes")
    return float(moocore.hypervolume(table, ref=worst))


def _table(losses: Sequence[Sequence[float]] | Losses) -> Losses:
    table = np.asarray(losses, np.float64)
    if len(table) and (table.ndim != 2 or table.shape[1] == 0):
        raise ValueError("losses are not of designs x axes")
    if np.isnan(table).any():
        raise ValueError("a loss is not a number")
    return table
