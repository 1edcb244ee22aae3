# SPDX-License-Identifier: Apache-2.0
"""Sweep over accumulator widths: one quantized model, its integers at each width."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq import progress
from aocq.data.image_folder import LabelledImage, evenly
from aocq.data.loader import ImageBatches
from aocq.jobs.keys import sweep_key
from aocq.jobs.record import data_record, readable
from aocq.jobs.request import EmulationRequest, EvaluationRequest
from aocq.jobs.run_images import run_images
from aocq.lowering import lower
from aocq.methods import storage
from aocq.methods.quantized_model import QuantizedModel
from aocq.progress import Progress
from aocq.records.accumulator_widths import Rule, SweepRecord, SweepRow
from aocq.records.accuracy import IMAGES
from aocq.tasks.metrics import share_equal
from aocq.tasks.task import Dataset, Task, task_of
from simulator.counts import summed
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph, sha256
from simulator.graph.meta import meta_of, read_meta
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator import OverflowPolicy
from simulator.ops.behaviour import SumCounts
from simulator.profile import NpuProfile, load_profile
from simulator.profile.variation import change_outermost_level

# Of tasks that judge by image the class of each, int64 [images]; of others outputs [images, ...].
Results = NDArray[Any]
EXACT_BITS = 64  # as wide as registers get; sums that need more are refused when a graph is lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthsRequest:
    """A quantized model in a folder, its task, chip and images, as a command line names them."""

    folder: Path
    task: str
    profile: str
    evaluation: EvaluationRequest
    emulation: EmulationRequest
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """What the names of a request turned into; ``images`` are those of ``dataset`` to be run."""

    asked: WidthsRequest
    model: QuantizedModel
    task: Task
    dataset: Dataset
    profile: NpuProfile
    images: Sequence[LabelledImage]
    preprocessing: Mapping[str, Any]


@lru_cache(maxsize=1)
def opened(request: WidthsRequest) -> SweepRequest:
    """Open a request; the last one stays open.

    Raises
    ------
    InputError
        If the model, the profile or the images cannot be read, or are not of the task.
    """
    model, evaluation = storage.load(request.folder), request.evaluation
    meta = meta_of(model.meta, str(request.folder))
    if meta is None:
        raise InputError(
            f"{request.folder}: does not say how images are preprocessed; quantize again"
        )
    task = task_of(request.task)
    task.check(str(request.folder), model.graph.output.shape, meta.preprocessing)
    dataset = task.read(evaluation.folder, meta.classes, progress.note)
    images = evenly(dataset.images, evaluation.limit)
    task.check_images(dataset, images)
    return SweepRequest(
        asked=request,
        model=model,
        task=task,
        dataset=dataset,
        profile=load_profile(request.profile),
        images=images,
        preprocessing=meta.preprocessing,
    )


def with_register(
    profile: NpuProfile, bits: int, overflow: Rule, policy: OverflowPolicy = OverflowPolicy.APPLY
) -> NpuProfile:
    """Return a profile whose outermost accumulator level, of every kind of op, is another.

    Inner levels, the bias and all else stay.
    """
    plain = profile.model_dump(mode="json")
    change_outermost_level(plain, {"bits": bits, "overflow": overflow})
    overrides = [kind["accumulator"] for kind in plain["ops"].values() if kind["accumulator"]]
    for table in (plain["accumulator"], *overrides):
        table["policy"] = policy.value
    return NpuProfile.model_validate(plain)


@lru_cache(maxsize=1)
def exact_graph(asked: WidthsRequest) -> tuple[IntGraph, str]:
    """Return the graph whose registers hold every sum, and the key of its figures on the images.

    Raises
    ------
    InputError
        If the profile cannot hold the model; see also :func:`opened`.
    """
    request = opened(asked)
    profile = with_register(request.profile, EXACT_BITS, "wrap", OverflowPolicy.REPORT)
    graph = lower(request.model, profile)
    judged_by = f"{request.task.name} {request.dataset.digest}"
    return graph, sweep_key(graph, request.images, judged_by)


def exact_results(asked: WidthsRequest, progress: Progress) -> tuple[SweepRecord, Results]:
    """Return a record without a row, and the results that all widths are compared with.

    Raises
    ------
    InputError
        If the profile cannot hold the model, or no image can be decoded.
    """
    request, (exact, key) = opened(asked), exact_graph(asked)
    with progress("exact integers", len(request.images)) as advance:
        ran = _run(request, exact, advance)
    recipe, meta = request.model.recipe, read_meta(request.model.meta)
    record = SweepRecord(
        command=[readable(part) for part in request.asked.command],
        key=key,
        model=request.model.graph.name,
        arguments=dict(meta.model_arguments),
        data=data_record(request.asked.evaluation.folder, request.images, request.dataset.classes),
        method=request.model.method,
        weight_bits=recipe.weight_bits,
        activation_bits=recipe.activation_bits,
        mixed=bool(recipe.layers),
        profile=request.profile.name,
        graph_sha256=sha256(exact),
        accumulators=len(ran.sums),
        images=len(ran.labels),
        skipped_images=len(ran.skipped),
        score=request.task.scores[0],
        shares_of=request.task.shares_of,
        alike=request.task.alike,
        exact_score=_score(request, ran),
        exact_classes=ran.results.tolist() if _by_image(request) else [],
        rows=[],
    )
    return record, ran.results


def _by_image(request: SweepRequest) -> bool:
    """Return whether a task judges by the class of each image, of which nothing else is kept."""
    return request.task.shares_of == IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Results and labels; counts of the ops with sums, in their order."""

    results: Results
    labels: NDArray[np.int64]
    sums: Sequence[SumCounts]
    elements: int
    skipped: Sequence[Path]


