# SPDX-License-Identifier: Apache-2.0
"""The main job: capture, quantize, lower, emulate, cost, and one record of it all."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import torch

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import LabelledImage, read_image_folder
from aocq.data.loader import ImageBatches, evenly, load_calibration_images
from aocq.divergence import differing_codes
from aocq.evaluate import (
    Evaluation,
    agreement,
    evaluate,
    sqnr_db,
    sqnr_per_op,
    top_k,
)
from aocq.lowering import check_recipe, lower
from aocq.methods import LEAVE_FLOATS, METHODS, QuantizedModel, Recipe
from aocq.methods import storage as quantized_storage
from aocq.models import LoadedModel, load_model
from simulator.cost import CostEstimate, estimate
from simulator.errors import EnvironmentProblem, InputError
from simulator.executor import Executor
from simulator.files import replace_file
from simulator.gemm import backend
from simulator.graph import IntGraph, sha256
from simulator.graph import save as save_graph
from simulator.graph.ranges import bounds, signed_bits
from simulator.profile import NpuProfile, load_profile
from simulator.results import (
    LAYERS_NAME,
    REPORT_NAMES,
    RUN_NAME,
    Accuracy,
    Agreement,
    CyclesRecord,
    Emulation,
    GraphRecord,
    LayerRow,
    LogitSqnr,
    MemoryRecord,
    MethodRecord,
    ModelRecord,
    OverflowOfOp,
    OverflowRecord,
    ProfileRecord,
    RunResult,
    TopK,
    Verdict,
    save_run,
)

# (what is being done, how many steps) -> context manager yielding advance(steps)
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
# takes what a person should know, a sentence
Note = Callable[[str], None]

WORK = ".work"
BLOCKS = "blocks"  # in it, with a digest: what a method keeps of an unfinished calibration
# Percentages are quotients in float64: a gate met exactly must not fail by their last digit.
ROUNDING = 1e-9
# Below this many images, the verdict says how much a single one weighs.
FEW_IMAGES = 200
PACKAGES = ("aocq", "torch", "timm", "numpy", "numba", "safetensors", "pillow")
# Per-op SQNR settles within a few images: every op has 10^4 values and more in each.
SQNR_IMAGES = 32
DIVERGENCE_IMAGES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Conditions that turn a run into a yes or a no; None leaves one out.

    max_drop : float top-1 minus integer top-1, in points
    min_agreement : integer against float, in percent
    max_latency_ms : ESTIMATED latency of one image
    """

    max_drop: float | None = 5.0
    min_agreement: float | None = None
    max_latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Everything that the main job is asked for."""

    model: str
    weights: Path | None
    classes: int | None
    profile: str
    method: str
    recipe: Recipe
    calibration_folder: Path
    calibration_images: int
    data_folder: Path
    limit: int | None
    batch: int
    skip_bad_images: bool
    threads: int | None
    gemm: str
    gates: Gates
    out: Path
    command: tuple[str, ...]
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a request's names turned into; made before any long work, so mistakes show at once."""

    profile: NpuProfile
    model: LoadedModel
    calibration: list[LabelledImage]
    images: list[LabelledImage]


def verify(
    request: VerifyRequest,
    progress: Progress,
    note: Note = lambda text: None,
    inputs: Inputs | None = None,
) -> tuple[RunResult, list[LayerRow]]:
    """Do the main job and write its files into ``request.out``.

    Long steps leave their results in ``out/.work`` and are taken up there by the same command; the
    files of an earlier run in ``out`` stay until the new ones are complete.

    Parameters
    ----------
    note
        called with what differs from what was asked for, before any long work
    inputs
        what :func:`open_inputs` returned for this request, where a caller has it already

    Raises
    ------
    InputError, EnvironmentProblem
        See the parts: profile, model, data, method, lowering.
    """
    inputs = inputs or open_inputs(request)
    note_missing_images(request.calibration_images, inputs.calibration, note)
    work = request.out / WORK
    with progress(f"capture {request.model}", 1) as advance:
        float_graph = capture(inputs.model.network, request.model, inputs.model.input_size)
        advance(1)
    model, seconds = _quantized(request, inputs, float_graph, work, progress)
    graph = lower(model, inputs.profile)
    executor = Executor(graph, gemm=request.gemm, threads=request.threads)
    batches = _batches(request, inputs, request.limit)
    evaluation_folder = work / f"evaluation-{_evaluation_key(request, inputs, graph)}"
    with progress("evaluate", len(batches.images)) as advance:
        evaluation = evaluate(
            inputs.model.network, model, executor, batches, evaluation_folder, advance
        )
    sqnr = _sqnr(request, inputs, model, executor, float_graph, progress)
    differing = _differing(request, inputs, model, executor, progress)
    costs = estimate(graph, inputs.profile)
    rows = layer_rows(graph, costs, evaluation, sqnr, differing)
    result = _result(request, inputs, model, seconds, graph, executor, evaluation, costs, rows)
    _publish(request.out, model, graph, result, rows)
    shutil.rmtree(work, ignore_errors=True)
    return result, rows


