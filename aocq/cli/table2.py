# SPDX-License-Identifier: Apache-2.0
"""``aocq table2``: networks x methods x widths, beside the paper's Table 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, recipes, requests, sweeps, tables
from aocq.cli.groups import grouped
from aocq.cli.interruption import resuming

# Options with a default, of which sizes and costs need none.
FOR_IMAGES = (
    *("--preset", "--float-ops", "--batch", "--skip-bad-images", "--seed", "--device"),
    *("--threads", "--gemm", "--workers", "--dry-run", "--retry-failed"),
)


def title(profile: str) -> str:
    """Return the table's title, which names the profile: no column does."""
    from simulator.profile import load_profile

    return f"Networks, methods and widths on {load_profile(profile).name}"


def each_once(models: list[str]) -> list[str]:
    """Return ``MODEL`` or ``MODEL=WEIGHTS`` texts; a usage error where a model is named twice."""
    if len({name for name, _ in map(sweeps.parse_model, models)}) < len(models):
        raise typer.BadParameter("a network is named twice; use another --out for other weights")
    return models


@resuming
@grouped
def command(
    *,
    models: Annotated[
        list[str],
        typer.Argument(
            callback=each_once, help="MODEL, or MODEL=WEIGHTS with a checkpoint of its own"
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="folder of images to evaluate, one subfolder per class, named by WordNet id, "
            "class name or class number; without it the table has sizes, cycles and memory only",
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option("--methods", help="methods, with commas (default: the default method)")
    ] = "",
    bits: sweeps.Bits = "8/8,4/8",
    profile: options.Profile = "edge_npu_int8",
    network: requests.NetworkOptions,
    options_of_runs: sweeps.TableOptions,
    out: options.Out = Path("runs/table2"),
    context: typer.Context,
) -> None:
    """Run every network with every method at every width, and make one table of them.

    A network whose pretrained weights cannot be fetched has a row of sizes, cycles and memory: they
    need neither weights nor images. Without --data all rows are of this kind, one for each width.
    --num-classes, --model-kwargs and --preprocessing are for every network of the table.

    Each run is an ordinary `aocq verify` without gates in OUT/MODEL/METHOD-wXaY. The same command
    goes on where it stopped, and takes finished runs as they are; what failed is tried again with
    --retry-failed. Writes table2.md, table2.csv and table2.json after every run.

    Example: aocq table2 deit_tiny_patch16_224 --data imagenet/val --calib-data imagenet/train
    --methods base_ptq,fq_vit --bits 8/8,4/8 --out runs/table2

    Example: aocq table2 swin_tiny_patch4_window7_224 vit_base_patch16_224 --out runs/sizes
    """
    networks = [sweeps.parse_model(text) for text in models]
    parts = [name.strip() for name in methods.split(",")] if methods else [recipes.LEFT_OUT]
    if methods and not all(parts):
        raise typer.BadParameter(f"--methods {methods!r}: a name is missing beside a comma")
    names = list(dict.fromkeys(recipes.known_method(name) for name in parts))
    widths = sweeps.parse_widths(bits)
    run = options_of_runs.run
    if data is None:
        wants_images = {
            "--methods": methods,
            "--calib-data": run.calibration,
            "--calib": run.calibrating.calibration_images,
            "--limit": run.evaluation.limit,
            **{f"{name}=WEIGHTS": weights for name, weights in networks},
            **{name: options.is_given(context, name) for name in FOR_IMAGES},
        }
        for option in filter(wants_images.get, wants_images):
            raise typer.BadParameter(
                f"{option}: --data is missing; without images there are only sizes and costs, "
                "which need none of it"
            )
    asked = [network.request_of(*named) for named in networks]
    with tables.claimed_table(out, "table2"):
        table = tables.Table(
            name="table2", title=title(profile), out=out, size_without_weights=True
        )
        if data is None:
            ends = options_of_runs.recipe.values.get("end_bits")
            rows = tables.table_of_sizes(table, asked, profile, widths, ends, run.task)
        else:
            from aocq.sweeps.cells import cell

            templates = options_of_runs.templates(
                asked, data, methods=names, widths=widths, profiles=[profile], out=out
            )
            rows = tables.run_table(table, [*map(cell, templates)], options_of_runs.running)
    tables.exit_if_cells_failed(rows)
