# SPDX-License-Identifier: Apache-2.0
"""The main job: capture, quantize, lower, emulate, cost, and one record of it all."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import LabelledImage, read_image_folder
from aocq.data.loader import ImageBatches, evenly, load_calibration_images
from aocq.jobs.evaluate import evaluate
from aocq.jobs.mismatches import mismatches_per_image
from aocq.jobs.op_sqnr import sqnr_per_op
from aocq.jobs.record import Sampled, layer_rows, readable, run_record
from aocq.jobs.request import (
    Inputs,
    VerifyRequest,
    calibration_key,
    constrained,
    evaluation_key,
    model_meta,
    request_key,
)
from aocq.lowering import check_recipe, lower
from aocq.methods import LEAVE_FLOATS, METHODS, QuantizedModel, Recipe
from aocq.methods import storage as quantized_storage
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.layernorm_parts import observe_parts
from aocq.methods.quantizers import ActivationQuantizer
from aocq.records.claim import WORK
from aocq.records.finished import (
    COMMAND,
    Draw,
    Run,
    finished_run,
    has_pages,
    note_replaced,
    redraw,
)
from aocq.records.gates import judged
from aocq.records.kept import keep, kept
from aocq.records.manifest import Entry, file_digest, is_whole
from aocq.records.publishing import publish, refuse_blocked, staging
from aocq.records.run import RunResult
from aocq.records.run_folder import LAYERS_NAME, REPORT_NAMES, RUN_NAME, save_run
from aocq.zoo.models import LoadedModel, class_count, load_model
from aocq.zoo.options import channels_averaged, crop_kept
from simulator import strict_json
from simulator.cost import estimate
from simulator.errors import EnvironmentProblem, InputError
from simulator.executor import Executor
from simulator.gemm import backend
from simulator.graph import save as save_graph
from simulator.graph.storage import JSON_NAME as GRAPH_JSON_NAME
from simulator.graph.storage import TENSORS_NAME as GRAPH_TENSORS_NAME
from simulator.profile import NpuProfile, load_profile

# (what is being done, how many steps) -> context manager yielding advance(steps)
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
# takes what a person should know, a sentence
Note = Callable[[str], None]

RUN_FILES = (
    RUN_NAME,
    LAYERS_NAME,
    *REPORT_NAMES,
    *(quantized_storage.JSON_NAME, quantized_storage.TENSORS_NAME),
    *(GRAPH_JSON_NAME, GRAPH_TENSORS_NAME),
)
SECONDS_NAME = "seconds.json"
BLOCKS = "blocks"  # in it, with a digest: what a method keeps of an unfinished calibration
# Per-op SQNR settles within a few images: every op has 10^4 values and more in each.
SQNR_IMAGES = 32
MISMATCH_IMAGES = 4


def verify(
    request: VerifyRequest,
    progress: Progress,
    note: Note = lambda text: None,
    inputs: Inputs | None = None,
    draw: Draw = lambda result, rows, folder: None,
) -> Run:
    """Do the main job and write its files into ``request.out``, which the caller has claimed.

    A finished run in ``out`` that answers the request is taken as it is, and judged by the
    request's gates. Long steps leave their results in ``out/.work`` and are taken up there by the
    same command; the files of an earlier run in ``out`` stay until the new ones are complete.

    Parameters
    ----------
    note
        called with what differs from what was asked for, before any long work
    inputs
        what :func:`open_inputs` returned for this request, where a caller has it already
    draw
        writes the run's pages, which are published with it

    Raises
    ------
    InputError, EnvironmentProblem
        See the parts: profile, model, data, method, lowering.
    """
    inputs = inputs or open_inputs(request)
    key = request_key(request, inputs)
    before = finished_run(request.out, key)
    if before is not None and _by_same_engine(request, before[0]):
        return _judged_again(request, before, note, draw)
    if before is None:
        note_replaced(request.out, note)
    note_missing_images(request.calibration_images, inputs.calibration, note)
    note_crop(inputs.model, request.preprocessing, note)
    note_weights(inputs.model, note)
    work = request.out / WORK
    with progress(f"capture {request.model}", 1) as advance:
        float_graph = capture(inputs.model.network, request.model, inputs.model.input_size)
        advance(1)
    model, seconds = _quantized(request, inputs, float_graph, work, progress, note)
    graph = lower(model, inputs.profile)
    executor = Executor(graph, gemm=request.gemm, threads=request.threads)
    batches = _batches(request, inputs, request.limit)
    evaluation_folder = work / f"evaluation-{evaluation_key(request, inputs, graph)}"
    with progress("evaluate", len(batches.images)) as advance:
        evaluation = evaluate(
            inputs.model.network, model, executor, batches, evaluation_folder, advance
        )
    sqnr, sqnr_images = _sqnr(request, inputs, model, executor, float_graph, progress)
    mismatches, mismatch_images = _mismatches(request, inputs, model, executor, progress)
    costs = estimate(graph, inputs.profile)
    rows = layer_rows(graph, costs, evaluation, sqnr, mismatches)
    sampled = Sampled(sqnr=sqnr_images, mismatches=mismatch_images)
    result = run_record(
        request, inputs, model, seconds, graph, executor, evaluation, costs, rows, sampled
    )
    complete = staging(request.out)
    quantized_storage.save(model, complete)
    save_graph(graph, complete)
    save_run(result, rows, complete)
    draw(result, rows, complete)
    publish(request.out, COMMAND, key)
    _forget(request, inputs, evaluation_folder)
    return result, rows


def _forget(request: VerifyRequest, inputs: Inputs, evaluation_folder: Path) -> None:
    """Delete what a finished run kept on its way; what another request left unfinished stays."""
    shutil.rmtree(evaluation_folder, ignore_errors=True)
    if request.quantized is None:
        kept_model = request.out / WORK / f"quantized-{_shared_key(request, inputs)}"
        shutil.rmtree(kept_model, ignore_errors=True)


def _shared_key(request: VerifyRequest, inputs: Inputs) -> str:
    """Return the key of a calibration; chips that differ in the width of biases alone share it."""
    return calibration_key(
        request.method,
        _shared_recipe(request, inputs),
        inputs.model,
        evenly(inputs.calibration, request.calibration_images),
        skip_bad=request.skip_bad_images,
        device=request.device,
    )


def _shared_recipe(request: VerifyRequest, inputs: Inputs) -> Recipe:
    recipe = constrained(request.recipe, inputs.profile)
    return recipe.model_copy(update={"bias_bits": None})


def _by_same_engine(request: VerifyRequest, result: RunResult) -> bool:
    """Return whether a run's times are of the threads and the backend that are asked for."""
    emulation = result.emulation
    return request.gemm in {"auto", emulation.gemm_backend} and request.threads in {
        None,
        emulation.threads,
    }


