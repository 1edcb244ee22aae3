# SPDX-License-Identifier: Apache-2.0
"""Rows of a table of many runs: of a run, of a float network, of a network without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from aocq.records.accuracy import IMAGES, SAME_CLASS, TOP1, Score
from aocq.records.axes import outermost_register
from aocq.records.costs import CyclesRecord, MemoryRecord
from aocq.records.run import GraphRecord, MethodRecord, ModelRecord, RunResult
from aocq.records.verdict import Verdict, answer
from reports.format import convention
from reports.gates import against
from reports.layer_widths import rules
from reports.paper_table import (
    differences,
    paper_row,
    paper_size,
    paper_table,
    printed_row,
)
from simulator.settings import typed

SIZES_ONLY = "sizes only"  # in place of a method, as is
FLOAT = "float"
SCORES = ("float_score", "simulated_score", "integer_score")


@dataclass(frozen=True, slots=True)
class JudgedBy:
    """By what a network is judged: as of :class:`aocq.records.accuracy.Accuracy`."""

    score: Score = TOP1
    alike: str = SAME_CLASS
    shares_of: str = IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """One run, or a cell without one; the columns of the CSV, in order.

    Percentages in percent, differences in points, SQNR in dB (None: no noise), MB of 1,024,000
    bytes as the paper counts them. ``delta`` is integer minus float.

    Attributes
    ----------
    variant
        differences from the other rows, by column; columns of their own in every form of the table
    arguments
        of the network's constructor, where they are not those of its name, as they are typed
    widths
        what the width of activations means where they do not all have it; empty where they do
    checkpoint
        sha256 of the network's weights; empty without a run
    data, classes, data_digest
        the images that the run was judged on: their folder's name, how many classes the network
        tells apart, and what two runs on the same images have in common
    overflowed, persistent, transient, changed
        results whose accumulator overflowed, see :class:`aocq.records.run.OverflowRecord`
    policy
        of overflow, see there
    least_headroom_bits
        register bits that no sum used, in the op with the fewest; below 0 where one did not fit
    float_score, simulated_score, integer_score
        of the float, the fake-quantized and the integer network
    judged_by
        which score that is, and what agreement means; no column, but in the names of columns: see
        :func:`written_row`
    cycles, latency_ms, peak_sram_bytes, sram_bytes, energy_mj
        ESTIMATED, of one image; sram_bytes is what the profile has; energy is None where a profile
        has no table of it
    weight_bytes
        of the constants that the chip reads, exact
    accumulator_bits
        of the widest register that a product's sum ends in, see
        :func:`aocq.records.axes.outermost_register`; None in older records
    energy_nm
        of the process that the energy is of, in nanometres: those of two are not comparable
    feasible, answer, reason
        whether the verdict is YES, its word, and the first reason against it
    paper_top1, paper_delta, paper_float_top1, paper_size_mb
        the paper's figures for this network, method and these widths, where it has any
    note
        why they cannot be compared, or why there is no run
    """

    model: str
    method: str
    w_bits: int
    a_bits: int
    variant: Mapping[str, str] = field(default_factory=dict)
    arguments: str = ""
    widths: str = ""
    checkpoint: str = ""
    data: str = ""
    classes: int | None = None
    data_digest: str = ""
    images: int | None = None
    judged_by: JudgedBy = JudgedBy()
    float_score: float | None = None
    simulated_score: float | None = None
    integer_score: float | None = None
    delta: float | None = None
    agreement: float | None = None
    logit_sqnr_db: float | None = None
    float_ops: int | None = None
    ops: int | None = None
    size_mb: float | None = None
    calibration_images: int | None = None
    calibration_seconds: float | None = None
    overflowed: int | None = None
    persistent: int | None = None
    transient: int | None = None
    changed: int | None = None
    policy: str = ""
    least_headroom_bits: int | None = None
    cycles: int | None = None
    latency_ms: float | None = None
    peak_sram_bytes: int | None = None
    sram_bytes: int | None = None
    weight_bytes: int | None = None
    accumulator_bits: int | None = None
    energy_mj: float | None = None
    energy_nm: float | None = None
    feasible: bool | None = None
    answer: str = ""
    reason: str = ""
    paper_top1: float | None = None
    paper_delta: float | None = None
    paper_float_top1: float | None = None
    paper_size_mb: float | None = None
    note: str = ""
    run: str = ""


def run_row(result: RunResult, variant: Mapping[str, str], folder: str) -> TableRow:
    """Return the row of a finished run; ``folder`` is where its report is."""
    accuracy, method, data = result.accuracy, result.method, result.data
    row = TableRow(
        model=result.model.name,
        method=method.name,
        w_bits=method.weight_bits,
        a_bits=method.activation_bits,
        widths=_own_widths(method),
        variant=variant,
        arguments=typed(result.model.arguments),
        checkpoint=result.model.checkpoint_sha256 or "",
        data=data.name if data else "",
        classes=data.classes if data else None,
        data_digest=data.digest if data else "",
        images=accuracy.images,
        judged_by=JudgedBy(accuracy.main, accuracy.alike, accuracy.shares_of),
        float_score=accuracy.score("float"),
        simulated_score=accuracy.score("simulated"),
        integer_score=accuracy.score("integer"),
        delta=-accuracy.drop,
        agreement=accuracy.agreement.integer_float,
        logit_sqnr_db=accuracy.logit_sqnr_db.integer_float,
        float_ops=result.graph.float_ops,
        ops=result.graph.ops,
        size_mb=paper_size(
            result.model,
            _average_bits(
                method.weight_bits, result.model, result.memory, mixed=bool(method.layers)
            ),
        ),
        calibration_images=method.calibration_images,
        calibration_seconds=method.seconds,
        run=folder,
        **_chip_figures(result),
    )
    paper = paper_row(result.model.name, method.name, method.weight_bits, method.activation_bits)
    # Built otherwise than its name says, or with other bits in some layers.
    if paper is None or result.model.arguments or rules(method):
        return row
    base = next(other for other in paper_table() if other.model == paper.model)
    return replace(
        row,
        paper_top1=paper.top1,
        paper_delta=paper.delta,
        paper_float_top1=base.top1,
        paper_size_mb=paper.size_mb,
        note="; ".join(differences(result, paper, base)),
    )


def judgings(rows: Sequence[TableRow]) -> list[JudgedBy]:
    """Return by what the rows are judged, each once; without a run as classification is."""
    found = dict.fromkeys(row.judged_by for row in rows if row.integer_score is not None)
    return [*found] or [JudgedBy()]


def score_titles(rows: Sequence[TableRow]) -> str:
    """Return which score the rows have: ``top-1``, or ``top-1 or AP`` where they differ."""
    return " or ".join(dict.fromkeys(each.score.title for each in judgings(rows)))


def processes(rows: Sequence[TableRow]) -> list[str]:
    """Return of which processes the rows' energies are, the smallest first: ``7 nm``."""
    return [f"{node:g} nm" for node in sorted({r.energy_nm for r in rows if r.energy_nm})]


