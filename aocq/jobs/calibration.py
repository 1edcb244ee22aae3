# SPDX-License-Identifier: Apache-2.0
"""Calibration: from images to a QuantizedModel, kept for whoever asks for the same."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aocq.capture import FloatGraph
from aocq.data.image_folder import LabelledImage, listing_sha256
from aocq.data.loader import evenly, load_calibration_images
from aocq.jobs.inputs import Inputs
from aocq.jobs.keys import calibration_key, model_meta
from aocq.jobs.request import CalibrationRequest, VerifyRequest
from aocq.lowering.operators import operators_of
from aocq.methods import METHODS, QuantizedModel, storage
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.chip_operators import ChipOperators, exact_operators
from aocq.methods.dynamic_steps import dynamic_steps
from aocq.methods.layernorm_parts import observe_parts
from aocq.methods.quantized_model import Sources
from aocq.progress import Note, Progress, silent
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits, limits_heeded, limits_of
from aocq.recipes.methods import knows_chip
from aocq.recipes.recipe import Recipe
from aocq.records.claim import WORK
from aocq.records.kept import keep, kept
from aocq.records.lease import leased
from aocq.records.manifest import Entry, file_digest, is_whole
from aocq.transforms.apply import changes_network, needs_images, transformed
from aocq.transforms.reader_widths import with_narrow_readers
from aocq.transforms.stream import stretches
from aocq.zoo.models import LoadedModel
from simulator import strict_json
from simulator.errors import InputError
from simulator.profile import NpuProfile

SECONDS_NAME = "seconds.json"
# Means and deviations of channels settle within a few images of some 200 tokens each.
STATISTICS_IMAGES = 32
BLOCKS = "blocks"  # in it, with a digest: what a method keeps of an unfinished calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A quantized model and how many seconds the method took, now or in an earlier run."""

    model: QuantizedModel
    seconds: float


def calibrated(
    method: str,
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    progress: Progress = silent,
    *,
    device: str = "cpu",
    work: Path | None = None,
    operators: ChipOperators = exact_operators,
) -> QuantizedModel:
    """Quantize a captured network on images, parts of its LayerNorms included where a chip has any.

    Parameters
    ----------
    images
        preprocessed, float32 [count, channels, height, width]
    device, work, operators
        see :class:`aocq.methods.Method`

    Raises
    ------
    InputError
        If the network yields values that no weights can be solved from.
    """
    with progress(f"quantize with {method}", len(images)) as advance:
        reached = 0

        def report(done: int, total: int) -> None:
            nonlocal reached
            now = done * len(images) // total
            advance(now - reached)
            reached = now

        try:
            model = METHODS[method](
                graph, images, recipe, limits, report, device=device, work=work, operators=operators
            )
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise InputError(
                f"{graph.name}: {method} cannot solve for a layer's weights: what it sees of the "
                f"calibration images is not finite or has no spread ({error}); check the "
                "checkpoint, and mean and std of --preprocessing"
            ) from error
    if limits.layernorm_part_bits is None or model.leaves_floats:
        return model
    with progress("ranges inside LayerNorm", len(images)) as advance:
        parts = observe_parts(model, images, limits.layernorm_part_bits, advance)
    return replace(model, layernorm_quantizers=parts)


def prepared(
    request: CalibrationRequest,
    limits: ChipLimits,
    graph: FloatGraph,
    loaded: LoadedModel,
    files: Sequence[LabelledImage],
    progress: Progress,
) -> FloatGraph:
    """Return a captured network in the form that a request's method quantizes: rotated, say.

    With codes of their own for products that read a tensor at fewer bits than others.

    The same at every call, which takes a run of the float network on some of the images where the
    recipe asks for balanced channels, and nothing where it asks for no other form.

    Parameters
    ----------
    files
        the calibration images to use, of all in the request's folder

    Raises
    ------
    InputError
        If the network has nothing that the recipe asks to be rotated, or to have steps by block, or
        that a rule for single layers meets.
    """
    graph = _rotated(request, limits, graph, loaded, files, progress)
    return with_narrow_readers(graph, request.recipe, limits)


