# SPDX-License-Identifier: Apache-2.0
"""The float network in the form that a quantized model has: rotated and balanced as that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aocq import progress
from aocq.capture import FloatGraph, FloatOp
from aocq.data.decoding import none_left_out
from aocq.data.image_folder import LabelledImage, evenly, listing_sha256
from aocq.jobs.calibration import statistics_images
from aocq.methods.quantized_model import QuantizedModel
from aocq.recipes.methods import knows_chip
from aocq.transforms.apply import changes_network, needs_images, transformed
from aocq.transforms.reader_widths import with_narrow_readers
from simulator.errors import InputError


def takes_images(model: QuantizedModel) -> bool:
    """Return whether the form of a model rests on calibration images."""
    return _changed(model) and needs_images(model.recipe.aocq, model.limits)


def in_form_of(model: QuantizedModel, graph: FloatGraph, images: Tensor | None) -> FloatGraph:
    """Return a captured network with the tensors that the quantized one has, in float.

    Parameters
    ----------
    images
        the first of the calibration images, where :func:`takes_images`

    Raises
    ------
    InputError
        If images are missing, or the form is another with these.
    """
    if takes_images(model) and images is None:
        raise InputError(
            f"{graph.name}: was brought into another form before it was quantized, by what was "
            "seen on calibration images; name the run's folder of them with --calib-data"
        )
    if _changed(model):
        graph = transformed(graph, model.recipe.aocq, model.limits, images)
    graph = with_narrow_readers(graph, model.recipe, model.limits)
    if not _alike(model, graph):
        raise InputError(
            f"{graph.name}: is not in the form of the quantized model; take the calibration images "
            "of the run (--calib-data), or make the run again with this version"
        )
    return graph


def statistics_images_of(
    model: QuantizedModel,
    folder: Path,
    listed: Sequence[LabelledImage],
    preprocessing: Mapping[str, Any],
) -> Tensor:
    """Return the images that the form of a model rests on, left out ones as when it was made.

    Parameters
    ----------
    listed
        all images of ``folder``, the run's calibration images

    Returns
    -------
    preprocessed, float32 [count, channels, height, width]

    Raises
    ------
    InputError
        If they are not those that the model was calibrated on, or one cannot be decoded.
    """
    skipped = sum("skipped" in entry for entry in model.log)
    files = evenly(listed, model.calibration_images + skipped)
    if model.sources is None:
        progress.note(
            f"{model.graph.name}: does not say on which images it was calibrated; those in "
            f"{folder} are taken for them, unchecked"
        )
    elif model.sources.calibration_sha256 != listing_sha256(folder, files):
        raise InputError(
            f"{folder}: its images are not those that {model.graph.name} was calibrated on, by "
            "their names, classes and sizes; name the run's folder of them with --calib-data"
        )
    with none_left_out():
        return statistics_images(files, preprocessing, skip_bad=skipped > 0)


def _changed(model: QuantizedModel) -> bool:
    return knows_chip(model.method) and changes_network(model.recipe.aocq, model.limits)


def _alike(model: QuantizedModel, graph: FloatGraph) -> bool:
    """Return whether nodes are the same, and the γ of their normalizations."""
    nodes = ([(n.name, n.op, n.inputs) for n in each.nodes] for each in (model.graph, graph))
    if next(nodes) != next(nodes):
        return False
    names = {
        node.attributes["weight"]
        for node in graph.nodes
        if node.op is FloatOp.LAYERNORM and node.attributes["weight"]
    }
    return all(
        torch.allclose(graph.parameters[name].float(), model.graph.parameters[name].float())
        for name in names
    )
