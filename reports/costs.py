# SPDX-License-Identifier: Apache-2.0
"""Costs of a graph on a chip as rows of text, from a run's record or a part of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aocq.records.cost_gates import without_host
from aocq.records.costs import BufferRecord, CyclesRecord, MemoryRecord, PeakRecord
from aocq.records.run import GraphRecord
from reports.format import count, kib, share
from reports.limits import ENERGY_PARTS, RESOURCES, limiting, times
from reports.memory_plan import peak_rows, too_many_bytes

_NAMED = 3  # ops that a row names


def memory_rows(memory: MemoryRecord, parameters_at: str | None) -> list[tuple[str, int]]:
    """Return the memory figures as (what, bytes) pairs.

    ``parameters_at`` is the width at which all parameters are counted, as text; None where that is
    not known.
    """
    of_parameters = (f"all parameters at {parameters_at}", memory.model_size_bytes)
    greedy = memory.greedy_peak_sram_bytes
    return [
        *([] if parameters_at is None else [of_parameters]),
        ("constants of the graph: weights, biases, multipliers, tables", memory.weight_bytes),
        ("SRAM of the profile, for activations", memory.sram_bytes),
        ("peak SRAM", memory.peak_sram_bytes),
        *(
            []
            if greedy in {None, memory.peak_sram_bytes}
            else [("peak of greedy allocation", greedy)]
        ),
        ("lower bound of the peak", memory.peak_lower_bound_bytes),
        ("DRAM traffic of one image", memory.dram_bytes),
    ]


def cycle_rows(cycles: CyclesRecord) -> list[tuple[str, str, str]]:
    """Return cycles by kind of op, the largest first, then all: (kind, number, share)."""
    kinds = largest_first(cycles.by_kind)
    return [
        (kind, count(number), share(number, cycles.total))
        for kind, number in [*kinds, ("total", cycles.total)]
    ]


HOST_HEAD = (
    *("host's step", "operations", "functions", "bytes taken over", "handover, cycles"),
    *("cycles", "share of all"),
)


def host_rows(cycles: CyclesRecord) -> list[tuple[str, ...]]:
    """Return what the host does behind the graph, as cells below :data:`HOST_HEAD`."""
    return [
        (
            step.name,
            count(step.operations),
            count(step.functions),
            count(step.bytes),
            count(step.handover),
            count(step.cycles),
            share(step.cycles, cycles.total),
        )
        for step in cycles.host_steps
    ]


def host_sentence(cycles: CyclesRecord) -> str:
    """Return what stands behind the graph on the host, or that it is in no figure; else nothing."""
    if cycles.left_out:
        return f"All figures are {without_host(cycles.left_out)}."
    if not cycles.host_steps:
        return ""
    spent = sum(step.cycles for step in cycles.host_steps)
    names = " and ".join(step.name for step in cycles.host_steps)
    return (
        f"Behind the graph the host takes {share(spent, cycles.total)} of the cycles to {names}, "
        "in the worst case."
    )


def largest_first(numbers: dict[str, int]) -> list[tuple[str, int]]:
    """Return the items by falling number, equal ones by name."""
    return sorted(numbers.items(), key=lambda item: (-item[1], item[0]))


def resource_rows(cycles: CyclesRecord) -> list[tuple[str, int, int]]:
    """Return what works on an image: (resource, cycles at work, cycles of the ops it limits).

    Those of which the record says nothing are left out.
    """
    work = {
        "compute": cycles.compute,
        "vector": cycles.vector,
        "host": cycles.host,
        "sram": cycles.sram,
        "dma": cycles.dma,
        "issue": cycles.issue,
    }
    names = [*work, *(name for name in cycles.bound_by if name not in work)]
    rows = [(name, work.get(name, 0), cycles.bound_by.get(name, 0)) for name in names]
    return [row for row in rows if row[1] or row[2]]


def estimate_rows(
    graph: GraphRecord,
    memory: MemoryRecord,
    parameters_at: str | None,
    cycles: CyclesRecord,
    latency_ms: float,
    fps: float,
    peak: PeakRecord | None,
    buffers: Sequence[BufferRecord],
) -> list[tuple[str, str, str]]:
    """Return a whole estimate as (what, value, share or bytes) rows; cycles come last."""
    *kinds, total = cycle_rows(cycles)
    over = too_many_bytes(memory)
    fits = (f"NO, {kib(over)} too many", f"{count(over)} bytes") if over else ("yes", "")
    bounds = largest_first(cycles.bound_by)
    limit, part = limiting(cycles)
    return [
        ("latency", f"{latency_ms:,.3f} ms", ""),
        ("images per second", f"{fps:,.1f}", ""),
        *([("limited by", RESOURCES.get(limit, limit), f"{part:.0f} % of cycles")] * bool(limit)),
        ("activations fit the SRAM", *fits),
        *(
            (what, kib(size), f"{count(size)} bytes")
            for what, size in memory_rows(memory, parameters_at)
        ),
        *_peak(memory, peak, buffers),
        ("ops", count(graph.ops), f"{count(graph.float_ops)} float"),
        ("multiply-accumulates", count(graph.macs), ""),
        ("cycles", *total[1:]),
        *((f"  bound by {what}", count(n), share(n, cycles.total)) for what, n in bounds),
        *((f"  of {kind}", number, part) for kind, number, part in kinds),
    ]


def more_rows(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return energy, float16, the host's steps and ops without a place, of ``run.json``'s keys.

    What a profile does not say is left out.
    """
    rows: list[tuple[str, str, str]] = []
    energy, half = found.get("energy_record"), found.get("float16")
    if energy is not None:
        rows.append((f"energy at {energy['node_nm']:g} nm", f"{energy['total_mj']:.4g} mJ", ""))
        rows += [
            (
                f"  {ENERGY_PARTS.get(part, part)}",
                f"{spent:.4g} mJ",
                share(spent, energy["total_mj"]),
            )
            for part, spent in energy["parts"].items()
        ]
    if half is not None and half["latency_ms"] is not None:
        faster = times(half["latency_ms"], found["latency_ms"])
        rows.append(("in float16, latency", f"{half['latency_ms']:,.3f} ms", faster))
    if half is not None:
        peak, sram = half["peak_sram_bytes"], found["memory"]["sram_bytes"]
        fits = "fits" if peak <= sram else f"NO, {kib(peak - sram)} too many"
        rows.append(("in float16, peak SRAM", kib(peak), fits))
    cycles = CyclesRecord(**found["cycles"])
    for name, operations, functions, moved, _, spent, part in host_rows(cycles):
        rows.append((f"host: {name}", f"{spent} cycles", part))
        rows.append(("  operations", operations, f"{functions} functions"))
        rows += [("  bytes taken over", moved, "")] * (moved != "0")
    if cycles.left_out:
        rows.append(
            ("host's steps, in no figure above", count(len(cycles.left_out)), _no_host(cycles))
        )
    unplaced = found["cycles"]["unplaced"]
    if unplaced:
        named = ", ".join(unplaced[:_NAMED]) + ", …" * (len(unplaced) > _NAMED)
        rows.append(("ops without a place, in no figure above", count(len(unplaced)), named))
    return rows


def _no_host(cycles: CyclesRecord) -> str:
    return f"{', '.join(cycles.left_out)}: the profile has no [compute.host]"


def _peak(
    memory: MemoryRecord, peak: PeakRecord | None, buffers: Sequence[BufferRecord]
) -> list[tuple[str, str, str]]:
    if peak is None:
        return []
    rows = peak_rows(memory, peak, buffers)
    return [
        (f"alive at the peak, during {peak.op}", "", ""),
        *((f"  {what}", kib(size), f"{count(size)} bytes") for what, size in rows),
    ]
