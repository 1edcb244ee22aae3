# SPDX-License-Identifier: Apache-2.0
"""Tables of commands over many runs: made run by run, published, printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import typer

from aocq.cli.console import print_columns

if TYPE_CHECKING:
    from aocq.cli.sweeps import RunningOptions
    from aocq.jobs.request import ModelRequest
    from aocq.sweeps.designs import Design
    from aocq.sweeps.runs import Planned
    from aocq.sweeps.unit import Outcome
    from reports.picture import Picture
    from reports.rows import TableRow
    from reports.sweep_table import Block

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Table:
    """The table of a command over many runs.

    Attributes
    ----------
    name
        of its files, without their endings
    out
        its folder, which the command has claimed
    beside
        returns the texts of files that are published with the rows that are there, by name
    skip_impossible, size_without_weights
        see :mod:`aocq.sweeps.cell_units`
    """

    name: str
    title: str
    out: Path
    beside: Callable[[Sequence[TableRow]], Mapping[str, str]] = lambda rows: {}
    skip_impossible: bool = False
    size_without_weights: bool = False


def table_of_sizes(
    table: Table,
    models: Sequence[ModelRequest],
    profile: str,
    widths: Sequence[tuple[int, int]],
    end_bits: int | None,
    task: str,
) -> list[TableRow]:
    """Size every network up, write the table after each, print it at the end.

    A name that timm does not have is refused before the first.
    """
    from aocq import progress
    from aocq.jobs.without_weights import sizes_or_reason
    from aocq.sweeps.cell_rows import rows_of_sizes
    from aocq.zoo.published import check_name, networks

    for model in models:
        check_name(model.name, networks())
    rows: list[TableRow] = []
    for model in models:
        show, note = progress.show, progress.note
        found = sizes_or_reason(model, profile, widths, show, note, end_bits=end_bits, task=task)
        rows += rows_of_sizes(found)
        publish_table(table.name, table.title, rows, table.out)
    return printed(table, rows)


def run_table(table: Table, cells: Sequence[Design], running: RunningOptions) -> list[TableRow]:
    """Run the cells, write the table after every one, print it at the end.

    Cells that are only to have sizes are one row, where several are of one network and its widths.

    Raises
    ------
    Exit
        With ``--dry-run``, when the cells are printed.
    """
    from aocq import progress
    from aocq.sweeps.cell_rows import cell_row
    from aocq.sweeps.cell_units import check_cells, planned_cells
    from aocq.sweeps.runs import run_all

    alone = running.workers == 1
    runs = planned_cells(
        cells, table.out, numbered=alone, size_without_weights=table.size_without_weights
    )
    if running.dry_run:
        print_forecast(runs, running.workers, retry_failed=running.retry_failed)
        raise typer.Exit
    first = cells[0].request
    if first.calibration.folder == first.evaluation.folder:
        progress.note("calibrating on images of --data itself (--calib-data keeps the two apart)")
    check_cells(runs, skip_impossible=table.skip_impossible)
    names = [run.unit.name if run.unit else run.design.name for run in runs]
    found: dict[int, TableRow] = {}
    rows: list[TableRow] = []
    with running.pool(len(runs)) as pool:
        for ended in run_all(
            runs,
            pool,
            (lambda line: None) if alone else say,
            progress.note,
            retry_failed=running.retry_failed,
            row_of=cell_row,
        ):
            if alone:
                note_end(names[ended.place], ended.outcome)
            found[ended.place] = ended.row
            rows = []
            for _, row in sorted(found.items()):
                if row not in rows:
                    rows.append(row)
            publish_table(table.name, table.title, rows, table.out, texts=table.beside(rows))
    return printed(table, rows)


def printed(table: Table, rows: list[TableRow]) -> list[TableRow]:
    """Print a table's rows on stdout and where its files are, and return the rows."""
    print_table(rows)
    print(f"table: {table.out / table.name}.md", file=sys.stderr)
    return rows


