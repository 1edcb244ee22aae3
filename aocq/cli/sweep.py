# SPDX-License-Identifier: Apache-2.0
"""``aocq sweep``: the designs of a plan, by worker processes, into one table."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options, sweeps
from aocq.cli.interruption import resuming

if TYPE_CHECKING:
    from aocq.sweeps.designs import Design
    from aocq.sweeps.plan import Plan
    from aocq.sweeps.runs import Planned
    from reports.rows import TableRow

NAME = "sweep"
MOST_WORKERS = 1024
MOST_PRINTED = 200  # rows; the table of more is in its files
SHARE_OF_TABLES = 0.01  # of a sweep's time, what may go into tables that are not the last


@resuming
def command(
    *,
    plan: Annotated[
        Path,
        typer.Argument(metavar="PLAN", help="plan of the sweep (TOML), see docs/sweep.md"),
    ],
    images: Annotated[
        int | None,
        typer.Option(
            "--images",
            min=1,
            max=options.MOST_IMAGES,
            help="evaluate this many images, whatever the plan says",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=MOST_WORKERS,
            help="worker processes, which share the cores (default: one for each core)",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="print the plan and how long it will take, and end"),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="try again what failed in an earlier command")
    ] = False,
    out: options.Out = Path("runs/sweep"),
) -> None:
    """Run networks x methods x recipes x chips, as a plan has them, and make one table of them.

    Every run is an ordinary `aocq verify` without gates, in OUT/runs/HASH, where the hash is of
    all that it depends on: finished runs are never made again, by whatever plan. Runs that want the
    same calibration share it. What fails is a row with its reason; so is a run whose worker died
    three times. However often the command or its workers are killed, the same command goes on, and
    the table is the same.

    Writes sweep.md, sweep.csv, sweep.json and times.csv, now and then and at the end. Exit code 3
    where a run failed.

    Example: aocq sweep plan.toml --dry-run

    Example: aocq sweep plan.toml --workers 4 --out runs/sweep
    """
    from aocq.records.run_folder import refuse_run_folder
    from aocq.sweeps.designs import designs_of
    from aocq.sweeps.local_pool import cores
    from aocq.sweeps.plan import read_plan
    from aocq.sweeps.runs import at_images, planned_runs

    found = read_plan(plan)
    refuse_run_folder(out)
    check_networks(found)
    designs = at_images(designs_of(found, out, ("aocq", *sys.argv[1:])), images)
    slots = workers or cores()
    if found.sweep.costs_only:
        if dry_run:
            print_costs(found, designs, slots, out)
            return
        rows = estimate_all(found.title, designs, slots, out, retry_failed=retry_failed)
    else:
        runs = planned_runs(designs)
        if dry_run:
            print_plan(found, runs, slots, retry_failed=retry_failed)
            return
        note_shared_images(designs)
        rows = run_planned(found.title, runs, slots, out, retry_failed=retry_failed)
    if len(rows) <= MOST_PRINTED:
        sweeps.print_table(rows)
    print(f"table of {len(rows)} rows: {out / NAME}.md", file=sys.stderr)
    sweeps.exit_if_cells_failed(rows)


def check_networks(plan: Plan) -> None:
    """Refuse, before any work, names that are no networks of timm.

    Raises
    ------
    InputError
        If there is one.
    """
    from aocq.zoo.published import check_name, networks

    for network in plan.network:
        check_name(network.name, networks())


def note_shared_images(designs: Sequence[Design]) -> None:
    """Say so where a design is calibrated with images that it is judged on."""
    from aocq import progress

    requests = [each.request for each in designs]
    if any(each.calibration.folder == each.evaluation.folder for each in requests):
        progress.note(
            "calibrating on images that are evaluated ([data] calibrate keeps them apart)"
        )


def print_plan(plan: Plan, runs: Sequence[Planned], workers: int, *, retry_failed: bool) -> None:
    """Print the runs of a plan on stdout, how many there are and how long the rest will take."""
    from aocq.sweeps.remaining import MODEL, in_words
    from aocq.sweeps.runs import forecast

    found = forecast(runs, workers, retry_failed=retry_failed)
    for run in runs:
        print(run.design.name)
    print(f"{found.runs} runs: {factors(plan)}")
    print(f"{found.finished} are finished, {found.failed} failed, {found.left} are left")
    basis = "by those that are finished" if found.measured else f"a guess: {MODEL}"
    print(f"about {in_words(found.seconds)} with {workers} workers ({basis})")


def factors(plan: Plan) -> str:
    """Return what of a plan is multiplied: ``networks 3, methods 2, accumulator.bits 4``."""
    sizes = {
        "networks": len(plan.network),
        "sets of images": len(plan.data),
        "methods": 1 if plan.sweep.costs_only else len(plan.sweep.methods),
        "recipes": len(plan.sweep.recipes),
        "profiles": len(plan.sweep.profiles),
        **{key: len(values) for key, values in plan.sweep.keys.items()},
    }
    return ", ".join(f"{name} {size}" for name, size in sizes.items() if size > 1) or "one design"


def print_costs(plan: Plan, designs: Sequence[Design], workers: int, out: Path) -> None:
    """Print how many designs a plan of costs alone has, and how long they will take."""
    from aocq.sweeps.cost_only import SECONDS, cost_blocks, find_rows
    from aocq.sweeps.remaining import in_words

    blocks = cost_blocks(designs, out)
    left = [block for block in blocks if find_rows(block.unit.request) is None]
    designs_left = sum(len(block.places) for block in left)
    seconds = SECONDS * designs_left / max(1, min(workers, len(left)))
    print(f"{len(designs)} designs, costs alone: {factors(plan)}")
    print(f"{len(designs) - designs_left} are finished or impossible, {designs_left} are left")
    print(f"about {in_words(seconds)} with {workers} workers (a guess: {SECONDS:g} s a design)")


def estimate_all(
    title: str, designs: Sequence[Design], workers: int, out: Path, *, retry_failed: bool
) -> list[TableRow]:
    """Estimate designs by worker processes, and return the rows in the plan's order."""
    from aocq import progress
    from aocq.sweeps.cost_only import cost_blocks, estimated
    from aocq.sweeps.local_pool import LocalPool

    blocks = cost_blocks(designs, out)
    tables = Tables(title, (), out)
    with LocalPool(max(1, min(workers, len(blocks))), progress.note) as pool:
        every = estimated(designs, blocks, pool, say, progress.note, retry_failed=retry_failed)
        for found in every:
            tables.rows.update(found)
    return tables.publish()


