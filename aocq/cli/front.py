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
    from reports.front import Front
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
    infeasible: Annotated[
        bool,
        typer.Option(
            "--infeasible",
            help="rank designs that do not fit their chip too; they are marked either way",
        ),
    ] = False,
    out: options.Out = Path("runs/front"),
) -> None:
    """Sort designs by dominance: those on the front are beaten by no other on all axes at once.

    Reads every finished run below the folders, whatever command made it, and the rows of every
    sweep.json that have costs without a run. Needs no torch. Runs on other images, and energies of
    other processes, are not compared: each set has a front of its own, which is said. Designs that
    do not fit their chip are marked and have no rank, unless --infeasible is given: those that need
    more SRAM than it has (ESTIMATED), or have ops that it has no place for. Gates do not matter.

    Below a folder with a sweep.json only runs that its rows name are read, so that earlier content
    of a plan does not count.

    Writes front.html (scatter plot, parallel coordinates, a table by rank, links to reports),
    front.csv, front.json, front.parquet (extra aocq[parquet]), front.md, front.png and front.svg
    into --out, and prints the front with its hypervolume.

    Example: aocq front runs/targets runs/table2 --axes drop,latency_ms,energy_mj --out runs/front

    Example: aocq front runs/sweep --axes latency_ms,peak_sram_bytes --reference latency_ms=20
    """
    from aocq.cli.front_designs import designs_below
    from reports.front import front_of

    wanted, ends = parse_axes(axes), parse_reference(reference)
    designs = designs_below(folders, out)
    if not wanted:
        wanted = default_axes([design.row for design in designs])
    for name in ends.keys() - {*wanted}:
        raise typer.BadParameter(f"--reference {name}: is not among --axes {','.join(wanted)}")
    front = front_of(designs, wanted, ends, infeasible=infeasible)
    publish_front(front, out)
    print_front(front)
    print(f"page: {out / 'front.html'}", file=sys.stderr)


def publish_front(front: Front, out: Path) -> None:
    """Let a front's files take the place of the earlier one's in ``out``.

    Raises
    ------
    InputError
        If another command writes there, or ``out`` cannot be written or holds a run.
    """
    from aocq import progress
    from aocq.records.publishing import claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import refuse_run_folder
    from reports.front_figure import drawn
    from reports.front_files import ENDINGS, PARQUET_MISSING, write_tables
    from reports.front_page import html
    from simulator.files import write_text

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


def print_front(front: Front) -> None:
    """Print what must be said of a front, its hypervolumes and the designs on it."""
    from aocq.cli.console import print_columns
    from reports.format import plural
    from reports.front import figure
    from reports.front_files import said_of, volume_in_words, written

    for line in said_of(front):
        print(line)
    for at, found in enumerate(front.sets):
        of = f"{len(found.front)} of {plural(len(found.members), 'design')} on the front"
        print(f"{found.title + ': ' if found.title else ''}{of}; {volume_in_words(front, at)}")
    rows = []
    for place in (place for found in front.sets for place in found.front):
        design = front.designs[place]
        rows.append([design.marked, *(written(figure(design.row, a), a) for a in front.axes)])
    print_columns(["design", *front.axes], rows)


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
    """Return the default axes of which a row has a figure; say so where that is not all.

    Raises
    ------
    InputError
        If these are fewer than two.
    """
    from aocq import progress
    from aocq.records.axes import DEFAULT_AXES
    from reports.front import figure
    from simulator.errors import InputError

    found = tuple(
        name for name in DEFAULT_AXES if any(figure(row, name) is not None for row in rows)
    )
    lacking = ", ".join(name for name in DEFAULT_AXES if name not in found)
    if len(found) < 2:
        raise InputError(
            f"no design has a figure of {lacking}: a front is over two axes or more; name others "
            "with --axes, or folders of finished runs"
        )
    if lacking:
        progress.note(f"no design has a figure of {lacking}: axes are {', '.join(found)}")
    return found
