# SPDX-License-Identifier: Apache-2.0
"""The record of a run, made of the results of the main job: rows, accuracy, overflow, verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aocq.capture.float_graph import FloatGraph
from aocq.capture.residual_stream import residual_stream
from aocq.data.image_folder import LabelledImage, listing_sha256
from aocq.data.loader import evenly
from aocq.jobs.calibration import Calibrated
from aocq.jobs.cost_record import CostRecords, graph_record, profile_record
from aocq.jobs.evaluate import Evaluation
from aocq.jobs.inputs import Inputs
from aocq.jobs.method_record import method_record
from aocq.jobs.model_record import model_record
from aocq.jobs.request import VerifyRequest
from aocq.jobs.shown_images import shown_images
from aocq.recipes.abilities import unused_abilities
from aocq.recipes.limits import limits_of
from aocq.records.accuracy import Accuracy
from aocq.records.gates import judged
from aocq.records.layers import SUMS, LayerRow
from aocq.records.provenance import package_versions
from aocq.records.run import (
    DataRecord,
    Emulation,
    OverflowOfOp,
    OverflowRecord,
    ProductRecord,
    ProofRecord,
    RunResult,
)
from aocq.records.verdict import UNJUDGED
from aocq.tasks.task import Judgement, Task
from simulator.cost import CostEstimate
from simulator.counts import sums_of
from simulator.executor import Executor
from simulator.gemm import probe_results
from simulator.graph import IntGraph
from simulator.graph.bounds import bounds
from simulator.graph.op import Op, accumulator_of, residual_of
from simulator.graph.ops import AnyMatMul, NormalizedMatMul, op_name
from simulator.graph.ranges import signed_bits
from simulator.numerics.accumulator import OverflowPolicy
from simulator.processor import processor_model
from simulator.product_choice import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Numbers of images on which the figures of single ops were found."""

    sqnr: int
    mismatches: int


def layer_rows(
    graph: IntGraph,
    costs: CostEstimate,
    evaluation: Evaluation,
    sqnr: Mapping[str, float | None],
    mismatches: Mapping[str, float],
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
                kind=op_name(op),
                shape="x".join(map(str, result.shape)),
                type=str(result.type),
                arithmetic=op.computes_in,
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
                differing_codes=mismatches.get(op.name),
                onto_residual=residual_of(op) is not None,
                passes=cost.passes,
                **_factor_bits(graph, op),
                **sums_of(op, counts),
            )
        )
    return rows


def _factor_bits(graph: IntGraph, op: Op) -> dict[str, int]:
    """Return the widths of both factors of a product of codes; nothing of another op."""
    if not isinstance(op, AnyMatMul | NormalizedMatMul):
        return {}
    a, b = (graph.tensors[name].type.bits for name in op.operands[:2])
    return {"a_bits": a, "b_bits": b}


def with_sums_of_stream(rows: list[LayerRow], graph: FloatGraph) -> list[LayerRow]:
    """Return the rows, those of additions on the residual stream of the float graph marked so."""
    stream = residual_stream(graph)
    return [
        row.model_copy(update={"onto_residual": True})
        if row.kind in SUMS and row.op in stream
        else row
        for row in rows
    ]


def run_record(
    request: VerifyRequest,
    inputs: Inputs,
    calibrated: Calibrated,
    executor: Executor,
    evaluation: Evaluation,
    costs: CostRecords,
    proof: ProofRecord,
    rows: list[LayerRow],
    sampled: Sampled,
) -> RunResult:
    """Return the whole record of a run."""
    graph, model = executor.graph, calibrated.model
    size = inputs.model.input_size[-2:]
    found = inputs.task.judge(evaluation.logits, evaluation.labels, inputs.dataset, size)
    accuracy = _accuracy(inputs.task, found, evaluation, sampled)
    emulation_seconds = evaluation.seconds["integer"]
    result = RunResult(
        command=[readable(part) for part in request.command],
        seed=model.recipe.seed,
        versions=package_versions(),
        emulation=Emulation(
            seconds=emulation_seconds,
            images_per_second=accuracy.images / emulation_seconds,
            threads=executor.threads,
            gemm_backend=", ".join(executor.backends) or "none",
            gemm_probe=probe_results(),
            processor=processor_model(),
            products=product_records(executor.choices),
            walked=sum(counts.in_order for counts in evaluation.counts.values()),
            sums=sum(counts.elements for counts in evaluation.counts.values() if counts.sums),
        ),
        model=model_record(inputs.model),
        notes=[*inputs.model.weights_taken, *unused_by(request, inputs)],
        data=data_record(
            request.evaluation.folder,
            evenly(inputs.images, request.evaluation.limit),
            inputs.dataset.classes,
            inputs.dataset.digest,
        ),
        method=method_record(model, calibrated.seconds),
        profile=profile_record(inputs.profile),
        graph=graph_record(graph),
        accuracy=accuracy,
        overflow=overflow_record(graph, rows),
        proof=proof,
        shown=shown_images(
            found.chosen, inputs.images, inputs.model.preprocessing, len(evaluation.labels)
        ),
        verdict=UNJUDGED,
        **costs.fields(),
    )
    return judged(result, request.gates)


