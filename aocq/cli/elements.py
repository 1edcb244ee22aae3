# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate --grid elements``: what each element of a recipe gains, and what it costs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import recipes, sweeps
from aocq.cli.groups import OptionGroup
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.fields import field_specs

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.sweeps.elements import Element, Variation
    from reports.element_table import ElementRow
    from reports.rows import TableRow
    from simulator.profile import NpuProfile


@dataclass(frozen=True, kw_only=True)
class ElementOptions(OptionGroup):
    """Options of ``--grid elements`` alone."""

    elements: Annotated[
        str | None,
        typer.Option(
            "--elements",
            help="of --grid elements: only the rows of these, short names with commas (default: "
            "all that the profile has)",
        ),
    ] = None
    hadamard_block: Annotated[
        int,
        recipes.option(
            field_specs(AocqOptions)["hadamard_block"],
            "of --grid elements: largest order of rotations by additions; 0: all channels",
        ),
    ] = 0


def run_elements(
    template: VerifyRequest,
    title: str,
    options: ElementOptions,
    running: sweeps.RunningOptions,
) -> list[TableRow]:
    """Run the rows of an ablation of elements into ``template.out``, which is claimed.

    Raises
    ------
    BadParameter
        If an element is named that the profile does not have, or its rotations' order is asked for.
    InputError
        If the profile cannot hold the full recipe.
    """
    from aocq.records.publishing import refuse_blocked
    from aocq.sweeps.cell_units import advice_for_tables, impossible_for
    from aocq.sweeps.elements import END_BITS, cells_of, elements_of, variations
    from reports.element_table import FILES, files
    from simulator.errors import InputError
    from simulator.profile import load_profile

    profile = load_profile(template.profile)
    asked = template.calibration
    _check_block(profile, options.hadamard_block)
    refuse_blocked(template.out, FILES)
    rotated = replace(asked.recipe.aocq, hadamard_block=options.hadamard_block)
    template = replace(
        template, calibration=replace(asked, recipe=replace(asked.recipe, aocq=rotated))
    )
    end_bits = asked.recipe.end_bits or END_BITS
    elements = elements_of(profile, end_bits)
    wanted = _wanted(elements, options.elements)
    rows = [row for row in variations(elements) if row.element is None or row.element.key in wanted]
    known: dict[str, Mapping[str, float | None]] = {}

    def beside(table: Sequence[TableRow]) -> dict[str, str]:
        return files(title, _element_rows(rows, table, template.out, known))

    cells = cells_of(template, profile, rows)
    problem = impossible_for(cells[0])
    if problem is not None:  # of every row, then
        raise InputError(advice_for_tables(problem))
    out = template.out
    table = sweeps.Table(name="ablate", title=title, out=out, beside=beside, skip_impossible=True)
    found = sweeps.run_table(table, cells, running)
    print(f"gains and costs: {template.out / 'elements.md'}", file=sys.stderr)
    return found


def _check_block(profile: NpuProfile, block: int) -> None:
    """Check that rotations of an order are some of the profile's; a usage error otherwise."""
    largest = profile.hadamard.largest_order if profile.hadamard else 0
    if block > largest:
        has = f"hadamard.largest_order is {largest}" if largest else "has no table [hadamard]"
        raise typer.BadParameter(f"--hadamard-block {block}: profile {profile.name}: {has}")


def _wanted(elements: Sequence[Element], text: str | None) -> set[str]:
    """Return the short names of the elements whose rows are asked for."""
    known = {each.key for each in elements}
    wanted = known if text is None else {part.strip() for part in text.split(",")}
    if unknown := sorted(wanted - known):
        raise typer.BadParameter(
            f"--elements: no element {', '.join(map(repr, unknown))} of this profile; choose from "
            f"{', '.join(each.key for each in elements)}"
        )
    return wanted


def _element_rows(
    rows: Sequence[Variation],
    found: Sequence[TableRow],
    out: Path,
    known: dict[str, Mapping[str, float | None]],
) -> list[ElementRow]:
    """Return the rows that are there; ``known`` keeps the figures of runs, by folder."""
    from reports.element_table import ElementRow

    by_labels = {tuple(each.variant.values()): each for each in found}
    table = []
    for row in rows:
        of_run = by_labels.get(tuple(row.labels().values()))
        if of_run is None:  # not run yet
            continue
        if of_run.run and of_run.run not in known:
            known[of_run.run] = _figures(out / of_run.run)
        table.append(
            ElementRow(
                role=row.role,
                element=row.element.key if row.element else "",
                title=row.element.title if row.element else "",
                against=row.against,
                figures=known.get(of_run.run, {}),
                score=of_run.judged_by.score,
                run=of_run.run,
                note="" if of_run.run else of_run.note,
            )
        )
    return table


def _figures(folder: Path) -> Mapping[str, float | None]:
    """Return the figures of a finished run: of its record, and of the graph that was run."""
    from aocq.records.run_folder import load_run
    from reports.element_table import figures_of
    from simulator.cost.work import work_of
    from simulator.graph import load

    result, ops = load_run(folder)
    on_vector_unit = {op.op for op in ops if op.vector_cycles > 0}
    return figures_of(result, work_of(load(folder), on_vector_unit))