def _rotated(
    request: CalibrationRequest,
    limits: ChipLimits,
    graph: FloatGraph,
    loaded: LoadedModel,
    files: Sequence[LabelledImage],
    progress: Progress,
) -> FloatGraph:
    options = request.recipe.aocq
    if not knows_chip(request.method) or not changes_network(options, limits):
        return graph
    images = None
    with progress("rotate", 1) as advance:
        if needs_images(options, limits):
            images = statistics_images(
                files, loaded.preprocessing, skip_bad=request.skip_bad_images
            )
        rotated = transformed(graph, options, limits, images)
        advance(1)
    _check_found(graph, rotated, options, limits)
    return rotated


def statistics_images(
    files: Sequence[LabelledImage], preprocessing: Mapping[str, Any], *, skip_bad: bool
) -> Tensor:
    """Return those calibration images that the form of a network rests on.

    Parameters
    ----------
    files
        the calibration images to use, those that cannot be decoded included

    Returns
    -------
    preprocessed, float32 [count, channels, height, width]

    Raises
    ------
    BadImageError
        At the first undecodable image, unless ``skip_bad``.
    """
    few = evenly(files, STATISTICS_IMAGES)
    images, _ = load_calibration_images(few, preprocessing, skip_bad=skip_bad)
    return images


def _check_found(
    graph: FloatGraph, rotated: FloatGraph, options: AocqOptions, limits: ChipLimits
) -> None:
    """Check that a network had what was asked for by name, before hours go into calibrating it."""
    if options.rotate_stream == "always" and not stretches(graph):
        raise InputError(
            f"{graph.name}: --rotate-stream always: no linear layers alone write its residual "
            "stream, or not LayerNorms alone read it; choose --rotate-stream unbalanced or never"
        )
    steps = dynamic_steps(rotated, options, limits).values()
    in_blocks = {(found.group, found.form) for found in steps}
    if options.block_steps and (limits.block, "power_of_two") not in in_blocks:
        raise InputError(
            f"{graph.name}: --block-steps: no function hands a layer rows of whole blocks of "
            f"{limits.block} channels (dynamic.block); choose --no-block-steps"
        )


def calibrate(
    request: CalibrationRequest,
    limits: ChipLimits,
    graph: FloatGraph,
    loaded: LoadedModel,
    files: Sequence[LabelledImage],
    progress: Progress,
    work: Path | None = None,
    profile: NpuProfile | None = None,
) -> QuantizedModel:
    """Decode image files and quantize a loaded network, which is :func:`prepared`, on them.

    Parameters
    ----------
    files
        the images to use, of all in the request's folder
    work
        a folder for what an unfinished calibration keeps, see :class:`aocq.methods.Method`
    profile
        the chip whose own operators the method is to know; None: exact ones
    """
    views = request.recipe.aocq.image_views if knows_chip(request.method) else 1
    images, skipped = load_calibration_images(
        files, loaded.preprocessing, skip_bad=request.skip_bad_images, views=views
    )
    model = calibrated(
        request.method,
        graph,
        images,
        request.recipe,
        limits,
        progress,
        device=request.device,
        work=work,
        operators=operators_of(profile, request.recipe) if profile else exact_operators,
    )
    log = (*({"skipped": str(path)} for path in skipped), *model.log)
    return replace(
        model,
        meta=model_meta(loaded),
        log=log,
        calibration_images=model.calibration_images // views,
        sources=Sources(
            checkpoint_sha256=loaded.checkpoint_sha256,
            calibration_sha256=listing_sha256(request.folder, files),
        ),
    )


def calibrated_once(
    request: VerifyRequest, inputs: Inputs, graph: FloatGraph, progress: Progress, note: Note
) -> Calibrated:
    """Quantize for a run, or take up what an interrupted one or another of the same request kept.

    Chips that differ in the width of biases alone share a calibration.
    """
    found = _kept_or_new(request, inputs, graph, progress, note)
    limits = limits_of(inputs.profile, request.calibration.recipe)
    return replace(found, model=with_room_for_biases(replace(found.model, limits=limits)))