def written_row(row: TableRow, rows: Sequence[TableRow]) -> dict[str, Any]:
    """Return a row as files of a table have it: values by the names of columns.

    Columns of scores bear its key, ``float_top1`` or ``float_ap``. Where rows of a table have
    different ones they are ``float_score`` and so on, and a column ``score`` says which it is.
    """
    keys = {each.score.key for each in judgings(rows)}
    found: dict[str, Any] = {}
    for field_ in fields(row):
        name, value = field_.name, getattr(row, field_.name)
        if name == "judged_by":
            found |= {} if len(keys) == 1 else {"score": value.score.title}
        elif name in SCORES and len(keys) == 1:
            found[name.replace("score", next(iter(keys)))] = value
        else:
            found[name] = value
    return found


def _own_widths(method: MethodRecord) -> str:
    """Return what ``W4A4`` means in a run, where not all tensors have these widths."""
    widths, of_layers = method.widths, rules(method)
    plain = widths is None or (
        widths.vector == widths.operands and widths.ends is None and widths.result is None
    )
    own = "" if plain or widths is None else convention(widths)
    return ", ".join(filter(None, [own, of_layers]))


def _average_bits(
    weight_bits: int, model: ModelRecord, memory: MemoryRecord, *, mixed: bool
) -> float:
    """Return the width of a network's parameters, on average where layers have their own."""
    if not mixed or not model.parameters:
        return weight_bits
    return 8 * memory.model_size_bytes / model.parameters


def _chip_figures(result: RunResult) -> dict[str, Any]:
    """Return the fields of a row about the chip: overflow, cycles, memory, verdict.

    Older records do not tell persistent from transient overflow: None.
    """
    overflow, memory = result.overflow, result.memory
    return {
        "overflowed": overflow.events,
        "persistent": overflow.persistent,
        "transient": overflow.transient,
        "changed": overflow.changed,
        "policy": overflow.policy or "",
        "least_headroom_bits": overflow.least_headroom_bits,
        "cycles": result.cycles.total,
        "latency_ms": result.latency_ms,
        "peak_sram_bytes": memory.peak_sram_bytes,
        "sram_bytes": memory.sram_bytes,
        "weight_bytes": memory.weight_bytes,
        "accumulator_bits": outermost_register(result.proof),
        "energy_mj": result.energy_record.total_mj if result.energy_record else None,
        "energy_nm": result.energy_record.node_nm if result.energy_record else None,
        **verdict_columns(result.verdict),
    }


def verdict_columns(verdict: Verdict) -> dict[str, Any]:
    """Return the fields of a row about a verdict: its word, and the first reason against it."""
    reasons = against(verdict)
    return {
        "feasible": verdict.feasible,
        "answer": answer(verdict),
        "reason": reasons[0] if reasons else "",
    }


def float_row(model: ModelRecord) -> TableRow:
    """Return the row of a float network's size."""
    printed = None if model.arguments else printed_row(model.name, FLOAT, 32, 32)
    return TableRow(
        model=model.name,
        method=FLOAT,
        w_bits=32,
        a_bits=32,
        arguments=typed(model.arguments),
        size_mb=paper_size(model, 32),
        paper_size_mb=printed.size_mb if printed else None,
    )


def sized_row(
    model: ModelRecord,
    graph: GraphRecord,
    memory: MemoryRecord,
    cycles: CyclesRecord,
    latency_ms: float,
    widths: tuple[int, int],
    *,
    mixed: bool = False,
) -> TableRow:
    """Return the row of a network without a run: sizes and costs, which need no weights.

    Parameters
    ----------
    mixed
        whether layers have other widths: its size is then that of ``memory``, and not the paper's
    """
    weight_bits, activation_bits = widths
    printed = None
    if not model.arguments and not mixed:
        printed = printed_row(model.name, "AOCQ", weight_bits, activation_bits)
    return TableRow(
        model=model.name,
        method=SIZES_ONLY,
        w_bits=weight_bits,
        a_bits=activation_bits,
        arguments=typed(model.arguments),
        float_ops=graph.float_ops,
        ops=graph.ops,
        size_mb=paper_size(model, _average_bits(weight_bits, model, memory, mixed=mixed)),
        cycles=cycles.total,
        latency_ms=latency_ms,
        peak_sram_bytes=memory.peak_sram_bytes,
        sram_bytes=memory.sram_bytes,
        weight_bytes=memory.weight_bytes,
        paper_size_mb=printed.size_mb if printed else None,
    )
