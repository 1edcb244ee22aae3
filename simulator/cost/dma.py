# SPDX-License-Identifier: Apache-2.0
"""DRAM traffic of each op: bytes and cycles."""

from __future__ import annotations

from simulator.cost.exact import as_written, ceil_times
from simulator.graph.graph import IntGraph
from simulator.graph.ops import TensorId


def network_bytes(graph: IntGraph) -> dict[TensorId, int]:
    """Return, per op, the bytes of network inputs that it fetches and of outputs that it stores.

    An input is fetched by the first op that reads it and stays on the chip; an output is stored by
    the op that computes it. Activations in between never leave the chip in this form, even where
    they do not fit.
    """
    moved = {op.name: 0 for op in graph.ops}
    outside = set(graph.inputs)
    for op in graph.ops:
        fetched = outside.intersection(op.operands)
        moved[op.name] += sum(graph.tensors[name].bytes for name in fetched)
        outside -= fetched
    for name in moved.keys() & set(graph.outputs):
        moved[name] += graph.tensors[name].bytes
    return moved


def dma_cycles(moved_bytes: int, bytes_per_cycle: float) -> int:
    """Return the cycles of a transfer at full bandwidth; bursts and latency are not counted."""
    return ceil_times(moved_bytes, 1 / as_written(bytes_per_cycle))