def open_inputs(request: VerifyRequest) -> Inputs:
    """Check the output folder and read profile, model and image lists."""
    with replace_file(request.out / ".writable") as temporary:
        temporary.touch()
    (request.out / ".writable").unlink()
    profile = load_profile(request.profile)
    check_method(request.method, request.recipe, profile, request.device)
    backend(request.gemm)
    model = load_model(request.model, request.weights, request.classes)
    return Inputs(
        profile=profile,
        model=model,
        calibration=read_image_folder(request.calibration_folder, model.classes),
        images=read_image_folder(request.data_folder, model.classes),
    )


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
    """Say so where a calibration folder has fewer images than were asked for."""
    if len(found) < wanted:
        note(f"{len(found)} calibration images are there, {wanted} were asked for: all are used")


def constrained(recipe: Recipe, profile: NpuProfile) -> Recipe:
    """Return a recipe within the profile's limits: zero points, widths, channel factors."""
    return recipe.model_copy(
        update={
            "residual_bits": profile.activation.residual_bits,
            "weight_granularity": profile.weight.granularity,
            "zero_point": profile.activation.zero_point,
            "channel_factor": profile.layernorm.channel_factor,
            "channel_factor_bits": profile.layernorm.channel_factor_bits,
        }
    )


def _quantized(
    request: VerifyRequest,
    inputs: Inputs,
    float_graph: FloatGraph,
    work: Path,
    progress: Progress,
) -> tuple[QuantizedModel, float]:
    """Quantize, or take up what an interrupted run of the same request left."""
    recipe = constrained(request.recipe, inputs.profile)
    files = evenly(inputs.calibration, request.calibration_images)
    skip_bad = request.skip_bad_images
    key = calibration_key(
        request.method, recipe, inputs.model, files, skip_bad=skip_bad, device=request.device
    )
    folder = work / f"quantized-{key}"
    timing = folder / "seconds.json"
    if timing.exists():
        return quantized_storage.load(folder), float(json.loads(timing.read_text("utf-8")))
    start = time.perf_counter()
    model = calibrate(
        request.method,
        float_graph,
        recipe,
        inputs.model,
        files,
        progress,
        skip_bad=skip_bad,
        device=request.device,
        work=work / f"{BLOCKS}-{key}",
    )
    seconds = time.perf_counter() - start
    quantized_storage.save(model, folder)
    with replace_file(timing) as temporary:
        temporary.write_text(json.dumps(seconds), "utf-8")
    # Read back, so that an interrupted and an uninterrupted run go on with the same bits.
    return quantized_storage.load(folder), seconds


def calibration_key(
    method: str,
    recipe: Recipe,
    model: LoadedModel,
    files: Sequence[LabelledImage],
    *,
    skip_bad: bool,
    device: str,
) -> str:
    """Return a digest of everything that a method's decisions depend on."""
    return _digest(
        *_identity(model),
        method,
        recipe.model_dump_json(),
        str(skip_bad),
        device,
        _listing(files),
    )


def request_key(request: VerifyRequest, inputs: Inputs) -> str:
    """Return a digest of everything that a run's figures depend on, times and gates aside.

    Threads and the backend of matrix products change no bit.
    """
    calibration = calibration_key(
        request.method,
        constrained(request.recipe, inputs.profile),
        inputs.model,
        evenly(inputs.calibration, request.calibration_images),
        skip_bad=request.skip_bad_images,
        device=request.device,
    )
    images = _listing(evenly(inputs.images, request.limit))
    return _digest(calibration, inputs.profile.sha256(), images, str(request.batch))


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

        quantized = METHODS[method](float_graph, images, recipe, report, device=device, work=work)
    log = (*({"skipped": str(path)} for path in skipped), *quantized.log)
    return replace(quantized, meta=_meta(model), log=log)


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
) -> dict[str, float | None]:
    chosen = _batches(request, inputs, min(SQNR_IMAGES, request.limit or SQNR_IMAGES))
    chosen.batch = 4  # every tensor of a batch is held twice
    with progress("SQNR per op", len(chosen.images)) as advance:
        return sqnr_per_op(model, executor, chosen, float_graph.parameters, advance)


def _differing(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    executor: Executor,
    progress: Progress,
) -> dict[str, float]:
    chosen = _batches(request, inputs, min(DIVERGENCE_IMAGES, request.limit or DIVERGENCE_IMAGES))
    with progress("compare op by op with simulation", len(chosen.images)) as advance:
        return differing_codes(model, executor, chosen, advance)


