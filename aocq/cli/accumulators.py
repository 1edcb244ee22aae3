# SPDX-License-Identifier: Apache-2.0
"""``aocq accumulators``: how narrow an accumulator may be."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from aocq.cli import options, requests, sweeps, tables
from aocq.cli.console import print_columns
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming
from aocq.cli.tasks import task_named

if TYPE_CHECKING:
    from aocq.records.accumulator_widths import Rule, SweepRecord, Width

DEFAULT_PROFILE = "edge_npu_int8"
NARROWEST, WIDEST = 8, 64


def parse_register_widths(text: str) -> list[int]:
    """Return ``12-20,24,32`` as widths, rising; a usage error otherwise."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", part.strip())
        low = int(match[1]) if match else 0
        high = int(match[2] or match[1]) if match else 0
        if not NARROWEST <= low <= high <= WIDEST:
            raise typer.BadParameter(
                f"{part.strip()!r} is no width or range of widths in {NARROWEST} to {WIDEST} bits, "
                "e.g. 12-32 or 16,20,24"
            )
        found |= {*range(low, high + 1)}
    return sorted(found)


def parse_rules(text: str) -> list[Rule]:
    """Return ``wrap,saturate`` as rules; a usage error otherwise."""
    from aocq.records.accumulator_widths import Rule

    known = get_args(Rule)
    named = [part.strip() for part in text.split(",")]
    for name in named:
        if name not in known:
            raise typer.BadParameter(f"{name!r} is no overflow rule; choose from wrap, saturate")
    return [rule for rule in known if rule in named]


def profile_of(folder: Path) -> str:
    """Return the shipped profile that the run in ``folder`` was made for; else the default.

    Which one and why is said on stderr: the other arithmetic decides the sums too.
    """
    from aocq.records.run_folder import RUN_NAME, load_record
    from simulator.errors import InputError
    from simulator.profile import load_profile, profile_paths

    chosen, why = DEFAULT_PROFILE, f"{folder} has no {RUN_NAME} that names another"
    try:
        named = load_record(folder).profile if (folder / RUN_NAME).exists() else None
    except InputError as error:
        named, why = None, str(error)
    if named is not None and named.name in profile_paths():
        chosen, why = named.name, f"as {RUN_NAME} of {folder} says"
        if load_profile(chosen).sha256() != named.sha256:
            why += ", though with other values"
    elif named is not None:
        why = f"{named.name}, which {RUN_NAME} names, is no shipped one: give its file"
    print(f"note: lowering for {chosen} ({why}; --profile chooses another)", file=sys.stderr)
    return chosen


@resuming
@grouped
def command(
    *,
    folder: Annotated[
        Path, typer.Argument(help="quantized model: a folder that aocq quantize or verify wrote")
    ],
    data: options.Data,
    task: options.TaskOfRun = None,
    bits: Annotated[
        str,
        typer.Option("--bits", help="register widths, 8 to 64: ranges and numbers with commas"),
    ] = "12-32",
    rules: Annotated[
        str, typer.Option("--rules", help="overflow rules, with commas: wrap, saturate")
    ] = "wrap,saturate",
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            "-p",
            help="hardware profile: a name or a TOML file (default: the one that FOLDER's run.json "
            f"names, if it is a shipped one, else {DEFAULT_PROFILE})",
            show_default=False,
        ),
    ] = None,
    evaluation: requests.EvaluationOptions,
    emulation: requests.EmulationOptions,
    running: sweeps.RunningOptions,
    out: options.Out = Path("runs/accumulators"),
) -> None:
    """Run a quantized model at many accumulator widths, to see how narrow they may be.

    The profile's outermost accumulator register is replaced by one of every width, wrapping and
    saturating; inner levels and all other arithmetic stay. Only the integer emulation runs. Counted
    are outputs whose sum overflowed persistently (the completed sum does not fit: wrapping and
    saturating registers are both wrong) and transiently (only a partial sum does not: a wrapping
    register comes out right). A width at which nothing overflows proves the integers of all wider
    ones on these images: they are marked exact and not run.

    Narrow widths take longest, because nearly every sum is accumulated in order: try --limit first.
    The same command goes on with the width where it stopped; what failed is tried again with
    --retry-failed. Writes accumulators.md, .csv, .json, .png and .svg after every run.

    Example: aocq accumulators runs/deit --data imagenet/val --limit 100 --out runs/accumulators
    """
    widths = list(product(parse_register_widths(bits), parse_rules(rules)))

    from aocq import progress
    from aocq.jobs.accumulator_widths import WidthsRequest
    from aocq.records.accumulator_widths import COMMAND, with_proven
    from aocq.records.publishing import WORK, claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import refuse_run_folder
    from aocq.sweeps.accumulator_units import run_widths, taken_up
    from reports.accumulators import FILES, write_sweep

    with claimed(out, progress.note):
        refuse_run_folder(out)
        refuse_blocked(out, FILES)
        request = WidthsRequest(
            folder=folder,
            task=task_named(task, folder),
            profile=profile if profile is not None else profile_of(folder),
            evaluation=evaluation.request(data),
            emulation=emulation.request(),
            command=("aocq", *sys.argv[1:]),
        )
        record = before = taken_up(request, out, progress.note)
        if running.dry_run:
            print_widths(with_proven(before, widths).widths if before else set(), widths)
            return
        work = out.absolute() / WORK / "widths"
        with running.pool(len(widths)) as pool:
            again = running.retry_failed
            for record in run_widths(
                request, widths, before, work, pool, progress.note, retry_failed=again
            ):
                write_sweep(record, staging(out))
                publish(out, COMMAND, record.key)
        assert record is not None  # at least once
    print_sweep(record)
    print(f"table: {out / 'accumulators.md'}", file=sys.stderr)
    tables.exit_if_failed(len({*widths} - record.widths), len(widths), "widths")


def print_widths(known: set[Width], widths: Sequence[Width]) -> None:
    """Print the widths that are not known on stdout, and how many there are."""
    left = [f"{bits} bits, {rule}" for bits, rule in widths if (bits, rule) not in known]
    told = f"{len(left)} of {len(widths)} widths are left, up to the first without an overflow"
    print(*left, told, sep="\n")


def print_sweep(record: SweepRecord) -> None:
    """Print the rows that were run on stdout; the sentence above them has the others."""
    from reports.accumulators import head, legend, lines, summary

    print(summary(record))
    print_columns(head(record), lines(record, proven=False))
    print(legend(record))
