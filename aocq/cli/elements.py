# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate --grid elements``: what each element of a recipe gains, and what it costs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import recipes, sweeps, tables
from aocq.cli.groups import OptionGroup
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.fields import field_specs

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.sweeps.elements import Element
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
    from aocq.sweeps.element_rows import element_rows, figures_in
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
    cells, out = cells_of(template, profile, rows), template.out
    problem = impossible_for(cells[0])
    if problem is not None:  # of every row, then
        raise InputError(advice_for_tables(problem))
    figures = cache(lambda run: figures_in(out / run))

    def beside(found: Sequence[TableRow]) -> dict[str, str]:
        return files(title, element_rows(rows, found, figures))

    table = tables.Table(name="ablate", title=title, out=out, beside=beside, skip_impossible=True)
    found = tables.run_table(table, cells, running)
    print(f"gains and costs: {out / 'elements.md'}", file=sys.stderr)
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
