# SPDX-License-Identifier: Apache-2.0
"""Designs sorted by dominance: which of many runs no other beats on the chosen axes.

Only what can be compared is: where an axis depends on images, runs on the same ones, judged by the
same score; where it is an energy, chips of the same process. Each such set has ranks, a front and a
hypervolume of its own. What lacks a figure is in no set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from aocq.records.axes import AXES
from aocq.records.dominance import dominance, hypervolume
from reports.alike import judged_on, network
from reports.format import count, plural
from reports.rows import TableRow

Reference = Mapping[str, float]
NO_REFERENCE: Reference = MappingProxyType({})
MISFIT = " (does not fit its chip)"  # behind a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """A run, or a row of a sweep of costs alone.

    name : that tells it from all others
    page : address of its report, relative to the page of the front; empty without one
    misfit : why its chip cannot run it, a sentence; empty where it fits, or that is not known
    """

    name: str
    row: TableRow
    page: str = ""
    misfit: str = ""

    @property
    def marked(self) -> str:
        """The name, with a mark where the design does not fit its chip."""
        return f"{self.name}{MISFIT}" if self.misfit else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparable:
    """Designs that can be compared with each other.

    Attributes
    ----------
    title
        what they have in common; empty where nothing had to be
    members
        places of the designs, by rank
    front
        places of those that no other dominates
    equal
        how many have the same figures as another on all axes
    over
        axes of the hypervolume: those on which they differ, or of which a reference was asked for
    best, reference
        of each axis in ``over``: the best figure, and the one that volumes are measured from
    volume
        in the product of the units of ``over``; None where :attr:`why` says why there is none
    share
        of the box between best and reference that is dominated; None without a volume
    """

    title: str
    members: tuple[int, ...]
    front: tuple[int, ...]
    equal: int
    over: tuple[str, ...]
    best: Mapping[str, float]
    reference: Mapping[str, float]
    volume: float | None
    share: float | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Designs, and how they stand to each other; a place for each in every list.

    Attributes
    ----------
    axes
        names in :data:`aocq.records.axes.AXES`
    sets
        of designs that can be compared, the largest first
    set_of
        the place of a design's set; None where it is in none
    ranks
        1 on its set's front; None in no set
    beaten_by
        the place of a design of the front that dominates it; None on the front and in no set
    missing
        axes on which it has no figure
    infeasible
        whether designs that do not fit their chip are in sets too
    order
        places as a table has them: set by set, by rank, by the axes in order; last those in no set
    """

    axes: tuple[str, ...]
    designs: tuple[Design, ...]
    sets: tuple[Comparable, ...]
    set_of: tuple[int | None, ...]
    ranks: tuple[int | None, ...]
    beaten_by: tuple[int | None, ...]
    missing: tuple[tuple[str, ...], ...]
    infeasible: bool = False
    order: tuple[int, ...] = field(default=())

    @property
    def title(self) -> str:
        """What is compared, over which axes."""
        networks = list(dict.fromkeys(network(design.row) for design in self.designs))
        of = networks[0] if len(networks) == 1 else f"{len(networks)} networks"
        over = ", ".join(AXES[name].title for name in self.axes)
        return f"{plural(len(self.designs), 'design')} of {of}: {over}"


def figure(row: TableRow, axis: str) -> float | None:
    """Return a row's figure on an axis, as :func:`aocq.records.axes.figures_of_run` has it."""
    if axis == "drop":
        return None if row.delta is None else 0.0 - row.delta
    if axis == "sqnr_db":
        ran = row.integer_score is not None
        return math.inf if ran and row.logit_sqnr_db is None else row.logit_sqnr_db
    found: float | None = getattr(row, axis)
    return found


