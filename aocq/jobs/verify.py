# SPDX-License-Identifier: Apache-2.0
"""The main job: capture, quantize, lower, emulate, cost, and one record of it all."""

from __future__ import annotations

import shutil
from dataclasses import replace

from aocq.capture import FloatGraph, capture
from aocq.data.loader import ImageBatches, evenly
from aocq.jobs.calibration import calibrated_once, forget_calibration, prepared_for_run
from aocq.jobs.cost_record import cost_records, proof_record
from aocq.jobs.evaluate import evaluate
from aocq.jobs.inputs import (
    Inputs,
    check_operations,
    note_crop,
    note_missing_images,
    note_weights,
    open_inputs,
)
from aocq.jobs.keys import evaluation_key, request_key
from aocq.jobs.lifting import lift_records, lifted_again
from aocq.jobs.memory_record import parameter_bits
from aocq.jobs.mismatches import mismatches_per_image
from aocq.jobs.op_sqnr import sqnr_per_op
from aocq.jobs.record import (
    Sampled,
    layer_rows,
    readable,
    run_record,
    unused_by,
    with_sums_of_stream,
)
from aocq.jobs.request import EvaluationRequest, VerifyRequest
from aocq.lowering import lower
from aocq.lowering.operators import operators_of
from aocq.methods import QuantizedModel
from aocq.methods import storage as quantized_storage
from aocq.progress import Note, Progress
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
from aocq.records.publishing import publish, staging
from aocq.records.run import DistributionRecord, RunResult
from aocq.records.run_folder import save_run
from aocq.tasks.task import host_work_of
from simulator.executor import Executor
from simulator.graph import save as save_graph
from simulator.product_choice import AUTO

# Per-op SQNR settles within a few images: every op has 10^4 values and more in each.
SQNR_IMAGES = 32
SQNR_BATCH = 4  # every tensor of a batch is held twice
MISMATCH_IMAGES = 4


