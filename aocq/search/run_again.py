# SPDX-License-Identifier: Apache-2.0
"""A finished run or quantized model, opened so that it can be made again with another recipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aocq import progress
from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import LabelledImage, evenly, listing_sha256
from aocq.jobs.calibration import statistics_images
from aocq.jobs.inputs import Inputs, open_inputs
from aocq.jobs.reference_graph import in_form_of, takes_images
from aocq.jobs.request import (
    CalibrationRequest,
    EmulationRequest,
    EvaluationRequest,
    ModelRequest,
    VerifyRequest,
)
from aocq.jobs.run_sources import described, last_named, record_in
from aocq.methods import storage
from aocq.methods.quantized_model import QuantizedModel
from aocq.records.gates import Gates
from aocq.records.run import RunResult
from aocq.tasks.names import CLASSIFICATION
from simulator.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the sources of a run are now; None: where the run's command line says.

    Attributes
    ----------
    weights, data, calibration
        a checkpoint, images to judge by, images to calibrate with
    profile
        a name or a file
    """

    weights: Path | None = None
    data: Path | None = None
    calibration: Path | None = None
    profile: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAgain:
    """A run, read again, with all that its request needs to be made with another recipe.

    Attributes
    ----------
    request
        of the run itself; ``out`` is not the run's folder but the one that was asked for
    record
        None of a folder that ``aocq quantize`` wrote
    reference
        the float network in the form that the quantized one has
    """

    request: VerifyRequest
    inputs: Inputs
    record: RunResult | None
    model: QuantizedModel
    reference: FloatGraph

    @property
    def calibration_files(self) -> Sequence[LabelledImage]:
        """The images that the run was calibrated on."""
        return evenly(self.inputs.calibration, self.request.calibration.images)


def run_again(folder: Path, folders: Folders, out: Path, limit: int | None) -> RunAgain:
    """Open a folder that ``aocq verify`` or ``aocq quantize`` wrote.

    Parameters
    ----------
    out
        where runs of other recipes go
    limit
        of the images to judge by, evenly taken; None: all

    Raises
    ------
    InputError
        If the folder holds neither, a source is not where the run's command line says, or it is
        another than the run's.
    """
    record, model = record_in(folder), storage.load(folder)
    request = _request(folder, record, model, folders, out, limit)
    inputs = open_inputs(request)
    _check_sources(folder, model, request, inputs)
    captured = capture(inputs.model.network, inputs.model.name, inputs.model.input_size)
    images = None
    if takes_images(model):
        files = evenly(inputs.calibration, request.calibration.images)
        bad = request.calibration.skip_bad_images
        images = statistics_images(files, inputs.model.preprocessing, skip_bad=bad)
    return RunAgain(
        request=request,
        inputs=inputs,
        record=record,
        model=model,
        reference=in_form_of(model, captured, images),
    )


def _request(
    folder: Path,
    record: RunResult | None,
    model: QuantizedModel,
    folders: Folders,
    out: Path,
    limit: int | None,
) -> VerifyRequest:
    meta = described(folder, model)
    skipped = sum("skipped" in entry for entry in model.log)
    command = record.command if record else ()
    named = last_named(command, "--profile") or last_named(command, "-p")  # it may be a file
    profile = folders.profile or named or (record.profile.name if record else None)
    if profile is None:
        raise InputError(
            f"{folder}: does not say for which profile it is; name it with --profile NAME"
        )
    weights = folders.weights or _path(last_named(command, "--weights"))
    if weights is not None and not weights.is_file():
        raise InputError(
            f"{weights}: not found, the checkpoint of the run in {folder}; name it with "
            "--weights FILE"
        )
    return VerifyRequest(
        model=ModelRequest(
            name=model.graph.name,
            weights=weights,
            classes=meta.classes,
            arguments=meta.model_arguments,
            preprocessing={key: _hashable(value) for key, value in meta.preprocessing.items()},
        ),
        profile=profile,
        calibration=CalibrationRequest(
            method=model.method,
            recipe=model.recipe,
            folder=_folder(folder, folders.calibration, command, "--calib-data", "--data"),
            images=model.calibration_images + skipped,
            skip_bad_images=skipped > 0,
        ),
        evaluation=EvaluationRequest(
            folder=_folder(folder, folders.data, command, "--data"), limit=limit
        ),
        emulation=EmulationRequest(),
        gates=Gates(),
        out=out,
        command=("aocq", *sys.argv[1:]),
        task=record.accuracy.task if record else CLASSIFICATION,
    )


def _folder(run: Path, given: Path | None, command: Sequence[str], *options: str) -> Path:
    """Return a folder of images: the given one, or that of the run's command line."""
    named = (_path(last_named(command, option)) for option in options)
    found = given or next(filter(None, named), None)
    option = options[0]
    if found is None:
        raise InputError(
            f"{run}: its command line names no {option}; name the images with {option} FOLDER"
        )
    if not found.is_dir():
        raise InputError(
            f"{found}: not found, {option} of the run in {run}; name the images with "
            f"{option} FOLDER"
        )
    return found


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_sources(
    folder: Path, model: QuantizedModel, request: VerifyRequest, inputs: Inputs
) -> None:
    """Check that weights and calibration images are those of the run; older runs do not say."""
    if model.sources is None:
        progress.note(
            f"{folder}: does not say of which weights and images it was made; those that are named "
            "are taken for them, unchecked"
        )
        return
    found = inputs.model.checkpoint_sha256
    if found != model.sources.checkpoint_sha256:
        raise InputError(
            f"{request.model.weights or inputs.model.name}: its weights (sha256 {found[:12]}…) are "
            f"not those of the run in {folder} ({model.sources.checkpoint_sha256[:12]}…); name "
            "these with --weights FILE"
        )
    asked = request.calibration
    files = evenly(inputs.calibration, asked.images)
    if listing_sha256(asked.folder, files) != model.sources.calibration_sha256:
        raise InputError(
            f"{asked.folder}: its images are not those that the run in {folder} was calibrated on, "
            "by their names, classes and sizes; name the run's folder of them with --calib-data"
        )
