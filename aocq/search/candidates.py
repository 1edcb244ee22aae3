# SPDX-License-Identifier: Apache-2.0
"""Candidates: recipes that are quantized and emulated in integers, a run folder each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aocq.capture import FloatGraph
from aocq.data.image_folder import LabelledImage
from aocq.jobs.calibration import calibrated_once
from aocq.jobs.inputs import Inputs, check_method
from aocq.jobs.keys import request_key
from aocq.jobs.request import VerifyRequest
from aocq.jobs.verify import verify
from aocq.methods.quantized_model import QuantizedModel
from aocq.progress import Note, Progress
from aocq.recipes.recipe import Recipe
from aocq.records.finished import Draw, finished_run
from aocq.records.publishing import claimed
from aocq.records.run import RunResult

RUNS, CALIBRATIONS = "runs", "calibrations"


@dataclass(frozen=True, slots=True, kw_only=True)
class Laboratory:
    """Where candidates of one network are made: its request, opened, and how they report.

    Attributes
    ----------
    request
        with the recipe that candidates differ from; its ``out`` is the folder of all of them
    inputs
        of the request; its images are those that candidates are judged on
    kind
        first part of the names of run folders: what the runs are for
    draw
        writes the pages of every new run
    """

    request: VerifyRequest
    inputs: Inputs
    kind: str
    progress: Progress
    note: Note
    draw: Draw

    def on(self, images: Sequence[LabelledImage], kind: str) -> Laboratory:
        """Return the same for other images, all of which are judged."""
        dataset = replace(self.inputs.dataset, images=images)
        evaluation = replace(self.request.evaluation, limit=None)
        return replace(
            self,
            inputs=replace(self.inputs, dataset=dataset),
            request=replace(self.request, evaluation=evaluation),
            kind=kind,
        )


def folder_of(laboratory: Laboratory, recipe: Recipe) -> Path:
    """Return the run folder of a recipe: its name is a digest of recipe and calibration."""
    asked = laboratory.request.calibration
    plain = json.dumps([asked.method, asked.images, recipe.plain()], sort_keys=True)
    digest = hashlib.sha256(plain.encode()).hexdigest()[:12]
    return laboratory.request.out / RUNS / f"{laboratory.kind}-{digest}"


def emulated(laboratory: Laboratory, recipe: Recipe, name: str) -> tuple[RunResult, Path]:
    """Return the run of a recipe and its folder: a finished one, or one that is made now.

    Parameters
    ----------
    name
        of the candidate, for people

    Raises
    ------
    InputError
        If the profile cannot hold what the recipe asks for.
    """
    asked = laboratory.request
    out = folder_of(laboratory, recipe)
    request = replace(asked, calibration=replace(asked.calibration, recipe=recipe), out=out)
    profile, device = laboratory.inputs.profile, asked.calibration.device
    check_method(asked.calibration.method, recipe, profile, device)
    with claimed(out, laboratory.note):
        before = finished_run(out, request_key(request, laboratory.inputs))
        if before is not None:
            laboratory.note(f"{name}: finished before")
            return before[0], out
        laboratory.note(name)
        result, _ = verify(
            request, laboratory.progress, laboratory.note, laboratory.inputs, laboratory.draw
        )
    return result, out


def quantized_at(laboratory: Laboratory, graph: FloatGraph, recipe: Recipe) -> QuantizedModel:
    """Return the network quantized by another recipe; kept, and taken up again.

    Parameters
    ----------
    graph
        the float network in the form that is quantized
    """
    asked = laboratory.request
    kept = asked.out / CALIBRATIONS
    calibration = replace(asked.calibration, recipe=recipe, shared_folder=kept)
    request = replace(asked, calibration=calibration)
    inputs, progress, note = laboratory.inputs, laboratory.progress, laboratory.note
    return calibrated_once(request, inputs, graph, progress, note).model
