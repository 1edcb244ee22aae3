# SPDX-License-Identifier: Apache-2.0
"""Sweeps of ``aocq table2``, ``ablate``, ``targets``: their options' meaning, cells to table."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli.console import print_columns
from aocq.tasks.names import CLASSIFICATION

if TYPE_CHECKING:
    from aocq.jobs.cells import Cell
    from aocq.jobs.request import ModelRequest
    from aocq.jobs.sweep import Outcome
    from aocq.jobs.without_weights import NetworkSizes
    from reports.picture import Picture
    from reports.rows import TableRow
    from reports.sweep_table import Block

_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
Bits = Annotated[str, typer.Option("--bits", help="bits of weights/activations, with commas")]


def parse_widths(text: str) -> list[tuple[int, int]]:
    """Return ``8/8,8/16`` as (weight bits, activation bits) pairs; a usage error otherwise."""
    pairs = []
    for part in text.split(","):
        found = re.fullmatch(r"([2-8])/([3-8]|16)", part.strip())
        if not found:
            raise typer.BadParameter(
                f"{part.strip()!r} is not WEIGHTS/ACTIVATIONS, 2 to 8 bits and 3 to 8 (or 16), "
                "e.g. 4/8"
            )
        pairs.append((int(found[1]), int(found[2])))
    return list(dict.fromkeys(pairs))


def parse_model(text: str) -> tuple[str, Path | None]:
    """Return ``MODEL`` or ``MODEL=WEIGHTS`` as name and checkpoint."""
    name, _, weights = text.partition("=")
    return name, Path(weights) if weights else None


def rows_of_sizes(found: NetworkSizes) -> list[TableRow]:
    """Return a network's rows of sizes and costs: float, then each width; or the reason in each."""
    from reports.rows import SIZES_ONLY, TableRow, float_row, sized_row
    from simulator.settings import typed

    if found.model is None:
        return [
            TableRow(
                model=found.request.name,
                method=SIZES_ONLY,
                w_bits=weight_bits,
                a_bits=activation_bits,
                arguments=typed(found.request.arguments),
                classes=found.request.classes,
                note=f"no sizes: {found.reason}",
            )
            for weight_bits, activation_bits in found.widths
        ]
    rows = [float_row(found.model)]
    for sizes in found.sizes:
        widths = (sizes.weight_bits, sizes.activation_bits)
        costs = (sizes.graph, sizes.memory, sizes.cycles, sizes.latency_ms)
        rows.append(sized_row(found.model, *costs, widths))
    return [replace(row, classes=found.request.classes) for row in rows]


def rows_of_cell(cell: Cell, outcome: Outcome, out: Path) -> list[TableRow]:
    """Return what a table in ``out`` says of a cell: its run, or why there is none."""
    from aocq.jobs.without_weights import UnrunSizes
    from aocq.records.run import RunResult
    from reports.rows import FLOAT, TableRow, run_row
    from simulator.settings import typed

    request = cell.request
    if isinstance(outcome, RunResult):
        return [run_row(outcome, cell.variant, str(request.out.relative_to(out)))]
    if isinstance(outcome, UnrunSizes):
        sizes = [row for row in rows_of_sizes(outcome.found) if row.method != FLOAT]
        reason = f"no run: {outcome.reason}"
        return [replace(row, note="; ".join(filter(None, (reason, row.note)))) for row in sizes]
    weight_bits, activation_bits = cell.widths
    return [
        TableRow(
            model=request.model.name,
            method=request.calibration.method,
            w_bits=weight_bits,
            a_bits=activation_bits,
            variant=cell.variant,
            arguments=typed(request.model.arguments),
            classes=request.model.classes,
            note=f"no run: {outcome}",
        )
    ]


def table_of_sizes(
    models: Sequence[ModelRequest],
    profile: str,
    widths: Sequence[tuple[int, int]],
    name: str,
    title: str,
    out: Path,
    *,
    end_bits: int | None = None,
    task: str = CLASSIFICATION,
) -> list[TableRow]:
    """Size every network up, write the table after each, print it at the end.

    A name that timm does not have is refused before the first.
    """
    from aocq import progress
    from aocq.jobs.without_weights import sizes_or_reason
    from aocq.zoo.published import check_name, networks

    for model in models:
        check_name(model.name, networks())
    rows: list[TableRow] = []
    for model in models:
        show, note = progress.show, progress.note
        found = sizes_or_reason(model, profile, widths, show, note, end_bits=end_bits, task=task)
        rows += rows_of_sizes(found)
        publish_table(name, title, rows, out)
    print_table(rows)
    print(f"table: {out / name}.md", file=sys.stderr)
    return rows


def run_table(
    cells: Sequence[Cell],
    name: str,
    title: str,
    out: Path,
    *,
    skip_impossible: bool = False,
    size_without_weights: bool = False,
    beside: Callable[[Sequence[TableRow]], Mapping[str, str]] | None = None,
) -> list[TableRow]:
    """Run the cells, write the table after every one, print it at the end.

    ``skip_impossible`` and ``size_without_weights`` are those of
    :func:`aocq.jobs.sweep.run_cells`; ``beside`` returns the texts of files that are published with
    the rows that are there, by name.
    """
    from aocq import progress
    from aocq.jobs.sweep import run_cells
    from reports.write import write_report

    first = cells[0].request
    if first.calibration.folder == first.evaluation.folder:
        progress.note("calibrating on images of --data itself (--calib-data keeps the two apart)")
    rows: list[TableRow] = []
    for cell, outcome in run_cells(
        cells,
        progress.show,
        progress.note,
        write_report,
        skip_impossible=skip_impossible,
        size_without_weights=size_without_weights,
    ):
        rows += rows_of_cell(cell, outcome, out)
        publish_table(name, title, rows, out, texts=beside(rows) if beside else {})
    print_table(rows)
    print(f"table: {out / name}.md", file=sys.stderr)
    return rows


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
) -> None:
    """Let a table take the place of the command's earlier one in ``out``, which is claimed.

    ``blocks`` are those of :func:`reports.sweep_table.write_table`; ``figure`` and ``texts`` (of
    other files, by name) are the table's own.
    """
    from aocq.records.publishing import publish, staging
    from reports.sweep_table import write_table
    from simulator.files import write_text

    complete = staging(out)
    write_table(name, title, rows, complete, blocks)
    if figure is not None:
        figure.write(complete, name)
    for file, text in texts.items():
        write_text(complete / file, text)
    publish(out, name, title)


def exit_if_cells_failed(rows: Sequence[TableRow]) -> None:
    """Say how many cells could not be run, and exit with 3, if any."""
    from reports.rows import FLOAT

    cells = [row for row in rows if row.method != FLOAT]
    failed = sum(row.cycles is None for row in cells)
    if failed:
        print(f"error: {failed} of {len(cells)} cells could not be run, see above", file=sys.stderr)
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
