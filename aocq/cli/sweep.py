# SPDX-License-Identifier: Apache-2.0
"""``aocq sweep``: the designs of a plan, by worker processes, into one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aocq.cli import options, tables
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming
from aocq.cli.sweep_pool import Place, part_of
from aocq.cli.sweep_runs import NAME, estimate_all, run_sweep

if TYPE_CHECKING:
    from aocq.sweeps.designs import Design
    from aocq.sweeps.plan import Plan
    from aocq.sweeps.pruned import Pruning
    from aocq.sweeps.runs import Planned

MOST_PRINTED = 200  # rows; the table of more is in its files


@resuming
@grouped
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
    then: Annotated[
        int | None,
        typer.Option(
            "--then",
            min=2,
            max=options.MOST_IMAGES,
            help="after all designs on few images, evaluate the promising ones on this many",
        ),
    ] = None,
    axes: Annotated[
        str,
        typer.Option(
            "--axes",
            help="with --then: what promising designs are chosen by, with commas: drop or "
            "agreement, and costs: latency_ms, energy_mj, weight_bytes, peak_sram_bytes, "
            "accumulator_bits (default: drop,latency_ms,weight_bytes)",
            show_default=False,
        ),
    ] = "",
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            min=0.5,
            max=0.9999,
            callback=options.finite,
            help="with --then: with which a design must be worse to be left out",
        ),
    ] = 0.95,
    place: Place,
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

    With --then, a design is left out of the second round where another one, which costs no more on
    any axis, is right on more of the few images than chance allows: see docs/front.md. Its row is
    that of the few images, and says why.

    Example: aocq sweep plan.toml --dry-run

    Example: aocq sweep plan.toml --workers 4 --out runs/sweep

    Example: aocq sweep plan.toml --images 64 --then 650 --axes drop,latency_ms,energy_mj

    Example: aocq sweep plan.toml --dask tcp://head:8786 --out /shared/sweep
    """
    from aocq.records.run_folder import refuse_run_folder
    from aocq.sweeps.designs import read_designs
    from aocq.sweeps.local_pool import cores
    from aocq.sweeps.runs import at_images, planned_runs

    place.check()
    if axes and then is None:
        raise typer.BadParameter("--axes: they choose designs for --then, which is missing")
    found, designs = read_designs(plan, out, ("aocq", *sys.argv[1:]))
    refuse_run_folder(out)
    check_networks(found)
    designs = at_images(designs, images)
    designs = [*part_of(designs, place.shard)]
    slots = place.workers or cores()
    if found.sweep.costs_only:
        if place.dask or place.shard:
            raise typer.BadParameter(
                "--dask, --shard: costs alone take seconds here, and are estimated by --workers"
            )
        if images is not None or then is not None:
            raise typer.BadParameter(
                "--images, --then: the plan has costs_only = true, and no images are evaluated"
            )
        if dry_run:
            print_costs(found, designs, slots, out)
            return
        rows = estimate_all(found.title, designs, slots, out, retry_failed=retry_failed)
    else:
        if then is not None and place.shard is not None:
            raise typer.BadParameter(
                "--shard, --then: what is promising is known of the whole plan; make the parts of "
                "--images first, put them together, and add --then"
            )
        pruning = None if then is None else pruning_of(designs, then, axes, confidence)
        runs = planned_runs(designs)
        if dry_run:
            print_plan(found, runs, slots, pruning, retry_failed=retry_failed)
            return
        note_shared_images(designs)
        requests = [run.design.request for run in runs]
        pool = place.opened(min(slots, len(runs)), out, requests)
        rows = run_sweep(found.title, runs, pool, out, pruning=pruning, retry_failed=retry_failed)
    if len(rows) <= MOST_PRINTED:
        tables.print_table(rows)
    print(f"table of {len(rows)} rows: {out / NAME}.md", file=sys.stderr)
    tables.exit_if_cells_failed(rows)


def pruning_of(designs: Sequence[Design], then: int, axes: str, confidence: float) -> Pruning:
    """Return how designs are pruned; a usage error where there is nothing to prune by.

    Raises
    ------
    InputError
        If there are no such axes.
    """
    from aocq.sweeps.pruned import DEFAULT_AXES, Pruning, check_axes

    chosen = tuple(part.strip() for part in axes.split(",")) if axes else DEFAULT_AXES
    check_axes(chosen)
    for design in designs:
        few = design.request.evaluation.limit
        if few is None or few >= then:
            told = "all images" if few is None else f"{few}"
            raise typer.BadParameter(
                f"--then {then}: {design.name} is evaluated on {told} before that; --images N, or "
                "images in the plan, says on how few"
            )
    return Pruning(images=then, axes=chosen, confidence=confidence)


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


def print_plan(
    plan: Plan,
    runs: Sequence[Planned],
    workers: int,
    pruning: Pruning | None,
    *,
    retry_failed: bool,
) -> None:
    """Print the runs of a plan on stdout, how many there are and how long the rest will take."""
    from aocq.sweeps.remaining import in_words
    from aocq.sweeps.runs import at_images, forecast, planned_runs

    tables.print_forecast(runs, workers, factors(plan), retry_failed=retry_failed)
    if pruning is not None:
        many = planned_runs(at_images([run.design for run in runs], pruning.images))
        most = forecast(many, workers, retry_failed=retry_failed)
        print(
            f"then at most {most.left} runs on {pruning.images} images, about "
            f"{in_words(most.seconds)} if none is left out"
        )


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