def note_end(name: str, outcome: Outcome) -> None:
    """Say so where a cell was not made now, or could not be."""
    from aocq import progress
    from aocq.sweeps.run_state import RETRY
    from aocq.sweeps.unit import Failed

    if isinstance(outcome, Failed):
        progress.note(f"{name}: {outcome.reason}{RETRY if outcome.earlier else ''}")
    elif outcome.earlier:
        progress.note(f"{name}: finished before")


def print_forecast(
    runs: Sequence[Planned], workers: int, of: str = "", *, retry_failed: bool
) -> None:
    """Print runs on stdout, how many there are and how long the rest will take.

    ``of`` says of what they are the product.
    """
    from aocq.sweeps.remaining import MODEL, in_words
    from aocq.sweeps.runs import forecast
    from simulator.control_characters import escaped

    found = forecast(runs, workers, retry_failed=retry_failed)
    for run in runs:
        why = f": no run: {run.design.chip.reason}" if run.unit is None else ""
        print(escaped(f"{run.design.name}{why}"))
    print(f"{found.runs} runs{of and ': '}{of}")
    print(f"{found.finished} are finished, {found.failed} failed, {found.left} are left")
    basis = "by those that are finished" if found.measured else f"a guess: {MODEL}"
    print(f"about {in_words(found.seconds)} with {workers} workers ({basis})")


def say(text: str) -> None:
    """Print a line on stderr."""
    from simulator.control_characters import escaped

    print(escaped(text), file=sys.stderr, flush=True)


@contextmanager
def claimed_table(out: Path, name: str) -> Iterator[None]:
    """Hold the sole right to publish the table ``name`` into ``out``.

    Raises
    ------
    InputError
        If another command holds it, or ``out`` cannot be written or holds a run.
    """
    from aocq import progress
    from aocq.records.publishing import claimed, refuse_blocked
    from aocq.records.run_folder import refuse_run_folder

    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_blocked(out, [f"{name}.{ending}" for ending in ("md", "csv", "json")])
        yield


def publish_table(
    name: str,
    title: str,
    rows: Sequence[TableRow],
    out: Path,
    blocks: Sequence[Block] = (),
    figure: Picture | None = None,
    texts: Mapping[str, str] = _NO_TEXTS,
    *,
    chips: bool = False,
) -> None:
    """Let a table take the place of the command's earlier one in ``out``, which is claimed.

    ``blocks`` and ``chips`` are those of :func:`reports.sweep_table.write_table`; ``figure`` and
    ``texts`` (of other files, by name) are the table's own.
    """
    from aocq.records.publishing import publish, staging
    from reports.sweep_table import write_table
    from simulator.files import write_text

    complete = staging(out)
    write_table(name, title, rows, complete, blocks, chips=chips)
    if figure is not None:
        figure.write(complete, name)
    for file, text in texts.items():
        write_text(complete / file, text)
    publish(out, name, title)


def exit_if_cells_failed(rows: Sequence[TableRow]) -> None:
    """Say how many cells could not be run, and exit with 3, if any."""
    from reports.rows import FLOAT

    cells = [row for row in rows if row.method != FLOAT]
    exit_if_failed(sum(row.cycles is None for row in cells), len(cells), "cells")


def exit_if_failed(failed: int, of: int, what: str) -> None:
    """Say how many could not be run, and exit with 3, if any."""
    if failed:
        print(f"error: {failed} of {of} {what} could not be run, see above", file=sys.stderr)
        raise typer.Exit(3)


def print_table(rows: Sequence[TableRow]) -> None:
    """Print the table on stdout, and below it what must be said of single chips."""
    from reports.alike import warnings
    from reports.chips import chip_legend
    from reports.sweep_table import differ_in_profile, in_common, notes_on, said, terminal

    for line in filter(None, (*warnings(rows), said(in_common(rows)))):
        print(line)
    print_columns(*terminal(rows))
    if differ_in_profile(rows):
        print(chip_legend(rows))
        for note in notes_on(rows):
            print(note)