def verify(
    request: VerifyRequest,
    progress: Progress,
    note: Note = lambda text: None,
    inputs: Inputs | None = None,
    draw: Draw = lambda result, rows, folder: None,
    captured: FloatGraph | None = None,
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
    captured
        what :func:`captured_for_run` returned for the same network, where a caller has it already

    Raises
    ------
    InputError, EnvironmentProblem
        See the parts: profile, model, data, method, lowering.
    """
    inputs = inputs or open_inputs(request)
    key = request_key(request, inputs)
    before = finished_run(request.out, key)
    if before is not None and _by_same_engine(request, before[0]):
        note(f"finished before: took the run in {request.out}; nothing is computed again")
        return judged_again(request, before, draw)
    if before is None:
        note_replaced(request.out, note)
    note_missing_images(request.calibration.images, inputs.calibration, note)
    note_crop(inputs.model, request.model.preprocessing, note)
    note_weights(inputs.model, note)
    for unused in unused_by(request, inputs):
        note(unused)
    float_graph = captured or captured_for_run(request, inputs, progress)
    check_operations(request.calibration, float_graph, inputs.profile)
    inputs.task.check(request.model.name, float_graph.output.shape, inputs.model.preprocessing)
    float_graph = prepared_for_run(request, inputs, float_graph, progress)
    calibrated = calibrated_once(request, inputs, float_graph, progress, note)
    model = calibrated.model
    graph = lower(model, inputs.profile)
    host_work = host_work_of(request.task, graph)
    # Before the images: an op without a place is told at once.
    costs = cost_records(
        graph,
        inputs.profile,
        parameter_bits(inputs.model.parameters, model.recipe.weight_bits, model.weights),
        host_work,
        allow_unplaced=request.gates.allow_unplaced,
    )
    proof = proof_record(graph, inputs.profile)
    emulation = request.emulation
    executor = Executor(graph, gemm=emulation.gemm, threads=emulation.threads)
    batches = _batches(request.evaluation, inputs)
    evaluation_folder = request.out / WORK / f"evaluation-{evaluation_key(request, inputs, graph)}"
    with progress("evaluate", len(batches.images)) as advance:
        evaluation = evaluate(
            inputs.model.network,
            model,
            executor,
            batches,
            evaluation_folder,
            advance,
            operators_of(inputs.profile, model.recipe, parts=True),
        )
    sqnr, distributions, sqnr_images = _sqnr(
        request, inputs, model, executor, float_graph, progress
    )
    mismatches, mismatch_images = _mismatches(request, inputs, model, executor, progress)
    rows = layer_rows(graph, costs.costs, evaluation, sqnr, mismatches)
    rows = with_sums_of_stream(rows, model.graph)
    sampled = Sampled(sqnr=sqnr_images, mismatches=mismatch_images)
    result = run_record(
        request, inputs, calibrated, executor, evaluation, costs, proof, rows, sampled
    )
    lifts = lift_records(graph, inputs.profile, result.verdict, host_work)
    result = result.model_copy(update={"lifts": lifts, "distributions": distributions})
    complete = staging(request.out)
    quantized_storage.save(model, complete)
    save_graph(graph, complete)
    save_run(result, rows, complete)
    draw(result, rows, complete)
    publish(request.out, COMMAND, key)
    # What another request left unfinished stays.
    shutil.rmtree(evaluation_folder, ignore_errors=True)
    forget_calibration(request, inputs)
    return result, rows


def captured_for_run(request: VerifyRequest, inputs: Inputs, progress: Progress) -> FloatGraph:
    """Return what a run's network computes: the same for all runs of it.

    Raises
    ------
    InputError
        See :func:`aocq.capture.capture`.
    """
    with progress(f"capture {request.model.name}", 1) as advance:
        found = capture(inputs.model.network, request.model.name, inputs.model.input_size)
        advance(1)
    return found


def _by_same_engine(request: VerifyRequest, result: RunResult) -> bool:
    """Return whether a run's times are of the threads and the backend that are asked for."""
    emulation = result.emulation
    asked = request.emulation
    return asked.gemm in {AUTO, emulation.gemm_backend} and asked.threads in {
        None,
        emulation.threads,
    }


def judged_again(request: VerifyRequest, before: Run, draw: Draw) -> Run:
    """Return a finished run under a request's gates; its record and pages say by which."""
    result, rows = before
    command = [readable(part) for part in request.command]
    again = judged(result, request.gates).model_copy(update={"command": command})
    if again.verdict != result.verdict:
        again = lifted_again(again, request.out)
    if again != result or not has_pages(request.out):
        redraw(request.out, again, rows, draw, record=True)
    return again, rows


def _batches(request: EvaluationRequest, inputs: Inputs) -> ImageBatches:
    """The images to evaluate; a limit takes them evenly from all classes."""
    return ImageBatches(
        evenly(inputs.images, request.limit),
        inputs.model.preprocessing,
        batch=request.batch,
        skip_bad=request.skip_bad_images,
    )


def _few(request: EvaluationRequest, count: int) -> EvaluationRequest:
    """Return the request for no more than ``count`` images."""
    return replace(request, limit=min(count, request.limit or count))


def _sqnr(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    executor: Executor,
    float_graph: FloatGraph,
    progress: Progress,
) -> tuple[dict[str, float | None], list[DistributionRecord], int]:
    """Return each op's SQNR, the distributions of the float values, and on how many images."""
    few = replace(_few(request.evaluation, SQNR_IMAGES), batch=SQNR_BATCH)
    chosen = _batches(few, inputs)
    distributions: list[DistributionRecord] = []
    with progress("SQNR per op", len(chosen.images)) as advance:
        found = sqnr_per_op(model, executor, chosen, float_graph.parameters, advance, distributions)
    return found, distributions, len(chosen.images) - len(chosen.skipped)


def _mismatches(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    executor: Executor,
    progress: Progress,
) -> tuple[dict[str, float], int]:
    """Return the mismatches of each op per image, and on how many images they were counted."""
    chosen = _batches(_few(request.evaluation, MISMATCH_IMAGES), inputs)
    with progress("compare op by op with fake quantization", len(chosen.images)) as advance:
        found = mismatches_per_image(model, executor, chosen, advance)
    return found, len(chosen.images) - len(chosen.skipped)
