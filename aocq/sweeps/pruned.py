# SPDX-License-Identifier: Apache-2.0
"""All designs on few images, the promising ones on many: which are, and the rows of both waves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aocq.records.axes import AXES, DEFAULT_AXES
from aocq.records.pruning import MEASURES, Decision, promising_runs
from aocq.records.run import RunResult
from aocq.sweeps.designs import Design
from aocq.sweeps.runs import Ended, at_images
from aocq.sweeps.unit import Made
from reports.rows import TableRow
from simulator.errors import InputError

PRUNED = "not run on more images"

__all__ = ["DEFAULT_AXES", "Pruning", "check_axes", "promising_designs", "pruned_row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """On how many images promising designs are run, and by what these are chosen.

    ``axes`` are names of :data:`aocq.records.axes.AXES`, see
    :func:`aocq.records.pruning.promising_runs`.
    """

    images: int
    axes: tuple[str, ...]
    confidence: float


def check_axes(axes: Sequence[str]) -> None:
    """Check that designs can be pruned by these axes.

    Raises
    ------
    InputError
        If there is no such axis, or they are not one that few images decide on, and costs.
    """
    unknown = [name for name in axes if name not in AXES]
    if unknown:
        raise InputError(f"--axes {unknown[0]}: no such axis; choose from {', '.join(AXES)}")
    of_images = [name for name in axes if AXES[name].of_images]
    if len(of_images) != 1 or of_images[0] not in MEASURES:
        raise InputError(
            f"--axes {','.join(axes)}: one of {', '.join(MEASURES)} is wanted, on which few images "
            "decide, beside axes of costs"
        )


def promising_designs(
    designs: Sequence[Design],
    ended: Mapping[int, Ended],
    pruning: Pruning,
) -> tuple[list[tuple[int, Design]], dict[int, Decision]]:
    """Return the designs that go on to many images, with their places; and what was decided of all.

    Designs without a run on few images are in neither.
    """
    few: dict[str, RunResult] = {}
    places: dict[str, int] = {}
    for place, each in sorted(ended.items()):
        if isinstance(each.outcome, Made):
            few[designs[place].name] = each.outcome.value
            places[designs[place].name] = place
    found = promising_runs(few, pruning.axes, pruning.confidence)
    decisions = {places[each.name]: each for each in found}
    kept = [place for place, decision in sorted(decisions.items()) if decision.kept]
    chosen = at_images([designs[place] for place in kept], pruning.images)
    return list(zip(kept, chosen, strict=True)), decisions


def pruned_row(row: TableRow, decision: Decision) -> TableRow:
    """Return the row of a design's run on few images, which says why it has none on many."""
    note = "; ".join(filter(None, (row.note, f"{PRUNED}: {decision.reason}")))
    return replace(row, note=note)
