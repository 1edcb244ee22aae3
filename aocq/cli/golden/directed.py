# SPDX-License-Identifier: Apache-2.0
"""``aocq golden directed``: vectors made to tell implementations apart."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options
from aocq.cli.golden.coverage import print_coverage
from aocq.cli.golden.record import FormatOptions
from aocq.cli.groups import grouped

if TYPE_CHECKING:
    from simulator.golden.directed import Stimulus


@grouped
def command(
    *,
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|PROFILE",
            help="graph.json or the folder that holds it, or a profile: its name or a TOML file",
        ),
    ],
    out: options.Out,
    also: FormatOptions,
) -> None:
    """Write directed vectors of every unit of a graph, or of a chip, and say what they cover.

    A unit is an op with its modes and widths. Its stimuli are exact ties and their neighbours, both
    ends of types, sums that overflow and come back, extreme factors, constant and one-hot rows.
    Where an op's own constants reach no tie and no overflow, the unit has others. DIR gets the
    vectors as `aocq golden record` writes them, coverage.json and coverage.md. Torch is not needed.
    """
    from aocq import progress
    from simulator.golden.coverage.of_folder import folder_coverage, units_of
    from simulator.golden.coverage.text import write_coverage
    from simulator.golden.files import made_whole
    from simulator.golden.manifest import Kind
    from simulator.golden.units import Form, write_units

    about, stimuli = _stimuli(source)
    form = Form(formats=also.names(), word_bits=also.width())
    with made_whole(out) as folder:
        with progress.show("directed", len(stimuli)) as advance:
            manifest = write_units(Kind.DIRECTED, stimuli, folder, form, about, advance)
        with progress.show("coverage", len(units_of(manifest))) as advance:
            coverage = folder_coverage(folder, manifest, advance)
        write_coverage(coverage, folder)
    print_coverage(coverage)
    print(f"{len(manifest.ops)} sets of vectors, {len(coverage)} units: {out}", file=sys.stderr)


def _stimuli(source: str) -> tuple[str, list[Stimulus]]:
    """Return a sentence about a run or a profile, and its directed vectors."""
    path = Path(source)
    if (path / "graph.json").is_file() or (path.is_file() and path.suffix == ".json"):
        return _of_graph(path)

    from simulator.golden.directed import stimuli
    from simulator.golden.directed.of_profile import units_of_profile
    from simulator.profile import load_profile

    profile = load_profile(source)
    found = [made for name, base in units_of_profile(profile) for made in stimuli(base, name)]
    return f"directed at the ops of profile {profile.name}", found


def _of_graph(path: Path) -> tuple[str, list[Stimulus]]:
    from simulator.golden.directed import stimuli
    from simulator.golden.directed.of_graph import units_of_graph
    from simulator.graph import load, sha256

    graph = load(path)

    def made() -> Iterator[Stimulus]:
        for unit in units_of_graph(graph):
            for one in stimuli(unit.base, unit.name):
                yield replace(one, stands_for=unit.ops)

    return f"directed at the ops of graph {graph.name}, {sha256(graph)}", [*made()]
