# SPDX-License-Identifier: Apache-2.0
"""``aocq front``: which of many designs no other beats."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options

if TYPE_CHECKING:
    from reports.rows import TableRow

Axes = Annotated[
    str,
    typer.Option(
        "--axes",
        help="axes, with commas: drop, agreement, sqnr_db, latency_ms, energy_mj, weight_bytes, "
        "peak_sram_bytes, accumulator_bits; of agreement and sqnr_db more is better, of all others "
        "less. Left out: drop,latency_ms,weight_bytes, without drop where no design ran on images",
    ),
]


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(help="folders that hold runs or the tables of sweeps, at any depth"),
    ],
    axes: Axes = "",
    reference: Annotated[
        str,
        typer.Option(
            "--reference",
            help="what hypervolumes are measured from, such as drop=10,latency_ms=50; of an axis "
            "left out the worst figure there is",
        ),
    ] = "",
    out: options.Out = Path("runs/front"),
) -> None:
    """Sort designs by dominance: those on the front are beaten by no other on all axes at once.

    Reads every finished run below the folders, whatever command made it, and the rows of every
    sweep.json that have costs without a run. Needs no torch. Runs on other images, and energies of
    other processes, are not compared: each set has a front of its own, which is said.

    Writes front.html (scatter plot, parallel coordinates, a table by rank, links to reports),
    front.csv, front.json, front.parquet (extra aocq[parquet]), front.md, front.png and front.svg
    into --out, and prints the front with its hypervolume.

    Example: aocq front runs/targets runs/table2 --axes drop,latency_ms,energy_mj --out runs/front

    Example: aocq front runs/sweep --axes latency_ms,peak_sram_bytes --reference latency_ms=20
    """
    from aocq import progress
    from aocq.cli.console import print_columns
    from aocq.cli.front_designs import designs_below
    from aocq.records.publishing import claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import refuse_run_folder
    from reports.front import figure, front_of
    from reports.front_figure import drawn
    from reports.front_files import (
        ENDINGS,
        PARQUET_MISSING,
        said_of,
        volume_in_words,
        write_tables,
        written,
    )
    from reports.front_page import html
    from simulator.files import write_text

    wanted, ends = parse_axes(axes), parse_reference(reference)
    designs = designs_below(folders, out)
    if not wanted:
        wanted = default_axes([design.row for design in designs])
    for name in ends.keys() - {*wanted}:
        raise typer.BadParameter(f"--reference {name}: is not among --axes {','.join(wanted)}")
    front = front_of(designs, wanted, ends)
    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_blocked(out, [f"front.{ending}" for ending in ENDINGS])
        complete = staging(out)
        if not write_tables(front, complete):
            progress.note(PARQUET_MISSING)
        write_text(complete / "front.html", html(front))
        if picture := drawn(front):
            picture.write(complete, "front")
        publish(out, "front", front.title)

    for line in said_of(front):
        print(line)
    for at, found in enumerate(front.sets):
        of = f"{len(found.front)} of {len(found.members)} designs on the front"
        print(f"{found.title + ': ' if found.title else ''}{of}; {volume_in_words(front, at)}")
    best = [place for place in front.order if front.ranks[place] == 1]
    print_columns(
        ["design", *wanted],
        [
            [
                designs[place].name,
                *(written(figure(designs[place].row, name), name) for name in wanted),
            ]
            for place in best
        ],
    )
    print(f"page: {out / 'front.html'}", file=sys.stderr)


def parse_axes(text: str) -> tuple[str, ...]:
    """Return ``--axes`` as names, each once; a usage error for what is none."""
    from aocq.records.axes import AXES

    names = [part.strip() for part in text.split(",")] if text else []
    for name in names:
        _known(name, "--axes", [*AXES])
    if len(names) == 1:
        raise typer.BadParameter(
            "--axes: a front is over two axes or more, such as drop,latency_ms"
        )
    if len({*names}) < len(names):
        raise typer.BadParameter(f"--axes {text}: an axis is named twice")
    return tuple(names)


def parse_reference(text: str) -> dict[str, float]:
    """Return ``--reference`` as figures by axis; a usage error for what is none."""
    import math

    from aocq.records.axes import AXES

    found: dict[str, float] = {}
    for part in text.split(",") if text else ():
        name, equals, value = (word.strip() for word in part.partition("="))
        _known(name, "--reference", [*AXES])
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not equals or not math.isfinite(found[name]):
            raise typer.BadParameter(
                f"--reference {part!r}: wanted AXIS=NUMBER, such as latency_ms=20"
            )
    return found


def _known(name: str, option: str, names: list[str]) -> None:
    if name not in names:
        near = get_close_matches(name, names, 1)
        did = f"; nearest: {near[0]}" if near else f"; choose among {', '.join(names)}"
        raise typer.BadParameter(f"{option}: no axis {name!r}{did}")


def default_axes(rows: list[TableRow]) -> tuple[str, ...]:
    """Return the default axes of which a row has a figure; say so where that is not all."""
    from aocq import progress
    from aocq.records.axes import DEFAULT_AXES
    from reports.front import figure

    found = tuple(
        name for name in DEFAULT_AXES if any(figure(row, name) is not None for row in rows)
    )
    if len(found) < len(DEFAULT_AXES):
        lacking = ", ".join(name for name in DEFAULT_AXES if name not in found)
        progress.note(f"no design has a figure of {lacking}: axes are {', '.join(found)}")
    return found or DEFAULT_AXES
