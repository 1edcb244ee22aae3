# SPDX-License-Identifier: Apache-2.0
"""``aocq ablate``: what each level of AOCQ contributes."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aocq.cli import options, recipes, requests
from aocq.cli import sweeps as campaigns

if TYPE_CHECKING:
    from aocq.jobs.request import VerifyRequest
    from aocq.methods.aocq.options import AocqOptions

CONDITION_IMAGES = 32  # 6304 tokens of a DeiT, several times its widest stream


class Grid(StrEnum):
    """Which combinations are run."""

    ONE = "one"
    FULL = "full"


LEVELS: dict[str, tuple[Any, ...]] = {
    "alpha": tuple(member.value for member in recipes.Alpha),
    "scale_passes": (0, 4),
    "rounding": tuple(member.value for member in recipes.Rounding),
    "loss": tuple(member.value for member in recipes.Loss),
}
# What is left of a level when it is taken away; these come first in a table.
TAKEN_AWAY: dict[str, Any] = {
    "alpha": "none",
    "balance_inputs": False,
    "scale_passes": 0,
    "rounding": "nearest",
    "loss": "mse",
}


def command(
    model: options.Model,
    data: options.Data,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calib-data", help="folder of calibration images (default: the images of --data)"
        ),
    ] = None,
    bits: Annotated[
        str, typer.Option("--bits", help="bits of weights/activations, with commas")
    ] = "4/8",
    grid: Annotated[
        Grid,
        typer.Option(
            "--grid",
            help="one: the preset's method, and one level changed at a time; full: alpha x scale "
            "passes x rounding x loss",
        ),
    ] = Grid.ONE,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            callback=recipes.known_method,
            help="the method; others than aocq ignore what is varied",
        ),
    ] = "aocq",
    weights: options.Weights = None,
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
    out: options.Out = Path("runs/ablate"),
) -> None:
    """Run AOCQ whole and with each level changed, and make one table of the runs.

    Runs, resumption and columns are those of `aocq table2`. Writes ablate.md, ablate.csv and
    ablate.json, and conditioning.csv: the condition number of the stream that enters each block,
    of x and of x / α.
    """
    widths = campaigns.parse_widths(bits)

    with campaigns.claimed_table(out, "ablate"):
        from aocq.methods.aocq.options import PRESET_OPTIONS

        base = PRESET_OPTIONS[preset.value]
        cells = []
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
            for chosen in one_at_a_time(base) if grid is Grid.ONE else all_combinations(base):
                varied = recipe.model_copy(update={"aocq": chosen})
                cells.append(campaigns.cell(request, varied, named(chosen)))
        how = "one level changed at a time" if grid is Grid.ONE else "every combination of levels"
        network = campaigns.built(cells[0].request)
        title = f"Levels of {method} on {network}: first the whole method, then {how}"
        rows = campaigns.run_table(cells, "ablate", title, out)
        whole = cells[0].request  # both lists begin with the whole method
        if rows[0].integer_top1 is not None:
            campaigns.publish_table("ablate", title, rows, out, conditions(whole))
    campaigns.exit_if_cells_failed(rows)


def one_at_a_time(base: AocqOptions) -> Iterator[AocqOptions]:
    """Yield the whole method, then each level taken away, then what else could be in its place."""
    found = [base, *(base.model_copy(update={level: away}) for level, away in TAKEN_AWAY.items())]
    for level, choices in LEVELS.items():
        found += [base.model_copy(update={level: choice}) for choice in choices]
    # What the whole method does without already, and every choice that is one of these.
    yield from dict.fromkeys(found)


def all_combinations(base: AocqOptions) -> Iterator[AocqOptions]:
    """Yield the whole method and the product of all levels."""
    found = [
        base.model_copy(update=dict(zip(LEVELS, choices, strict=True)))
        for choices in product(*LEVELS.values())
    ]
    yield from [base, *(chosen for chosen in found if chosen != base)]


def named(chosen: AocqOptions) -> dict[str, str]:
    """Return what sets a row apart, by column; the values also name its folder."""
    return {
        "alpha": chosen.alpha,
        "scales": f"s{chosen.scale_passes}",
        "rounding": chosen.rounding,
        "loss": chosen.loss,
        "inputs": "balanced" if chosen.balance_inputs else "plain",
    }


def conditions(request: VerifyRequest) -> list[tuple[str, float, float]]:
    """Return every block's condition numbers, on calibration images, with a finished run's α."""
    from aocq import progress
    from aocq.capture import capture
    from aocq.data.image_folder import read_image_folder
    from aocq.data.loader import evenly, load_calibration_images
    from aocq.methods import storage
    from aocq.methods.aocq.conditioning import block_conditions
    from aocq.zoo.models import load_model

    loaded = load_model(
        request.model,
        request.weights,
        request.classes,
        arguments=request.model_arguments,
        preprocessing=request.preprocessing,
    )
    files = evenly(read_image_folder(request.calibration_folder, loaded.classes), CONDITION_IMAGES)
    images, _ = load_calibration_images(
        files, loaded.preprocessing, skip_bad=request.skip_bad_images
    )
    graph = capture(loaded.network, request.model, loaded.input_size)
    with progress.show("condition numbers", 1) as advance:
        blocks = block_conditions(graph, storage.load(request.out).activations, images)
        advance(1)
    return blocks
