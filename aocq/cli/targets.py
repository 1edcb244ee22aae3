# SPDX-License-Identifier: Apache-2.0
"""``aocq targets``: one network on many chips."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import gates, options, recipes, requests, sweeps, tables
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aocq.records.verdict import Verdict
    from aocq.sweeps.designs import Design
    from reports.rows import TableRow
    from simulator.junit import TestCase

ALL = "all"
QUANTIZED = "quantized"


@resuming
@grouped
def command(
    *,
    model: Annotated[
        str, typer.Argument(help="MODEL, or MODEL=WEIGHTS with a checkpoint of its own")
    ],
    data: options.Data,
    profiles: Annotated[
        str,
        typer.Option(
            "--profiles",
            "-p",
            help="hardware profiles, names or TOML files with commas; all: every shipped one, and "
            "those that cannot hold --bits are rows that say so",
        ),
    ] = ALL,
    method: recipes.Method = recipes.LEFT_OUT,
    bits: Annotated[
        str, typer.Option("--bits", help="bits of weights/activations, one pair")
    ] = "8/8",
    network: requests.NetworkOptions,
    options_of_runs: sweeps.TableOptions,
    judging: gates.GateOptions,
    out: options.Out = Path("runs/targets"),
) -> None:
    """Run one network on many hardware profiles, and make one table and one figure of them.

    For every chip: accuracy, overflow, ESTIMATED cycles and memory, feasible or not. Each run is an
    ordinary `aocq verify`, with the gates that are given here and no others, in
    OUT/MODEL/METHOD-wXaY-PROFILE. Chips that want the same calibration share it: it is kept in
    OUT/quantized, which may be deleted. The same command goes on where it stopped; a chip that
    fails is a row with its reason, and the others go on.

    With gates, the exit code is 1 if a chip does not pass them all; with --profiles all, if none
    does.

    Writes targets.md, targets.csv and targets.json after every run, targets.svg and targets.png at
    the end.

    Example: aocq targets deit_tiny_patch16_224 --data imagenet/val --calib-data imagenet/train
    --profiles edge_npu_int8,narrow_acc_20,my_npu.toml --limit 200 --out runs/targets
    """
    widths = sweeps.parse_widths(bits)
    if len(widths) != 1:
        raise typer.BadParameter(f"--bits {bits!r}: one pair, e.g. 8/8")
    name, weights = sweeps.parse_model(model)
    chosen = known_profiles(profiles)
    given = judging.gates()
    with tables.claimed_table(out, "targets"):
        from aocq.sweeps.cells import built, cell

        templates = options_of_runs.templates(
            [network.request_of(name, weights)],
            data,
            methods=[method],
            widths=widths,
            profiles=chosen.values(),
            out=out,
            gates=given,
            shared_folder=out / QUANTIZED,
        )
        cells = [
            cell(each, variant={"profile": profile})
            for each, profile in zip(templates, chosen, strict=True)
        ]
        title = f"{built(cells[0].request.model)} on {len(cells)} hardware profiles"
        table = tables.Table(name="targets", title=title, out=out, skip_impossible=True)
        rows = tables.run_table(table, cells, options_of_runs.running)
        publish_with_figure(rows, title, out, given.applied())
        verdicts = verdicts_of(cells, rows)
        gates.write_junit(judging.costs.junit, cases_of(cells, rows, verdicts))
    if given.applied():
        for name, verdict in verdicts.items():
            gates.print_reasons(verdict, name)
    tables.exit_if_cells_failed(asked_for(cells, rows) if profiles == ALL else rows)
    passed = [verdict.feasible for verdict in verdicts.values()]
    if given.applied() and not (any(passed) if profiles == ALL else all(passed)):
        raise typer.Exit(1)


def verdicts_of(cells: Sequence[Design], rows: Sequence[TableRow]) -> dict[str, Verdict]:
    """Return the verdicts on the chips that were run, by profile."""
    from aocq.records.run_folder import load_record

    return {
        cell.variant["profile"]: load_record(cell.request.out).verdict
        for cell, row in zip(cells, rows, strict=True)
        if row.feasible is not None
    }


def cases_of(
    cells: Sequence[Design], rows: Sequence[TableRow], verdicts: Mapping[str, Verdict]
) -> list[TestCase]:
    """Return test cases for a CI server: the gates of every chip, an error where it was not run."""
    from aocq.records.verdict_junit import gate_cases
    from aocq.sweeps.cells import built
    from simulator.junit import Problem, TestCase

    cases = []
    for cell, row in zip(cells, rows, strict=True):
        profile = cell.variant["profile"]
        group = f"{built(cell.request.model)} on {profile}"
        if profile in verdicts:
            cases += gate_cases(verdicts[profile], group)
        else:
            problem = Problem(kind="no run", message=row.note, text=row.note, error=True)
            cases.append(TestCase(group=group, name="run", problem=problem))
    return cases


def asked_for(cells: Sequence[Design], rows: Sequence[TableRow]) -> list[TableRow]:
    """Return the rows of chips that can hold the widths; all rows where none can.

    Of all the shipped chips some are bound not to: that is an answer, not a failure.
    """
    from aocq.sweeps.cell_units import impossible_for

    possible = [row for cell, row in zip(cells, rows, strict=True) if impossible_for(cell) is None]
    return possible or list(rows)


def known_profiles(text: str) -> dict[str, str]:
    """Return what ``--profiles`` names, by the name in each profile; a usage error if none.

    Raises
    ------
    InputError
        If a profile cannot be read.
    """
    from simulator.profile import load_profile, profile_paths

    wanted = [*profile_paths()] if text == ALL else [part.strip() for part in text.split(",")]
    if not all(wanted):
        raise typer.BadParameter(f"--profiles {text!r}: a name is missing beside a comma")
    found: dict[str, str] = {}
    for profile in dict.fromkeys(wanted):
        name = load_profile(profile).name
        if name in found:
            raise typer.BadParameter(f"--profiles: {found[name]} and {profile} are both {name}")
        found[name] = profile
    return found


def publish_with_figure(
    rows: Sequence[TableRow], title: str, out: Path, gates: Mapping[str, float]
) -> None:
    """Publish a table with its figure, if any chip could be run."""
    from reports.chip_figures import chips

    if figure := chips(rows, gates):
        tables.publish_table("targets", title, rows, out, figure=figure)
        print(f"figure: {out / 'targets.png'}", file=sys.stderr)
