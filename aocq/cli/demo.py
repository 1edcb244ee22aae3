# SPDX-License-Identifier: Apache-2.0
"""``aocq demo``: the main job on a bundled network and its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, recipes, requests, verify
from aocq.cli.interruption import resuming
from aocq.recipes.aocq_options import PRESETS
from aocq.recipes.fields import field_specs
from aocq.recipes.recipe import Recipe
from aocq.tasks.names import CLASSIFICATION

CALIBRATION_IMAGES = 128  # all that are bundled
DemoWeightBits = Annotated[
    int | None,
    recipes.option(
        field_specs(Recipe)["weight_bits"],
        "bits of the weights (default: 4, or the fewest that the profile reads)",
    ),
]


DemoOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="folder for the results (default: runs/demo, or runs/demo-TASK of another task)",
    ),
]


def folder_of(task: str, out: Path | None) -> Path:
    """Return the folder for the results: the one that is named, or the task's own."""
    return out or Path("runs", "demo" if task == CLASSIFICATION else f"demo-{task}")


def default_weight_bits(widths: Sequence[int]) -> int:
    """Return 4 where the chip reads such weights, else its narrowest."""
    return 4 if 4 in widths else min(widths)


@resuming
def command(
    task: options.Task = CLASSIFICATION,
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.LEFT_OUT,
    weight_bits: DemoWeightBits = None,
    preset: options.Preset = "default",
    device: options.Device = "cpu",
    out: DemoOut = None,
    as_json: options.Json = False,
) -> None:
    """Quantize, emulate and report a bundled nano ViT on handwritten digits; no network needed.

    Judges 360 test images; of detection and segmentation 240 canvases with one to four digits each.
    By default weights have 4 bits, or the fewest that the profile reads, and activations the
    profile's. The images are written to OUT/data, so that every other command can be tried on them.
    """
    from aocq import progress
    from aocq.demo import NETWORKS
    from aocq.demo.canvas_folder import write_canvas_folder
    from aocq.demo.digits import write_image_folder
    from aocq.jobs.request import ModelRequest
    from aocq.records.gates import DEFAULT_MAX_DROP, Gates
    from aocq.records.publishing import claimed
    from simulator.errors import InputError
    from simulator.profile import load_profile

    chip = load_profile(profile)
    folder = folder_of(task, out)
    images = folder / "data"
    write = write_image_folder if task == CLASSIFICATION else write_canvas_folder
    with claimed(folder, progress.note):
        try:
            write(images)
        except OSError as error:
            raise InputError(
                f"{images}: cannot be written ({error.strerror or error}); name another folder"
            ) from error
        run = requests.RunOptions(
            task=task,
            calibration=images / "calib",
            calibrating=requests.CalibrationOptions(
                calibration_images=CALIBRATION_IMAGES, preset=preset, device=device
            ),
        )
        recipe = Recipe(
            weight_bits=weight_bits or default_weight_bits(chip.weight.bits),
            activation_bits=chip.activation.operand_width,
            aocq=PRESETS[preset].options,
        )
        request = run.request(
            ModelRequest(name=NETWORKS[task]),
            images / "val",
            profile=profile,
            method=method,
            recipe=recipe,
            out=folder,
            gates=Gates(default_drop=DEFAULT_MAX_DROP),
        )
        verify.run_and_report(request, as_json=as_json)
