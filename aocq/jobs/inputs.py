# SPDX-License-Identifier: Apache-2.0
"""Inputs of a request, opened and checked before any long work; differences are noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from aocq import progress
from aocq.capture import FloatGraph
from aocq.data.image_folder import LabelledImage, evenly
from aocq.jobs.request import CalibrationRequest, ModelRequest, VerifyRequest
from aocq.lowering import check_recipe
from aocq.lowering.normalization import check_l2_normalizations
from aocq.lowering.product_widths import check_products
from aocq.methods import storage as quantized_storage
from aocq.methods.aocq.stream_forms import stream_forms
from aocq.methods.tensor_widths import check_rules
from aocq.progress import Note
from aocq.recipes.limits import limits_of
from aocq.recipes.methods import METHOD_SPECS, knows_chip, leaves_floats
from aocq.recipes.recipe import Recipe
from aocq.records.publishing import refuse_blocked
from aocq.records.run_folder import LAYERS_NAME, REPORT_NAMES, RUN_NAME
from aocq.tasks.task import Dataset, Task, images_of, task_of
from aocq.zoo.models import LoadedModel, class_count, load_model
from aocq.zoo.options import channels_averaged, crop_kept
from simulator.errors import EnvironmentProblem, InputError
from simulator.graph.storage import JSON_NAME as GRAPH_JSON_NAME
from simulator.graph.storage import TENSORS_NAME as GRAPH_TENSORS_NAME
from simulator.product_choice import check_backend
from simulator.profile import NpuProfile, load_profile

RUN_FILES = (
    RUN_NAME,
    LAYERS_NAME,
    *REPORT_NAMES,
    *(quantized_storage.JSON_NAME, quantized_storage.TENSORS_NAME),
    *(GRAPH_JSON_NAME, GRAPH_TENSORS_NAME),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a request's names turned into; made before any long work, so mistakes show at once."""

    profile: NpuProfile
    model: LoadedModel
    task: Task
    calibration: Sequence[LabelledImage]
    dataset: Dataset

    @property
    def images(self) -> Sequence[LabelledImage]:
        """Those to evaluate."""
        return self.dataset.images


def load_requested(request: ModelRequest) -> LoadedModel:
    """Return the network of a request; see :func:`aocq.zoo.models.load_model`."""
    return load_model(
        request.name,
        request.weights,
        request.classes,
        arguments=request.arguments,
        preprocessing=request.preprocessing,
    )


def with_preprocessing_of(task: Task, request: ModelRequest) -> ModelRequest:
    """Return the request of a network with a task's preprocessing where it says nothing else."""
    return replace(request, preprocessing={**task.preprocessing, **request.preprocessing})


def open_inputs(request: VerifyRequest) -> Inputs:
    """Check the output folder and read profile, model and image lists."""
    refuse_blocked(request.out, RUN_FILES)
    profile = load_profile(request.profile)
    asked = request.calibration
    check_method(asked.method, asked.recipe, profile, asked.device)
    check_backend(request.emulation.gemm)
    # Before weights are fetched: a wrong folder must not come to light after that.
    task = task_of(request.task)
    expected = request.model.classes or class_count(request.model.name)
    listed = _listed(request, task, expected) if expected else None
    model = load_requested(with_preprocessing_of(task, request.model))
    if listed is None or model.classes != expected:
        listed = _listed(request, task, model.classes)
    calibration, dataset = listed
    return Inputs(profile=profile, model=model, task=task, calibration=calibration, dataset=dataset)


def _listed(
    request: VerifyRequest, task: Task, classes: int
) -> tuple[Sequence[LabelledImage], Dataset]:
    """Return the images to calibrate with and those to evaluate; one folder is read once."""
    dataset = task.read(request.evaluation.folder, classes, progress.note)
    task.check_images(dataset, evenly(dataset.images, request.evaluation.limit))
    if request.calibration.folder == request.evaluation.folder:
        return dataset.images, dataset
    return images_of(task, request.calibration.folder, classes, progress.note), dataset


def note_missing_images(wanted: int, found: Sequence[LabelledImage], note: Note) -> None:
    """Say so where a calibration folder has fewer images than may be used, by default or asked."""
    if len(found) < wanted:
        note(f"{len(found)} calibration images are there, up to {wanted} may be: all are used")


def note_crop(model: LoadedModel, preprocessing: Mapping[str, Any], note: Note) -> None:
    """Say so where timm's own crop, mean or std is taken for images of another size or gray."""
    if kept := crop_kept(model.name, model.arguments, preprocessing, model.preprocessing):
        note(kept)
    if averaged := channels_averaged(model.name, preprocessing, model.preprocessing):
        note(averaged)


def note_weights(model: LoadedModel, note: Note) -> None:
    """Say which weights were taken where a checkpoint has several, and what was made of them."""
    for text in model.weights_taken:
        note(f"{model.name}: {text}")


def check_method(method: str, recipe: Recipe, profile: NpuProfile, device: str) -> None:
    """Check that a method can do what it is asked for; needs no model yet.

    Raises
    ------
    InputError
        If there is no such method, or the profile cannot hold what the recipe asks for.
    EnvironmentProblem
        If ``device`` is not on this machine.
    """
    if method not in METHOD_SPECS:
        raise InputError(f"method {method}: choose one of {', '.join(METHOD_SPECS)}")
    in_float = leaves_floats(method, recipe.float_ops)
    limits = limits_of(profile, recipe)
    for pattern in () if knows_chip(method) else recipe.layers.values_of("alpha"):
        raise InputError(
            f'layers."{pattern}".alpha: method {method} has no factors on the residual stream; '
            "leave it out, or choose --method aocq"
        )
    check_recipe(recipe, limits, profile, leaves_floats=in_float, knows_chip=knows_chip(method))
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "device cuda: torch finds no usable GPU here (a CPU build of torch, or no driver); "
            "leave --device out, or install a CUDA build of torch"
        )


def check_operations(
    calibration: CalibrationRequest, graph: FloatGraph, profile: NpuProfile
) -> None:
    """Check that a profile has a lowering of every operation of a network, before calibration.

    Raises
    ------
    InputError
        If it has none of one, or does not read the operands of a product at their widths, and the
        method leaves no operators in float; if a rule for single layers meets none of the network.
    """
    recipe = calibration.recipe
    limits = limits_of(profile, recipe)
    if knows_chip(calibration.method):
        stream_forms(graph, recipe)
    if leaves_floats(calibration.method, recipe.float_ops):
        check_rules(graph, recipe, limits)
        return
    check_l2_normalizations(graph, profile)
    check_products(graph, recipe, limits, profile)
