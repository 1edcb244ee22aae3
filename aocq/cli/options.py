# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, described once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from aocq.recipes.aocq_options import PresetName
from aocq.tasks.names import MODULES
from aocq.zoo.options import parse_settings

# Bounds that no sensible job reaches; what is beyond them is a slip of the hand.
MOST_IMAGES = 10**9
LARGEST_BATCH = 100_000
MOST_CLASSES = 10**6
MOST_THREADS = 1024
# All of them are held as one batch: 100,000 photographs of 224 x 224 are 60 GB.
MOST_CALIBRATION_IMAGES = 100_000
GEMMS = ("auto", "avx2", "torch", "blas", "numba")


def finite(number: float | None) -> float | None:
    """Return a number with ``min`` and ``max``; NaN, which is beyond neither, is a usage error.

    Every comparison with it fails, so that every gate would pass.
    """
    if number is not None and math.isnan(number):
        raise typer.BadParameter("nan is not a number")
    return number


Model = Annotated[
    str, typer.Argument(help="timm model name, e.g. deit_tiny_patch16_224 (see: aocq models)")
]
Profile = Annotated[
    str,
    typer.Option(
        "--profile", "-p", help="hardware profile: a name (see: aocq profiles list) or a TOML file"
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="checkpoint, .safetensors or .pth, with timm's names or those that it converts; an "
        "EMA's weights are taken first; code in it is never run. "
        "Without it timm fetches its pretrained weights",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--num-classes",
        min=1,
        max=MOST_CLASSES,
        help="class count, where it is not the model's default",
    ),
]
ModelKwargs = Annotated[
    list[str] | None,
    typer.Option(
        "--model-kwargs",
        metavar="KEY=VALUE",
        help="an argument of timm's constructor that differs from the model's name, e.g. "
        "img_size=32 or depths=2,2,2; may be repeated, or hold several: 'img_size=32 patch_size=2'",
    ),
]
Preprocessing = Annotated[
    list[str] | None,
    typer.Option(
        "--preprocessing",
        metavar="KEY=VALUE",
        help="what differs from timm's preprocessing of the model: mean, std, crop_pct, crop_mode, "
        "interpolation, input_size; may be repeated, e.g. mean=0.49,0.48,0.45",
    ),
]
CalibrationData = Annotated[
    Path,
    typer.Option(
        "--calib-data",
        help="folder of calibration images, one subfolder per class, or as --task has them",
    ),
]
OptionalCalibrationData = Annotated[
    Path | None,
    typer.Option(
        "--calib-data", help="folder of calibration images (default: the images of --data)"
    ),
]
CalibrationImages = Annotated[
    int | None,
    typer.Option(
        "--calib",
        "--calib-images",
        min=1,
        max=MOST_CALIBRATION_IMAGES,
        help="how many calibration images to use (default: as many as a baseline was published "
        "with, 32 or 1000; otherwise the preset's 64, 250 or 1024)",
    ),
]
Preset = Annotated[
    PresetName,
    typer.Option("--preset", help="AOCQ's options, and the number of calibration images"),
]
Device = Annotated[
    Literal["cpu", "cuda"],
    typer.Option("--device", help="where aocq computes; other methods stay on the CPU"),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        help="folder of images to evaluate, one subfolder per class, named by WordNet id, class "
        "name or class number, or as --task has them",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, max=MOST_IMAGES, help="evaluate this many images, evenly chosen"
    ),
]
Batch = Annotated[int, typer.Option("--batch", min=1, max=LARGEST_BATCH, help="images per batch")]
SkipBadImages = Annotated[
    bool,
    typer.Option("--skip-bad-images", help="leave undecodable images out, counted and named"),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        help="worker threads of the emulator (default: all cores)",
    ),
]


def is_given(context: typer.Context, option: str) -> bool:
    """Return whether an option stands on the command line, be it with its default's value."""
    name = next(p.name for p in context.command.params if option in p.opts)
    source = context.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def settings(texts: Sequence[str] | None, option: str) -> dict[str, Any]:
    """Return what ``KEY=VALUE`` texts of an option say, or end as any wrong usage does."""
    try:
        return parse_settings(texts or (), option)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def one_of(names: Sequence[str], unknown: str) -> Callable[[str], str]:
    """Return a check that text is one of ``names``; else a usage error, with the nearest one.

    ``unknown`` is what the error says: ``{text}`` and ``{names}`` stand for both.
    """

    def known(text: str) -> str:
        if text not in names:
            near = get_close_matches(text, names, n=1)
            nearest = f"; nearest: {near[0]}" if near else ""
            message = unknown.format(text=repr(text), names=", ".join(names))
            raise typer.BadParameter(message + nearest)
        return text

    return known


def known_task(text: str | None) -> str | None:
    """Return the name of a task, checked, or None of an option that is left out."""
    return None if text is None else one_of(tuple(MODULES), "{text}: choose {names}")(text)


def _task(default: str = "") -> Any:
    return typer.Option(
        "--task",
        callback=known_task,
        help="what the network does: classification; detection by a dense head on patch tokens, "
        "with COCO's annotations.json beside the images; or segmentation, a class per patch, with "
        "masks beside the images" + default,
    )


Task = Annotated[str, _task()]
TaskOfRun = Annotated[
    str | None,
    _task(" (default: what the run's run.json says, or classification where there is none)"),
]
Gemm = Annotated[
    str,
    typer.Option(
        "--gemm",
        callback=one_of(GEMMS, "{text}: choose {names}"),
        help="matrix product: auto, avx2, torch, blas or numba; all give equal bits",
    ),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="folder for the results")]
Json = Annotated[
    bool, typer.Option("--json", help="print the result as JSON on stdout instead of a table")
]