def product_records(choices: Mapping[str, Choice]) -> list[ProductRecord]:
    """Return which backend ran which products, those of one class and reason together."""
    together: dict[tuple[str, str, str], list[str]] = {}
    for op, choice in choices.items():
        which = str(choice.product_class or "")
        together.setdefault((which, choice.backend, choice.reason), []).append(op)
    records = []
    for (which, name, reason), ops in together.items():
        rates = choices[ops[0]].rates
        records.append(
            ProductRecord(
                product_class=which or None,
                ops=ops,
                backend=name,
                reason=reason,
                gops={other: round(rate.gops, 1) for other, rate in rates.items()},
                at_most=[other for other, rate in rates.items() if rate.at_most],
            )
        )
    return records


def readable(text: str) -> str:
    """Return a file's name as text that can be written, with escapes for bytes that are not."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def data_record(
    folder: Path, images: Sequence[LabelledImage], classes: int, truth: str = ""
) -> DataRecord:
    """Return what a record says of the evaluated images; the same ones elsewhere have its digest.

    ``truth`` is a digest of what else is true of them.
    """
    return DataRecord(
        name=readable(folder.resolve().name),
        classes=classes,
        images=len(images),
        digest=listing_sha256(folder, images, truth),
    )


def unused_by(request: VerifyRequest, inputs: Inputs) -> list[str]:
    """Return what the chip of a run could do for it that nothing asks for, a sentence each."""
    asked = request.calibration
    limits = limits_of(inputs.profile, asked.recipe)
    return unused_abilities(asked.method, asked.recipe, limits)


def _accuracy(task: Task, found: Judgement, evaluation: Evaluation, sampled: Sampled) -> Accuracy:
    return Accuracy(
        images=len(evaluation.labels),
        task=task.name,
        scores=list(task.scores),
        alike=task.alike,
        shares_of=task.shares_of,
        skipped_images=[readable(name) for name in evaluation.skipped],
        sqnr_images=sampled.sqnr,
        differing_images=sampled.mismatches,
        float=dict(found.scores["float"]),
        simulated=dict(found.scores["simulated"]),
        integer=dict(found.scores["integer"]),
        agreement=found.agreement,
        logit_sqnr_db=found.sqnr,
        paired=found.paired,
        outcomes=found.outcomes,
    )


def overflow_record(graph: IntGraph, rows: list[LayerRow]) -> OverflowRecord:
    """Return overflow over all ops, and of every op with any."""
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
        persistent=sum(row.persistent or 0 for row in accumulating),
        transient=sum(row.transient or 0 for row in accumulating),
        changed=sum(row.changed or 0 for row in accumulating),
        least_headroom_bits=min(
            (row.headroom_bits for row in accumulating if row.headroom_bits is not None),
            default=None,
        ),
        per_op=[
            OverflowOfOp(
                op=row.op,
                overflowed=row.overflowed,
                saturated=row.saturated,
                elements=row.elements,
                persistent=row.persistent,
            )
            for row in affected
        ],
        policy=", ".join(sorted(set(_policies(graph).values()))) or None,
        reported=merely_reported(graph, rows),
    )


def merely_reported(graph: IntGraph, rows: list[LayerRow]) -> int:
    """Return how many overflows are reported only; 0 if none of them would change a sum."""
    policies = _policies(graph)
    reported = [row for row in rows if policies.get(row.op) is OverflowPolicy.REPORT]
    if not any(row.changed for row in reported):
        return 0
    return sum(row.overflowed for row in reported)


def _policies(graph: IntGraph) -> dict[str, OverflowPolicy]:
    """Return what an overflow means in each op that has an accumulator."""
    accumulators = {op.name: accumulator_of(op) for op in graph.ops}
    return {name: found.policy for name, found in accumulators.items() if found is not None}