def _judged_again(request: VerifyRequest, before: Run, note: Note, draw: Draw) -> Run:
    """Return a finished run under a request's gates; its record and pages say by which."""
    result, rows = before
    command = [readable(part) for part in request.command]
    again = judged(result, request.gates).model_copy(update={"command": command})
    note(f"finished before: took the run in {request.out}; nothing is computed again")
    if again != result or not has_pages(request.out):
        redraw(request.out, again, rows, draw, record=True)
    return again, rows


def open_inputs(request: VerifyRequest) -> Inputs:
    """Check the output folder and read profile, model and image lists."""
    refuse_blocked(request.out, RUN_FILES)
    profile = load_profile(request.profile)
    check_method(request.method, request.recipe, profile, request.device)
    backend(request.gemm)
    # Before weights are fetched: a wrong folder must not come to light after that.
    expected = request.classes or class_count(request.model)
    listed = _listed(request, expected) if expected else None
    model = load_model(
        request.model,
        request.weights,
        request.classes,
        arguments=request.model_arguments,
        preprocessing=request.preprocessing,
    )
    if listed is None or model.classes != expected:
        listed = _listed(request, model.classes)
    calibration, images = listed
    return Inputs(profile=profile, model=model, calibration=calibration, images=images)


def _listed(
    request: VerifyRequest, classes: int
) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Return the images to calibrate with and those to evaluate; one folder is read once."""
    images = read_image_folder(request.data_folder, classes)
    if request.calibration_folder == request.data_folder:
        return images, images
    return read_image_folder(request.calibration_folder, classes), images


def check_method(method: str, recipe: Recipe, profile: NpuProfile, device: str) -> None:
    """Check that a method can do what it is asked for; needs no model yet.

    Raises
    ------
    InputError
        If there is no such method, or the profile cannot hold what the recipe asks for.
    EnvironmentProblem
        If ``device`` is not on this machine.
    """
    if method not in METHODS:
        raise InputError(f"method {method}: choose one of {', '.join(METHODS)}")
    leaves_floats = method in LEAVE_FLOATS and recipe.float_ops == "declared"
    check_recipe(constrained(recipe, profile), profile, leaves_floats=leaves_floats)
    if device == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem(
            "device cuda: torch finds no usable GPU here (a CPU build of torch, or no driver); "
            "leave --device out, or install a CUDA build of torch"
        )


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


def _quantized(
    request: VerifyRequest,
    inputs: Inputs,
    float_graph: FloatGraph,
    work: Path,
    progress: Progress,
    note: Note,
) -> tuple[QuantizedModel, float]:
    """Quantize, or take up what an interrupted run of the same request left, or another's."""
    model, seconds = _calibrated(request, inputs, float_graph, work, progress, note)
    recipe = constrained(request.recipe, inputs.profile)
    return with_room_for_biases(replace(model, recipe=recipe)), seconds


