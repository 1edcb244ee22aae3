# SPDX-License-Identifier: Apache-2.0
"""SRAM plan of activations: lifetimes and offsets; bytes of the constants that ops read.

Tensors of the graph count, and temporaries that the profile's passes keep between steps. Where it
states none, sums of a matrix product live in the array's accumulators and exponentials in the
vector unit. Constants stream from DRAM. A layer that ends on the
residual stream overwrites it, code by code, where nothing reads it later; no other result does so,
and a Concat never has its operands computed in place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from simulator.cost.exact import ceil_div
from simulator.cost.steps import Program
from simulator.graph.graph import IntGraph
from simulator.graph.op import residual_of
from simulator.graph.ops import SPECS, Op, TensorId

ALIGNMENT = 16  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """Memory of one activation and of every view of it.

    Attributes
    ----------
    name
        the tensor that is stored; its views bear other names
    bytes
        its size
    first, last
        indexes of the first and last step during which it must exist
    """

    name: TensorId
    bytes: int
    first: int
    last: int

    def meets(self, other: Buffer) -> bool:
        """Return true if some step needs both."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Buffers with their offsets in SRAM.

    Attributes
    ----------
    offsets
        first byte of each buffer in SRAM, a multiple of ``ALIGNMENT``
    peak_sram_bytes
        end of the highest buffer: the SRAM that this plan needs
    peak_lower_bound_bytes
        the most bytes alive during one step: what no plan can do without
    """

    buffers: tuple[Buffer, ...]
    offsets: Mapping[TensorId, int]
    peak_sram_bytes: int
    peak_lower_bound_bytes: int


def plan_memory(graph: IntGraph, program: Program) -> MemoryPlan:
    """Return the buffers of ``graph`` with an offset for each."""
    buffers = activation_buffers(graph, program)
    offsets = allocate(buffers)
    return MemoryPlan(
        buffers=buffers,
        offsets=offsets,
        peak_sram_bytes=max((offsets[b.name] + b.bytes for b in buffers), default=0),
        peak_lower_bound_bytes=peak_live_bytes(buffers),
    )


def activation_buffers(graph: IntGraph, program: Program) -> tuple[Buffer, ...]:
    """Return the buffers of inputs, results and temporaries, in order of first need.

    An input lives from the start to its last use, a result or temporary from the step that writes
    it to its last use, an output to the end. A view is not stored again: the buffer it looks into
    lives until the last use of either. What a fused step does not store has no buffer.
    """
    roots = tensor_roots(graph) | {name: name for name in program.temporaries}
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for number, step in enumerate(program.steps):
        touched = [roots[each.tensor] for each in (*step.reads, *step.writes)]
        for name in touched:
            first.setdefault(name, number)
        last.update(dict.fromkeys(touched, number))
    end = max(len(program.steps) - 1, 0)
    last.update({roots[name]: end for name in graph.outputs if roots.get(name) in first})
    return tuple(
        Buffer(
            name=name,
            bytes=program.temporaries.get(name) or graph.tensors[name].bytes,
            first=number,
            last=last[name],
        )
        for name, number in first.items()
    )


def tensor_roots(graph: IntGraph) -> dict[TensorId, TensorId]:
    """Return, for every activation and input, the tensor in whose memory it lies.

    A view of a constant is stored on its own: constants have no memory on the chip to look into.
    """
    last_read = {name: step for step, op in enumerate(graph.ops) for name in op.operands}
    last_read |= dict.fromkeys((*graph.inputs, *graph.outputs), len(graph.ops))  # kept as they are
    roots = {name: name for name in graph.inputs}
    for step, op in enumerate(graph.ops):
        source = op.operands[0]
        if SPECS[type(op)].is_view(graph, op) and source in roots:
            roots[op.name] = roots[source]
        else:
            roots[op.name] = _overwritten(graph, op, step, roots, last_read) or op.name
    return roots


def _overwritten(
    graph: IntGraph,
    op: Op,
    step: int,
    roots: Mapping[TensorId, TensorId],
    last_read: Mapping[TensorId, int],
) -> TensorId | None:
    """Return the buffer that a result overwrites: its residual's, where nothing reads that later.

    Each code of the result depends on that one code of the residual, and on other tensors.
    """
    residual = residual_of(op)
    if residual is None:
        return None
    others = list(op.operands)
    others.remove(residual)
    root = roots[residual]
    same_memory = [name for name, other in roots.items() if other == root]
    if any(last_read.get(name, 0) > step for name in same_memory):
        return None
    if root in map(roots.get, others):
        return None
    return root if graph.tensors[root].bytes == graph.result(op).bytes else None


def peak_live_bytes(buffers: Sequence[Buffer]) -> int:
    """Return the most bytes that must exist during one step."""
    # The live bytes only grow where a buffer begins, so these steps are enough.
    steps = {buffer.first for buffer in buffers}
    return max(
        (sum(b.bytes for b in buffers if b.first <= step <= b.last) for step in steps), default=0
    )


def allocate(buffers: Sequence[Buffer]) -> dict[TensorId, int]:
    """Return an offset for each buffer: the largest first, each as low as it fits.

    "Greedy by size" of Pisarchyk and Lee (arXiv 2001.03288), with the lowest gap instead of the
    tightest. Buffers that no step needs together may share bytes.
    """
    offsets: dict[TensorId, int] = {}
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: (-b.bytes, b.first, b.name)):
        neighbours = [other for other in placed if buffer.meets(other)]
        offset = 0
        for other in sorted(neighbours, key=lambda b: offsets[b.name]):
            if offset + buffer.bytes <= offsets[other.name]:
                break
            offset = max(offset, _aligned(offsets[other.name] + other.bytes))
        offsets[buffer.name] = offset
        placed.append(buffer)
    return offsets


def _aligned(offset: int) -> int:
    return ceil_div(offset, ALIGNMENT) * ALIGNMENT
