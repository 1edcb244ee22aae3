# SPDX-License-Identifier: Apache-2.0
"""Costs of a graph on a chip as rows of text, from a run's record or a part of one."""

from __future__ import annotations

from aocq.records.run import CyclesRecord, GraphRecord, MemoryRecord
from reports.format import count, kib, share
from reports.limits import RESOURCES, limiting


def memory_rows(memory: MemoryRecord, weight_bits: int | None) -> list[tuple[str, int]]:
    """Return the memory figures as (what, bytes) pairs.

    ``weight_bits`` is the width at which all parameters are counted; None where that is not known.
    """
    of_parameters = (f"all parameters at {weight_bits} bits", memory.model_size_bytes)
    return [
        *([] if weight_bits is None else [of_parameters]),
        ("constants of the graph: weights, biases, multipliers, tables", memory.weight_bytes),
        ("SRAM of the profile, for activations", memory.sram_bytes),
        ("peak SRAM", memory.peak_sram_bytes),
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
    weight_bits: int | None,
    cycles: CyclesRecord,
    latency_ms: float,
    fps: float,
) -> list[tuple[str, str, str]]:
    """Return a whole estimate as (what, value, share or bytes) rows; cycles come last."""
    *kinds, total = cycle_rows(cycles)
    fits = "yes" if memory.peak_sram_bytes <= memory.sram_bytes else "NO"
    bounds = largest_first(cycles.bound_by)
    limit, part = limiting(cycles)
    return [
        ("latency", f"{latency_ms:,.3f} ms", ""),
        ("images per second", f"{fps:,.1f}", ""),
        *([("limited by", RESOURCES.get(limit, limit), f"{part:.0f} % of cycles")] * bool(limit)),
        ("activations fit the SRAM", fits, ""),
        *(
            (what, kib(size), f"{count(size)} bytes")
            for what, size in memory_rows(memory, weight_bits)
        ),
        ("ops", count(graph.ops), f"{count(graph.float_ops)} float"),
        ("multiply-accumulates", count(graph.macs), ""),
        ("cycles", *total[1:]),
        *((f"  in ops bound by {what}", count(n), share(n, cycles.total)) for what, n in bounds),
        *((f"  of {kind}", number, part) for kind, number, part in kinds),
    ]