def _calibrated(
    request: VerifyRequest,
    inputs: Inputs,
    float_graph: FloatGraph,
    work: Path,
    progress: Progress,
    note: Note,
) -> tuple[QuantizedModel, float]:
    """Return a method's decisions and how long they took, kept for whoever asks for the same."""
    key = _shared_key(request, inputs)
    place = request.quantized or work
    folder = place / f"quantized-{key}"
    before = _kept_quantized(folder, note)
    if before is not None:
        return before
    start = time.perf_counter()
    model = calibrate(
        request.method,
        float_graph,
        _shared_recipe(request, inputs),
        inputs.model,
        evenly(inputs.calibration, request.calibration_images),
        progress,
        skip_bad=request.skip_bad_images,
        device=request.device,
        work=place / f"{BLOCKS}-{key}",
    )
    seconds = time.perf_counter() - start
    quantized_storage.save(model, folder)
    names = (quantized_storage.JSON_NAME, quantized_storage.TENSORS_NAME)
    digests = {name: file_digest(folder / name) for name in names}
    keep(
        folder / SECONDS_NAME,
        strict_json.dumps({"seconds": seconds, "files": digests}).encode(),
    )
    shutil.rmtree(place / f"{BLOCKS}-{key}", ignore_errors=True)
    # Read back, so that an interrupted and an uninterrupted run go on with the same bits.
    return quantized_storage.load(folder), seconds


def _kept_quantized(folder: Path, note: Note) -> tuple[QuantizedModel, float] | None:
    """Return a kept model and how long it took; None where it is missing or not as it was."""
    if not (folder / SECONDS_NAME).exists():
        return None
    content = kept(folder / SECONDS_NAME)
    plain = strict_json.loads(content) if content is not None else {"files": {}}
    if plain["files"] and is_whole(folder, Entry(identity="", files=plain["files"])):
        return quantized_storage.load(folder), float(plain["seconds"])
    note(f"{folder}: the model that an earlier run kept is damaged; quantizing again")
    return None


def calibrate(
    method: str,
    float_graph: FloatGraph,
    recipe: Recipe,
    model: LoadedModel,
    files: Sequence[LabelledImage],
    progress: Progress,
    *,
    skip_bad: bool,
    device: str = "cpu",
    work: Path | None = None,
) -> QuantizedModel:
    """Decode the images and let the method decide.

    ``device`` and ``work`` are the method's own, see :class:`aocq.methods.Method`.
    """
    images, skipped = load_calibration_images(files, model.preprocessing, skip_bad=skip_bad)
    with progress(f"quantize with {method}", len(images)) as advance:
        reached = 0

        def report(done: int, total: int) -> None:
            nonlocal reached
            now = done * len(images) // total
            advance(now - reached)
            reached = now

        try:
            quantized = METHODS[method](
                float_graph, images, recipe, report, device=device, work=work
            )
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise InputError(
                f"{model.name}: {method} cannot solve for a layer's weights: what it sees of the "
                f"calibration images is not finite or has no spread ({error}); check the "
                "checkpoint, and mean and std of --preprocessing"
            ) from error
    parts: dict[str, ActivationQuantizer] = {}
    if recipe.layernorm_part_bits is not None and not quantized.leaves_floats:
        with progress("ranges inside LayerNorm", len(images)) as advance:
            parts = observe_parts(quantized, images, recipe.layernorm_part_bits, advance)
    log = (*({"skipped": str(path)} for path in skipped), *quantized.log)
    return replace(quantized, meta=model_meta(model), log=log, parts=parts)


def _batches(request: VerifyRequest, inputs: Inputs, limit: int | None) -> ImageBatches:
    """The images to evaluate; a limit takes them evenly from all classes."""
    return ImageBatches(
        evenly(inputs.images, limit),
        inputs.model.preprocessing,
        batch=request.batch,
        skip_bad=request.skip_bad_images,
    )


def _sqnr(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    executor: Executor,
    float_graph: FloatGraph,
    progress: Progress,
) -> tuple[dict[str, float | None], int]:
    """Return the SQNR of each op's result, and on how many images it was found."""
    chosen = _batches(request, inputs, min(SQNR_IMAGES, request.limit or SQNR_IMAGES))
    chosen.batch = 4  # every tensor of a batch is held twice
    with progress("SQNR per op", len(chosen.images)) as advance:
        found = sqnr_per_op(model, executor, chosen, float_graph.parameters, advance)
    return found, len(chosen.images) - len(chosen.skipped)


def _mismatches(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    executor: Executor,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Return the mismatches of each op per image, and on how many images they were counted."""
    chosen = _batches(request, inputs, min(MISMATCH_IMAGES, request.limit or MISMATCH_IMAGES))
    with progress("compare op by op with fake quantization", len(chosen.images)) as advance:
        found = mismatches_per_image(model, executor, chosen, advance)
    return found, len(chosen.images) - len(chosen.skipped)