def run_planned(
    title: str, runs: Sequence[Planned], workers: int, out: Path, *, retry_failed: bool
) -> list[TableRow]:
    """Run what is planned by worker processes, and return the rows in the plan's order."""
    from aocq import progress
    from aocq.sweeps.local_pool import LocalPool
    from aocq.sweeps.runs import run_all

    tables = Tables(title, runs, out)
    workers = max(1, min(workers, len(runs)))
    with LocalPool(workers, progress.note, needs=("torch", "timm")) as pool:
        for ended in run_all(runs, pool, workers, say, progress.note, retry_failed=retry_failed):
            tables.add(ended.place, ended.row)
    return tables.publish()


def say(text: str) -> None:
    """Print a line on stderr."""
    from simulator.control_characters import escaped

    print(escaped(text), file=sys.stderr, flush=True)


class Tables:
    """Rows by their places in the plan, and the table of them, published when it is worth its time.

    Attributes
    ----------
    rows
        those that are there
    """

    def __init__(self, title: str, runs: Sequence[Planned], out: Path) -> None:
        self.rows: dict[int, TableRow] = {}
        self._title, self._runs, self._out = title, runs, out
        self._took, self._last = 0.0, time.monotonic()

    def add(self, place: int, row: TableRow) -> None:
        """Add a row; publish the table if the last one took little of the time since."""
        self.rows[place] = row
        if time.monotonic() - self._last > self._took / SHARE_OF_TABLES:
            self.publish()

    def publish(self) -> list[TableRow]:
        """Publish the table of the rows that are there, and return them in the plan's order."""
        from aocq import progress
        from aocq.records.lease import leased
        from aocq.sweeps.table import times_csv

        start = time.monotonic()
        rows = [row for _, row in sorted(self.rows.items())]
        texts: Mapping[str, str] = {
            "times.csv": times_csv((run.design, run.unit) for run in self._runs)
        }
        # Another command may be at the same plan, here or elsewhere.
        with (
            leased(self._out / f".{NAME}.lease", progress.note),
            sweeps.claimed_table(self._out, NAME),
        ):
            sweeps.publish_table(NAME, self._title, rows, self._out, texts=texts)
        self._last = time.monotonic()
        self._took = self._last - start
        return rows