def _meta(model: LoadedModel) -> dict[str, str]:
    return {
        "classes": str(model.classes),
        "preprocessing": json.dumps(dict(model.preprocessing), sort_keys=True),
    }


def _evaluation_key(request: VerifyRequest, inputs: Inputs, graph: IntGraph) -> str:
    """What finished batches depend on; threads and backend because of the times they report.

    Not whether bad images are skipped: batches without one are good either way, and a batch with
    one is refused when it is collected.
    """
    return _digest(
        *_identity(inputs.model),
        sha256(graph),
        _listing(evenly(inputs.images, request.limit)),
        str(request.batch),
        str(request.threads),
        request.gemm,
    )


def _identity(model: LoadedModel) -> tuple[str, ...]:
    """The float network, its preprocessing, and the packages that compute with it."""
    return (model.name, model.checkpoint_sha256, *_meta(model).values(), *_versions().values())


def _versions() -> dict[str, str]:
    return {"python": python_version(), **{name: version(name) for name in PACKAGES}}


def _listing(images: Sequence[LabelledImage]) -> str:
    return "\n".join(f"{item.path} {_state(item.path)} {item.label}" for item in images)


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None of a link that leads nowhere, which decoding will report."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _publish(
    out: Path, model: QuantizedModel, graph: IntGraph, result: RunResult, rows: list[LayerRow]
) -> None:
    """Replace an earlier run at once: everything is complete before the first file is moved.

    ``run.json`` goes first and comes last, so that a folder with it is always of one run.
    """
    complete = out / WORK / "complete"
    shutil.rmtree(complete, ignore_errors=True)  # what a killed run may have left
    quantized_storage.save(model, complete)
    save_graph(graph, complete)
    save_run(result, rows, complete)
    for name in (RUN_NAME, LAYERS_NAME, *REPORT_NAMES):
        (out / name).unlink(missing_ok=True)
    names = sorted(path.name for path in complete.iterdir())
    for name in sorted(names, key=lambda name: name == RUN_NAME):
        (complete / name).replace(out / name)


# --- the record -----------------------------------------------------------------------------------


def layer_rows(
    graph: IntGraph,
    costs: CostEstimate,
    evaluation: Evaluation,
    sqnr: Mapping[str, float | None],
    differing: Mapping[str, float],
) -> list[LayerRow]:
    """Return one row per op of the graph, in order."""
    rows = []
    for index, (op, cost) in enumerate(zip(graph.ops, costs.ops, strict=True)):
        result = graph.result(op)
        known = bounds(graph, op)
        counts = evaluation.counts[op.name]
        rows.append(
            LayerRow(
                index=index,
                op=op.name,
                kind=op.kind,
                shape="x".join(map(str, result.shape)),
                type=str(result.type),
                arithmetic=op.arithmetic,
                macs=cost.macs,
                weight_bytes=cost.weight_bytes,
                cycles=cost.total,
                compute_cycles=cost.compute,
                vector_cycles=cost.vector,
                dma_cycles=cost.dma,
                stall_cycles=cost.stall,
                bound_by=cost.bound_by,
                elements=counts.elements,
                saturated=counts.saturated,
                overflowed=counts.overflowed,
                accumulator_bits=signed_bits(*known.accumulator) if known.accumulator else None,
                proven_free=known.proven_free,
                sqnr_db=sqnr.get(op.name),
                differing_codes=differing.get(op.name),
            )
        )
    return rows


