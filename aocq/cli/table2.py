# SPDX-License-Identifier: Apache-2.0
"""``aocq table2``: networks x methods x widths, beside the paper's Table 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, recipes, requests
from aocq.cli import sweeps as campaigns

TITLE = "Networks, methods and widths"
# Options with a default, of which sizes and costs need none.
FOR_IMAGES = (
    *("--preset", "--float-ops", "--batch", "--skip-bad-images", "--seed", "--device"),
    *("--threads", "--gemm"),
)


def each_once(models: list[str]) -> list[str]:
    """Return ``MODEL`` or ``MODEL=WEIGHTS`` texts; a usage error where a model is named twice."""
    if len({name for name, _ in map(campaigns.parse_model, models)}) < len(models):
        raise typer.BadParameter("a network is named twice; use another --out for other weights")
    return models


def command(
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
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calib-data", help="folder of calibration images (default: the images of --data)"
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option("--methods", help="methods, with commas (default: the default method)")
    ] = "",
    bits: Annotated[
        str, typer.Option("--bits", help="bits of weights/activations, with commas")
    ] = "8/8,4/8",
    profile: options.Profile = "edge_npu_int8",
    preset: recipes.PresetOption = recipes.Preset.DEFAULT,
    calibration_images: recipes.CalibrationImages = None,
    float_ops: recipes.FloatOpsOption = recipes.FloatOps.DECLARED,
    classes: options.Classes = None,
    model_kwargs: options.ModelKwargs = None,
    preprocessing: options.Preprocessing = None,
    limit: options.Limit = None,
    batch: options.Batch = 32,
    skip_bad_images: options.SkipBadImages = False,
    seed: recipes.Seed = 0,
    device: recipes.DeviceOption = recipes.Device.CPU,
    threads: options.Threads = None,
    gemm: options.Gemm = "auto",
    out: options.Out = Path("runs/table2"),
    *,
    context: typer.Context,
) -> None:
    """Run every network with every method at every width, and make one table of them.

    A network whose pretrained weights cannot be fetched has a row of sizes, cycles and memory: they
    need neither weights nor images. Without --data all rows are of this kind, one for each width.
    --num-classes, --model-kwargs and --preprocessing are for every network of the table.

    Each run is an ordinary `aocq verify` without gates in OUT/MODEL/METHOD-wXaY. The same command
    goes on where it stopped, and takes finished runs as they are. Writes table2.md, table2.csv and
    table2.json after every run.

    Example: aocq table2 deit_tiny_patch16_224 --data imagenet/val --calib-data imagenet/train
    --methods base_ptq,fq_vit --bits 8/8,4/8 --out runs/table2

    Example: aocq table2 swin_tiny_patch4_window7_224 vit_base_patch16_224 --out runs/sizes
    """
    networks = [campaigns.parse_model(text) for text in models]
    parts = [name.strip() for name in methods.split(",")] if methods else [recipes.DEFAULT_METHOD]
    if methods and not all(parts):
        raise typer.BadParameter(f"--methods {methods!r}: a name is missing beside a comma")
    names = list(dict.fromkeys(recipes.known_method(name) for name in parts))
    widths = campaigns.parse_widths(bits)
    if data is None:
        wants_images = {
            "--methods": methods,
            "--calib-data": calibration,
            "--calib": calibration_images,
            "--limit": limit,
            **{f"{name}=WEIGHTS": weights for name, weights in networks},
            **{name: options.is_given(context, name) for name in FOR_IMAGES},
        }
        for option, value in wants_images.items():
            if value:
                raise typer.BadParameter(
                    f"{option}: --data is missing; without images there are only sizes and costs, "
                    "which need none of it"
                )
        wanted = campaigns.SizesWanted(
            widths=widths,
            profile=profile,
            classes=classes,
            arguments=options.settings(model_kwargs, "--model-kwargs"),
            preprocessing=options.settings(preprocessing, "--preprocessing"),
        )
        with campaigns.claimed_table(out, "table2"):
            rows = campaigns.table_of_sizes(
                [name for name, _ in networks], wanted, "table2", TITLE, out
            )
        campaigns.exit_if_cells_failed(rows)
        return

    with campaigns.claimed_table(out, "table2"):
        cells = []
        for model, weights in networks:
            for method in names:
                for weight_bits, activation_bits in widths:
                    recipe = recipes.make_recipe(
                        weight_bits=weight_bits,
                        activation_bits=activation_bits,
                        float_ops=float_ops,
                        seed=seed,
                        preset=preset,
                    )
                    request = requests.make_request(
                        model=model,
                        data=data,
                        weights=weights,
                        classes=classes,
                        model_kwargs=model_kwargs,
                        preprocessing=preprocessing,
                        profile=profile,
                        method=method,
                        recipe=recipe,
                        calibration=calibration,
                        calibration_images=calibration_images,
                        preset=preset,
                        limit=limit,
                        batch=batch,
                        skip_bad_images=skip_bad_images,
                        threads=threads,
                        gemm=gemm,
                        device=device,
                        out=out,
                    )
                    cells.append(campaigns.cell(request, recipe))
        rows = campaigns.run_table(cells, "table2", TITLE, out, size_without_weights=True)
    campaigns.exit_if_cells_failed(rows)
