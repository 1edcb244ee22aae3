# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, described once, and the groups that they come in."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aocq.cli.groups import OptionGroup
from aocq.recipes.aocq_options import PresetName
from aocq.recipes.methods import calibration_images
from aocq.recipes.recipe import Recipe
from aocq.zoo.options import parse_settings

if TYPE_CHECKING:
    from aocq.jobs.request import (
        CalibrationRequest,
        EmulationRequest,
        EvaluationRequest,
        ModelRequest,
        VerifyRequest,
    )
    from aocq.records.gates import Gates

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
    typer.Option("--calib-data", help="folder of calibration images, one subfolder per class"),
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
        "name or class number",
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


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(OptionGroup):
    """How a network differs from what its timm name says."""

    classes: Classes = None
    model_kwargs: ModelKwargs = None
    preprocessing: Preprocessing = None

    def request_of(self, name: str, weights: Path | None = None) -> ModelRequest:
        """Return the request of a network; a usage error where a setting is none."""
        from aocq.jobs.request import ModelRequest

        return ModelRequest(
            name=name,
            weights=weights,
            classes=self.classes,
            arguments=settings(self.model_kwargs, "--model-kwargs"),
            preprocessing=settings(self.preprocessing, "--preprocessing"),
        )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup):
    """One network, its weights, and how it differs from its name."""

    model: Model
    weights: Weights = None
    network: NetworkOptions = field(default_factory=NetworkOptions)

    def request(self) -> ModelRequest:
        """Return the request of the network."""
        return self.network.request_of(self.model, self.weights)


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(OptionGroup):
    """How much is calibrated with, and where."""

    calibration_images: CalibrationImages = None
    preset: Preset = "default"
    device: Device = "cpu"

    def request(
        self,
        method: str,
        recipe: Recipe,
        folder: Path,
        *,
        skip_bad_images: bool,
        shared_folder: Path | None = None,
    ) -> CalibrationRequest:
        """Return the request of a calibration; see there for the parameters.

        Without a number of images it is the one that the method was published with, or the
        preset's.
        """
        from aocq.jobs.request import CalibrationRequest

        return CalibrationRequest(
            method=method,
            recipe=recipe,
            folder=folder,
            images=self.calibration_images or calibration_images(method, self.preset),
            skip_bad_images=skip_bad_images,
            device=self.device,
            shared_folder=shared_folder,
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions(OptionGroup):
    """Which images are evaluated."""

    limit: Limit = None
    batch: Batch = 32
    skip_bad_images: SkipBadImages = False

    def request(self, folder: Path) -> EvaluationRequest:
        """Return the request to evaluate the images of a folder."""
        from aocq.jobs.request import EvaluationRequest

        return EvaluationRequest(
            folder=folder,
            limit=self.limit,
            batch=self.batch,
            skip_bad_images=self.skip_bad_images,
        )


@dataclass(frozen=True, kw_only=True)
class EmulationOptions(OptionGroup):
    """How the integers are computed."""

    threads: Threads = None
    gemm: Gemm = "auto"

    def request(self) -> EmulationRequest:
        """Return the request of an emulation."""
        from aocq.jobs.request import EmulationRequest

        return EmulationRequest(threads=self.threads, gemm=self.gemm)


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionGroup):
    """Options of the commands that do the main job, once or for many cells."""

    calibration: OptionalCalibrationData = None
    calibrating: CalibrationOptions = field(default_factory=CalibrationOptions)
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)
    emulation: EmulationOptions = field(default_factory=EmulationOptions)

    def request(
        self,
        model: ModelRequest,
        data: Path,
        *,
        profile: str,
        method: str,
        recipe: Recipe,
        out: Path,
        gates: Gates | None = None,
        shared_folder: Path | None = None,
    ) -> VerifyRequest:
        """Return the request of a run that this process's command line asks for.

        Parameters
        ----------
        data
            folder of the images to evaluate, and to calibrate with if there is no other
        gates
            None: the run is not judged
        shared_folder
            folder of quantized models that several requests share; None: the run has its own
        """
        from aocq.jobs.request import VerifyRequest
        from aocq.records.gates import Gates

        return VerifyRequest(
            model=model,
            profile=profile,
            calibration=self.calibrating.request(
                method,
                recipe,
                self.calibration or data,
                skip_bad_images=self.evaluation.skip_bad_images,
                shared_folder=shared_folder,
            ),
            evaluation=self.evaluation.request(data),
            emulation=self.emulation.request(),
            gates=gates or Gates(max_drop=None),
            out=out,
            command=("aocq", *sys.argv[1:]),
        )