def forget_calibration(request: VerifyRequest, inputs: Inputs) -> None:
    """Delete what a finished run kept of its calibration, unless others may take it up."""
    if request.calibration.shared_folder is None:
        shutil.rmtree(_folder(request, inputs), ignore_errors=True)


def prepared_for_run(
    request: VerifyRequest, inputs: Inputs, graph: FloatGraph, progress: Progress
) -> FloatGraph:
    """Return a run's captured network as :func:`prepared` returns it."""
    limits, asked = _shared_limits(request, inputs), request.calibration
    files = evenly(inputs.calibration, asked.images)
    return prepared(asked, limits, graph, inputs.model, files, progress)


def _folder(request: VerifyRequest, inputs: Inputs, name: str = "quantized") -> Path:
    """Return where a run's calibration is kept, or what a method keeps of an unfinished one."""
    files = evenly(inputs.calibration, request.calibration.images)
    limits = _shared_limits(request, inputs)
    key = calibration_key(request.calibration, limits, inputs.model, files, inputs.profile)
    return (request.calibration.shared_folder or request.out / WORK) / f"{name}-{key}"


def _shared_limits(request: VerifyRequest, inputs: Inputs) -> ChipLimits:
    """Return the limits without those that the method does not look at."""
    limits = limits_of(inputs.profile, request.calibration.recipe)
    return limits_heeded(request.calibration.method, limits)


def _kept_or_new(
    request: VerifyRequest, inputs: Inputs, graph: FloatGraph, progress: Progress, note: Note
) -> Calibrated:
    folder, blocks = _folder(request, inputs), _folder(request, inputs, BLOCKS)
    before = _kept(folder, note)
    if before is not None:
        return before
    if request.calibration.shared_folder is None:
        return _new(request, inputs, graph, progress, folder, blocks)
    with leased(folder.with_name(f"{folder.name}.lease"), note):
        made_meanwhile = _kept(folder, note)
        if made_meanwhile is not None:
            return made_meanwhile
        return _new(request, inputs, graph, progress, folder, blocks)


def _new(
    request: VerifyRequest,
    inputs: Inputs,
    graph: FloatGraph,
    progress: Progress,
    folder: Path,
    blocks: Path,
) -> Calibrated:
    """Quantize, and keep the model in ``folder``; ``blocks`` is for what is unfinished."""
    start = time.perf_counter()
    model = calibrate(
        request.calibration,
        _shared_limits(request, inputs),
        graph,
        inputs.model,
        evenly(inputs.calibration, request.calibration.images),
        progress,
        blocks,
        inputs.profile,
    )
    seconds = time.perf_counter() - start
    storage.save(model, folder)
    names = (storage.JSON_NAME, storage.TENSORS_NAME)
    digests = {name: file_digest(folder / name) for name in names}
    keep(
        folder / SECONDS_NAME,
        strict_json.dumps({"seconds": seconds, "files": digests}).encode(),
    )
    shutil.rmtree(blocks, ignore_errors=True)
    # Read back, so that an interrupted and an uninterrupted run go on with the same bits.
    return Calibrated(model=storage.load(folder), seconds=seconds)


def _kept(folder: Path, note: Note) -> Calibrated | None:
    """Return a kept model and how long it took; None where it is missing or not as it was."""
    if not (folder / SECONDS_NAME).exists():
        return None
    content = kept(folder / SECONDS_NAME)
    plain = strict_json.loads(content) if content is not None else {"files": {}}
    if plain["files"] and is_whole(folder, Entry(identity="", files=plain["files"])):
        return Calibrated(model=storage.load(folder), seconds=float(plain["seconds"]))
    note(f"{folder}: the model that an earlier run kept is damaged; quantizing again")
    return None