def _run(request: SweepRequest, graph: IntGraph, advance: Callable[[int], None]) -> _Run:
    """Run the images; weights are prepared once."""
    emulation, evaluation = request.asked.emulation, request.asked.evaluation
    executor = Executor(graph, gemm=emulation.gemm, threads=emulation.threads)
    batches = ImageBatches(
        request.images,
        request.preprocessing,
        batch=evaluation.batch,
        skip_bad=evaluation.skip_bad_images,
    )
    by_image = _by_image(request)
    results: list[Results] = []
    labels, counts = [], []
    for _, numbers, run in run_images(executor, batches, on_progress=advance):
        results.append(run.logits().argmax(axis=1) if by_image else run.logits())
        labels.append(numbers)
        counts.append(run.output.counts)
    if not results:
        raise InputError(f"{batches.skipped[0]}: none of the images can be decoded")
    found = summed(counts).values()
    return _Run(
        results=np.concatenate(results),
        labels=np.concatenate(labels),
        sums=[of_op.sums for of_op in found if of_op.sums is not None],
        elements=sum(of_op.elements for of_op in found if of_op.sums is not None),
        skipped=batches.skipped,
    )


def _score(request: SweepRequest, ran: _Run) -> float:
    """Return the task's main score of a run."""
    if _by_image(request):
        return share_equal(ran.results, ran.labels)
    found = request.task.judge_one(ran.results, ran.labels, request.dataset, _size(request))
    return found[request.task.scores[0].key]


def _agreement(request: SweepRequest, exact: Results, results: Results) -> float:
    """Return how alike results are to those of exact sums, in percent."""
    if _by_image(request):
        return share_equal(results, exact)
    return request.task.agreement(exact, results, _size(request))


def _size(request: SweepRequest) -> tuple[int, int]:
    _, height, width = request.preprocessing["input_size"]
    return height, width


def width_row(
    request: SweepRequest, bits: int, rule: Rule, exact: Results, progress: Progress
) -> SweepRow:
    """Return the figures of a register width under an overflow rule; ``exact``: results to match.

    Raises
    ------
    InputError
        If the profile cannot hold the model, or no image can be decoded.
    """
    graph = lower(request.model, with_register(request.profile, bits, rule))
    start = time.perf_counter()
    with progress(f"{bits} bits, {rule}", len(request.images)) as advance:
        ran = _run(request, graph, advance)
    total = reduce(SumCounts.merged, ran.sums)
    return SweepRow(
        bits=bits,
        overflow=rule,
        graph_sha256=sha256(graph),
        main_score=_score(request, ran),
        agreement=_agreement(request, exact, ran.results),
        outputs=ran.elements,
        persistent=total.persistent,
        transient=total.transient,
        changed=total.changed,
        overflowing=sum(sums.overflowed > 0 for sums in ran.sums),
        least_headroom_bits=bits - signed_bits(total.least, total.most),
        first_persistent=ran.sums[0].persistent,
        first_transient=ran.sums[0].transient,
        seconds=time.perf_counter() - start,
    )