def _result(
    request: VerifyRequest,
    inputs: Inputs,
    model: QuantizedModel,
    quantize_seconds: float,
    graph: IntGraph,
    executor: Executor,
    evaluation: Evaluation,
    costs: CostEstimate,
    rows: list[LayerRow],
) -> RunResult:
    accuracy = _accuracy(evaluation)
    emulation_seconds = evaluation.seconds["integer"]
    return RunResult(
        command=list(request.command),
        seed=request.recipe.seed,
        versions=_versions(),
        emulation=Emulation(
            seconds=emulation_seconds,
            images_per_second=accuracy.images / emulation_seconds,
            threads=executor.threads,
            gemm_backend=executor.gemm.name,
        ),
        model=ModelRecord(
            name=inputs.model.name,
            checkpoint_sha256=inputs.model.checkpoint_sha256,
            parameters=inputs.model.parameters,
        ),
        method=MethodRecord(
            name=model.method,
            weight_bits=model.recipe.weight_bits,
            activation_bits=model.recipe.activation_bits,
            recipe=model.recipe.model_dump(mode="json"),
            calibration_images=model.calibration_images,
            seconds=quantize_seconds,
        ),
        profile=_profile_record(inputs.profile),
        graph=GraphRecord(
            sha256=sha256(graph), ops=len(graph.ops), macs=graph.macs, float_ops=graph.float_ops
        ),
        accuracy=accuracy,
        overflow=overflow_record(rows),
        memory=MemoryRecord(
            weight_bytes=costs.weight_bytes,
            model_size_bytes=(inputs.model.parameters * model.recipe.weight_bits + 7) // 8,
            peak_sram_bytes=costs.peak_sram_bytes,
            peak_lower_bound_bytes=costs.peak_lower_bound_bytes,
            sram_bytes=costs.sram_bytes,
            dram_bytes=costs.dram_bytes,
        ),
        cycles=CyclesRecord(
            total=costs.total_cycles,
            compute=costs.compute_cycles,
            vector=costs.vector_cycles,
            dma=costs.dma_cycles,
            stall=costs.stall_cycles,
            by_kind=dict(costs.by_kind),
            bound_by=dict(costs.bound_by),
        ),
        latency_ms=costs.latency_ms,
        fps=costs.fps,
        energy={},
        verdict=_verdict(request.gates, accuracy, costs),
    )


def _profile_record(profile: NpuProfile) -> ProfileRecord:
    return ProfileRecord(
        name=profile.name,
        sha256=profile.sha256(),
        title=profile.title,
        clock_mhz=profile.compute.clock_mhz,
        sources=dict(profile.source),
    )


def _accuracy(evaluation: Evaluation) -> Accuracy:
    logits, labels = evaluation.logits, evaluation.labels
    engines: dict[str, Any] = {
        name: TopK(top1=top_k(values, labels, 1), top5=top_k(values, labels, 5))
        for name, values in logits.items()
    }
    return Accuracy(
        images=len(labels),
        skipped_images=list(evaluation.skipped),
        agreement=Agreement(
            integer_float=agreement(logits["integer"], logits["float"]),
            integer_simulated=agreement(logits["integer"], logits["simulated"]),
        ),
        logit_sqnr_db=LogitSqnr(
            integer_float=sqnr_db(logits["float"], logits["integer"]),
            simulated_float=sqnr_db(logits["float"], logits["simulated"]),
            integer_simulated=sqnr_db(logits["simulated"], logits["integer"]),
        ),
        **engines,
    )


def overflow_record(rows: list[LayerRow]) -> OverflowRecord:
    """Sum up what did not fit, over all ops."""
    accumulating = [row for row in rows if row.accumulator_bits is not None]
    overflowing = [row for row in accumulating if row.overflowed]
    proven = [row for row in accumulating if row.proven_free]
    affected = [row for row in rows if row.overflowed or row.saturated]
    affected.sort(key=lambda row: (-row.overflowed, -row.saturated, row.index))
    return OverflowRecord(
        proven_free=len(proven),
        counted_free=len(accumulating) - len(proven) - len(overflowing),
        overflowing=len(overflowing),
        events=sum(row.overflowed for row in overflowing),
        per_op=[
            OverflowOfOp(
                op=row.op,
                overflowed=row.overflowed,
                saturated=row.saturated,
                elements=row.elements,
            )
            for row in affected
        ],
    )


def _verdict(gates: Gates, accuracy: Accuracy, costs: CostEstimate) -> Verdict:
    """Yes if activations fit the SRAM and every gate passes."""
    failed = []
    if not costs.fits_sram:
        failed.append(
            f"activations need {costs.peak_sram_bytes} bytes of SRAM (ESTIMATED), the profile has "
            f"{costs.sram_bytes}"
        )
    drop = accuracy.float.top1 - accuracy.integer.top1
    if gates.max_drop is not None and drop > gates.max_drop + ROUNDING:
        few = f" (one of {accuracy.images} images is {100 / accuracy.images:.2f} points)"
        failed.append(
            f"integer top-1 is {drop:.2f} points below float, allowed {gates.max_drop:g}"
            + few * (accuracy.images < FEW_IMAGES)
        )
    agreed = accuracy.agreement.integer_float
    if gates.min_agreement is not None and agreed < gates.min_agreement - ROUNDING:
        failed.append(
            f"integer agrees with float on {agreed:.2f} % of images, "
            f"wanted {gates.min_agreement:g} %"
        )
    if gates.max_latency_ms is not None and costs.latency_ms > gates.max_latency_ms:
        failed.append(
            f"ESTIMATED latency is {costs.latency_ms:.3f} ms, allowed {gates.max_latency_ms:g} ms"
        )
    applied = {name: value for name, value in asdict(gates).items() if value is not None}
    return Verdict(feasible=not failed, failed=failed, gates=applied)
