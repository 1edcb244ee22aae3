# SPDX-License-Identifier: Apache-2.0
"""Groups of options that commands share, and the requests of jobs that they make."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aocq.cli import options
from aocq.cli.groups import OptionGroup
from aocq.recipes.methods import calibration_images
from aocq.recipes.recipe import Recipe
from aocq.tasks.names import CLASSIFICATION

if TYPE_CHECKING:
    from aocq.jobs.request import (
        CalibrationRequest,
        EmulationRequest,
        EvaluationRequest,
        ModelRequest,
        VerifyRequest,
    )
    from aocq.records.gates import Gates


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(OptionGroup):
    """How a network differs from what its timm name says."""

    classes: options.Classes = None
    model_kwargs: options.ModelKwargs = None
    preprocessing: options.Preprocessing = None

    def request_of(self, name: str, weights: Path | None = None) -> ModelRequest:
        """Return the request of a network; a usage error where a setting is none."""
        from aocq.jobs.request import ModelRequest

        return ModelRequest(
            name=name,
            weights=weights,
            classes=self.classes,
            arguments=options.settings(self.model_kwargs, "--model-kwargs"),
            preprocessing=options.settings(self.preprocessing, "--preprocessing"),
        )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup):
    """One network, its weights, and how it differs from its name."""

    model: options.Model
    weights: options.Weights = None
    network: NetworkOptions = field(default_factory=NetworkOptions)

    def request(self) -> ModelRequest:
        """Return the request of the network."""
        return self.network.request_of(self.model, self.weights)


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions(OptionGroup):
    """How much is calibrated with, and where."""

    calibration_images: options.CalibrationImages = None
    preset: options.Preset = "default"
    device: options.Device = "cpu"

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

    limit: options.Limit = None
    batch: options.Batch = 32
    skip_bad_images: options.SkipBadImages = False

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

    threads: options.Threads = None
    gemm: options.Gemm = "auto"

    def request(self) -> EmulationRequest:
        """Return the request of an emulation."""
        from aocq.jobs.request import EmulationRequest

        return EmulationRequest(threads=self.threads, gemm=self.gemm)


@dataclass(frozen=True, kw_only=True)
class RunOptions(OptionGroup):
    """Options of the commands that do the main job, once or for many cells."""

    task: options.Task = CLASSIFICATION
    calibration: options.OptionalCalibrationData = None
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
            gates=gates or Gates(),
            out=out,
            command=("aocq", *sys.argv[1:]),
            task=self.task,
        )
