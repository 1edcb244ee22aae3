# SPDX-License-Identifier: Apache-2.0
"""What ``aocq front`` sorts: finished runs below folders, and rows of sweeps of costs alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from aocq.records.distinct_names import distinct

if TYPE_CHECKING:
    from reports.front import Design
    from reports.rows import TableRow


def designs_below(folders: list[Path], out: Path) -> list[Design]:
    """Return the runs and the rows of costs alone below folders, each once, in order of names.

    A run that a sweep's table has is named by what differs in that table, else by its folder. Other
    runs below a folder that has such a table are left out, and counted in a note.

    Raises
    ------
    InputError
        If a folder holds none, or a record or a table cannot be read.
    """
    from aocq.records.run_folder import RUN_NAME
    from reports.front import Design
    from reports.rows import FLOAT
    from reports.table_file import TABLE_NAME, read_table
    from simulator.errors import InputError

    runs: dict[Path, str] = {}
    tables: dict[Path, str] = {}
    rows: dict[Path, list[TableRow]] = {}
    for folder in folders:
        of_runs, of_tables = _holders(folder, RUN_NAME), _holders(folder, TABLE_NAME)
        if not of_runs and not of_tables:
            raise InputError(
                f"{folder}: no {RUN_NAME} and no {TABLE_NAME} in it or below; name what --out named"
            )
        for place in of_tables:
            if place not in rows:
                rows[place] = read_table(place / TABLE_NAME)
        _add_new(runs, _in_tables(of_runs, {place: rows[place] for place in of_tables}))
        _add_new(tables, of_tables)
    of_table: dict[Path, tuple[str, TableRow]] = {}
    without_runs: list[Design] = []
    for place, name in tables.items():
        for row in rows[place]:
            told = f"{name}: {_told(row)}"
            if row.run:
                of_table[(place / row.run).resolve()] = (told, row)
            elif row.method != FLOAT:
                without_runs.append(Design(name=told, row=row, misfit=_misfit(row)))
    _note_missing(of_table)
    found = [
        _of_run(place, name, of_table.get(place.resolve()), out) for place, name in runs.items()
    ]
    return _each_named_once([*found, *without_runs])


def _holders(folder: Path, name: str) -> dict[Path, str]:
    """Return the folders that hold a file, at any depth, with what a table calls them."""
    from aocq.records.claim import WORK

    found = [path.parent for path in sorted(folder.rglob(name)) if WORK not in path.parts]
    return {place: str(place.relative_to(folder.parent)) for place in found}


def _in_tables(runs: dict[Path, str], tables: Mapping[Path, Sequence[TableRow]]) -> dict[Path, str]:
    """Return the runs without those that lie below a table's folder and are in no table.

    Such runs are of earlier content of a profile or of a plan, or of few images before more.
    """
    from aocq import progress
    from reports.format import plural
    from reports.table_file import TABLE_NAME

    named = {(at / row.run).resolve() for at, rows in tables.items() for row in rows if row.run}
    found = dict(runs)
    for at in sorted(tables, key=lambda table: -len(table.parts)):  # the innermost table tells
        others = [place for place in found if at in (place, *place.parents)]
        others = [place for place in others if place.resolve() not in named]
        for place in others:
            del found[place]
        if others:
            progress.note(
                f"{at}: {plural(len(others), 'run')} left out that no row of {TABLE_NAME} names "
                "(other content of a plan, or few images before more)"
            )
    return found


def _add_new(known: dict[Path, str], found: dict[Path, str]) -> None:
    """Add folders that are not known by another path."""
    there = {place.resolve() for place in known}
    known |= {place: name for place, name in found.items() if place.resolve() not in there}


def _note_missing(of_table: dict[Path, tuple[str, TableRow]]) -> None:
    """Say which rows name a run that is not in its place."""
    from aocq import progress
    from aocq.records.run_folder import RUN_NAME

    for place, (told, _) in of_table.items():
        if not (place / RUN_NAME).is_file():
            progress.note(f"{told}: left out, its run is not in {place}")


def _of_run(place: Path, name: str, in_table: tuple[str, TableRow] | None, out: Path) -> Design:
    """Return a finished run as a design, with what its sweep's table says of it."""
    from aocq import progress
    from aocq.records.cost_gates import fits_sram, placed
    from aocq.records.finished import note_changes
    from aocq.records.run_folder import load_record
    from reports.front import Design
    from reports.rows import run_row

    result = load_record(place)
    note_changes(place, progress.note)
    variant = {"profile": result.profile.name}
    if in_table is not None:
        name, row = in_table
        variant |= row.variant
    # By the costs and not by the verdict, which gates on accuracy or time may have made a NO.
    held = (fits_sram(result.memory), placed(result.cycles.unplaced))
    return Design(
        name=name,
        row=run_row(result, variant, str(place)),
        page=_page(place, out),
        misfit="; ".join(each.reason for each in held if each.outcome == "fail"),
    )


def _misfit(row: TableRow) -> str:
    """Return why a row of costs alone does not fit its chip; older tables have sizes alone."""
    needed, available = row.peak_sram_bytes, row.sram_bytes
    if row.feasible is False:
        return row.reason
    if needed is not None and available is not None and needed > available:
        return f"activations need {needed:,} bytes of SRAM (ESTIMATED), it has {available:,}"
    return ""


def _told(row: TableRow) -> str:
    variant = "".join(f", {name} {value}" for name, value in row.variant.items() if value)
    return f"{row.model} {row.method} W{row.w_bits}A{row.a_bits}{variant}"


def _each_named_once(designs: list[Design]) -> list[Design]:
    """Return the designs with a number behind each name that came before."""
    names = distinct(design.name for design in designs)
    return [replace(design, name=name) for design, name in zip(designs, names, strict=True)]


def _page(folder: Path, out: Path) -> str:
    """Return the address of a run's report, relative to ``out``; empty without one."""
    from reports.write import PAGE_NAME

    report = folder / PAGE_NAME
    return quote(os.path.relpath(report.absolute(), out.absolute())) if report.is_file() else ""
