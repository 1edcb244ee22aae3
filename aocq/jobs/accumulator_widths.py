# SPDX-License-Identifier: Apache-2.0
"""Sweep over accumulator widths: one quantized model, its integers at each width."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.data.image_folder import LabelledImage
from aocq.data.loader import ImageBatches
from aocq.jobs.keys import sweep_key
from aocq.jobs.record import data_record, readable
from aocq.jobs.run_images import run_images
from aocq.lowering import lower
from aocq.methods.quantized_model import QuantizedModel
from aocq.progress import Note, Progress
from aocq.records.accumulator_widths import Rule, SweepRecord, SweepRow
from aocq.records.accuracy import IMAGES
from aocq.tasks.metrics import share_equal
from aocq.tasks.task import Dataset, Task
from simulator.counts import summed
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph, sha256
from simulator.graph.meta import read_meta
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator import OverflowPolicy
from simulator.ops.behaviour import SumCounts
from simulator.profile import NpuProfile
from simulator.profile.variation import change_outermost_level

# Of tasks that judge by image the class of each, int64 [images]; of others outputs [images, ...].
Results = NDArray[Any]
RULES: tuple[Rule, ...] = ("wrap", "saturate")
EXACT_BITS = 64  # as wide as registers get; sums that need more are refused when a graph is lowered


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRequest:
    """The request of a sweep.

    ``images`` are those of ``dataset`` that are run, from the folder ``data``; ``batch`` is how
    many are decoded at a time.
    """

    model: QuantizedModel
    task: Task
    dataset: Dataset
    profile: NpuProfile
    bits: Sequence[int]
    rules: Sequence[Rule]
    data: Path
    images: Sequence[LabelledImage]
    preprocessing: Mapping[str, Any]
    batch: int
    skip_bad_images: bool
    threads: int | None
    gemm: str
    command: tuple[str, ...]


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


def sweep(
    request: SweepRequest, before: SweepRecord | None, progress: Progress, note: Note
) -> Iterator[SweepRecord]:
    """Run every width under every rule, narrow ones first; yield the record after each, and whole.

    A width at which nothing overflows proves the integers of all wider registers under either rule:
    these are not run.

    Parameters
    ----------
    before
        an earlier record: its rows are taken if its network, images and code are this request's

    Raises
    ------
    InputError
        If the profile cannot hold the model, or no image can be decoded.
    """
    exact = lower(
        request.model, with_register(request.profile, EXACT_BITS, "wrap", OverflowPolicy.REPORT)
    )
    key = sweep_key(exact, request.images, f"{request.task.name} {request.dataset.digest}")
    reference: Results | None = None
    if before is None or before.key != key:
        if before is not None:
            note("accumulators.json is of another network, other images or other code: not used")
        ran = _exact(request, exact, progress)
        reference, before = ran.results, _started(request, exact, key, ran)
    record = before.model_copy(update={"command": list(request.command)})
    for bits in sorted(set(request.bits)):
        for rule in request.rules:
            if any((row.bits, row.overflow) == (bits, rule) for row in record.rows):
                note(f"{bits} bits, {rule}: finished before")
                continue
            proof = next((row for row in record.rows if row.exact and row.bits <= bits), None)
            if proof is not None:
                record = _with(record, _copied(proof, bits, rule))
                continue
            if reference is None:
                reference = _recorded(record)
            if reference is None:
                reference = _exact(request, exact, progress).results
            graph = lower(request.model, with_register(request.profile, bits, rule))
            with progress(f"{bits} bits, {rule}", len(request.images)) as advance:
                record = _with(record, _row(request, graph, bits, rule, reference, advance))
            _rules_agree_at_the_first_op(record, bits)
            yield record
    yield record


def _exact(request: SweepRequest, exact: IntGraph, progress: Progress) -> _Run:
    """Return the results of exact sums, which all widths are compared with."""
    with progress("exact integers", len(request.images)) as advance:
        return _run(request, exact, advance)


def _started(request: SweepRequest, exact: IntGraph, key: str, ran: _Run) -> SweepRecord:
    """Return a record without a row, of the results of exact sums."""
    recipe, meta = request.model.recipe, read_meta(request.model.meta)
    return SweepRecord(
        command=[readable(part) for part in request.command],
        key=key,
        model=request.model.graph.name,
        arguments=dict(meta.model_arguments),
        data=data_record(request.data, request.images, request.dataset.classes),
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


def _recorded(record: SweepRecord) -> Results | None:
    """Return the recorded class of each image; None where none are recorded."""
    return np.array(record.exact_classes, np.int64) if record.exact_classes else None


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
    executor = Executor(graph, gemm=request.gemm, threads=request.threads)
    batches = ImageBatches(
        request.images,
        request.preprocessing,
        batch=request.batch,
        skip_bad=request.skip_bad_images,
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


def _row(
    request: SweepRequest,
    graph: IntGraph,
    bits: int,
    rule: Rule,
    exact: Results,
    advance: Callable[[int], None],
) -> SweepRow:
    start = time.perf_counter()
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


def _copied(proof: SweepRow, bits: int, rule: Rule) -> SweepRow:
    """Return the row of a register that is as wide as one in which nothing overflowed, or wider."""
    return proof.model_copy(
        update={
            "bits": bits,
            "overflow": rule,
            "graph_sha256": None,
            "same_as": proof.same_as or (proof.bits, proof.overflow),
            "least_headroom_bits": proof.least_headroom_bits + bits - proof.bits,
            "seconds": 0.0,
        }
    )


def _with(record: SweepRecord, row: SweepRow) -> SweepRecord:
    rows = sorted([*record.rows, row], key=lambda row: (row.bits, RULES.index(row.overflow)))
    return record.model_copy(update={"rows": rows})


def _rules_agree_at_the_first_op(record: SweepRecord, bits: int) -> None:
    """Check that both rules count the same overflows in the first op, whose inputs are the same.

    Inputs of later ops are changed by an overflow, by one rule or the other.
    """
    found = {(row.first_persistent, row.first_transient) for row in record.rows if row.bits == bits}
    assert len(found) <= 1, f"{bits} bits: wrap and saturate count other overflows in the first op"