def front_of(
    designs: Sequence[Design],
    axes: Sequence[str],
    reference: Reference = NO_REFERENCE,
    *,
    infeasible: bool = False,
) -> Front:
    """Sort designs by dominance over axes.

    Parameters
    ----------
    axes
        names in :data:`aocq.records.axes.AXES`
    reference
        figures that hypervolumes are measured from, by axis; of the others the worst one of a set
    infeasible
        whether designs that do not fit their chip have ranks too; else they are in no set
    """
    table = [[figure(design.row, name) for name in axes] for design in designs]
    missing = [
        tuple(name for name, found in zip(axes, row, strict=True) if found is None) for row in table
    ]
    sets: dict[str, list[int]] = {}
    for place, design in enumerate(designs):
        if not missing[place] and (infeasible or not design.misfit):
            sets.setdefault(_alike(design.row, axes), []).append(place)
    ranks: list[int | None] = [None] * len(designs)
    beaten: list[int | None] = [None] * len(designs)
    set_of: list[int | None] = [None] * len(designs)
    found: list[Comparable] = []
    order: list[int] = []
    for title, places in sorted(sets.items(), key=lambda item: -len(item[1])):
        losses = [
            [AXES[n].loss(f or 0.0) for n, f in zip(axes, table[p], strict=True)] for p in places
        ]
        sorted_ = dominance(losses)
        for place, rank, by in zip(
            places, sorted_.ranks.tolist(), sorted_.beaten_by.tolist(), strict=True
        ):
            ranks[place], set_of[place] = rank, len(found)
            beaten[place] = None if by < 0 else places[by]
        by_rank = sorted(range(len(places)), key=lambda i: (sorted_.ranks[i], losses[i]))
        order += [places[i] for i in by_rank]
        on_front = [places[i] for i in by_rank if sorted_.ranks[i] == 1]
        equal = len(losses) - len({*map(tuple, losses)})
        found.append(
            _set(title, [places[i] for i in by_rank], on_front, equal, axes, table, reference)
        )
    order += [place for place in range(len(designs)) if set_of[place] is None]
    return Front(
        axes=tuple(axes),
        designs=tuple(designs),
        sets=tuple(found),
        set_of=tuple(set_of),
        ranks=tuple(ranks),
        beaten_by=tuple(beaten),
        missing=tuple(missing),
        infeasible=infeasible,
        order=tuple(order),
    )


def _alike(row: TableRow, axes: Sequence[str]) -> str:
    """Return what has to be alike for rows to be compared, in words."""
    parts = []
    if any(AXES[name].of_images for name in axes):
        digest = f" (sha256 {row.data_digest[:8]})" if row.data_digest else ""
        parts += [f"{judged_on(row)}{digest}, {row.judged_by.score.title}"]
    if any(AXES[name].of_process for name in axes) and row.energy_nm is not None:
        parts.append(f"{row.energy_nm:g} nm")
    return ", ".join(parts)


def _set(
    title: str,
    members: Sequence[int],
    on_front: Sequence[int],
    equal: int,
    axes: Sequence[str],
    table: Sequence[Sequence[float | None]],
    reference: Reference,
) -> Comparable:
    """Return a set with its hypervolume, over the axes on which its designs differ."""
    best, worst, over = {}, {}, []
    for column, name in enumerate(axes):
        figures = [table[place][column] or 0.0 for place in members]
        best[name] = min(figures, key=AXES[name].loss)
        worst[name] = reference.get(name, max(figures, key=AXES[name].loss))
        if len({*figures}) > 1 or name in reference:
            over.append(name)
    volume, share, why = None, None, ""
    if not over:
        why = "one design alone" if len(members) == 1 else "all are equal on all axes"
    elif not all(map(math.isfinite, (*(best[n] for n in over), *(worst[n] for n in over)))):
        why = "logits without noise have no finite SQNR"
    else:
        losses = [[AXES[n].loss(table[p][axes.index(n)] or 0.0) for n in over] for p in on_front]
        ends = [AXES[n].loss(worst[n]) for n in over]
        volume = hypervolume(losses, ends)
        box = math.prod(
            max(0.0, end - AXES[n].loss(best[n])) for n, end in zip(over, ends, strict=True)
        )
        share = volume / box if box else None
        why = "" if box else "none is better than the reference on every axis"
    return Comparable(
        title=title,
        members=tuple(members),
        front=tuple(on_front),
        equal=equal,
        over=tuple(over),
        best={name: best[name] for name in over},
        reference={name: worst[name] for name in over},
        volume=volume,
        share=share,
        why=why,
    )


def notes_on(front: Front) -> list[str]:
    """Return what must be said of a front: what is in no set, several sets, equal designs."""
    found = []
    misfits = sum(bool(design.misfit) for design in front.designs)
    if misfits:
        verb = "does" if misfits == 1 else "do"
        ranked = (
            "ranked all the same, marked"
            if front.infeasible
            else "without a rank; --infeasible ranks them too"
        )
        found.append(
            f"{count(misfits)} of {plural(len(front.designs), 'design')} {verb} not fit the chip "
            f"(more SRAM than it has, or ops that it has no place for): {ranked}."
        )
    if len(front.sets) > 1:
        sets = "; ".join(
            f"{found.title} ({plural(len(found.members), 'design')})" for found in front.sets
        )
        found.append(
            f"Designs of {len(front.sets)} sets cannot be compared with each other: {sets}. "
            "Each has ranks, a front and a hypervolume of its own."
        )
    lacking: dict[tuple[str, ...], int] = {}
    for axes in filter(None, front.missing):
        lacking[axes] = lacking.get(axes, 0) + 1
    found += [
        f"{count(number)} of {plural(len(front.designs), 'design')} without a rank: no figure of "
        f"{', '.join(axes)}."
        for axes, number in lacking.items()
    ]
    equal = sum(found.equal for found in front.sets)
    if equal:
        found.append(
            f"{plural(equal, 'design')} with the figures of another on all axes: equal designs "
            "have the same rank."
        )
    return found
