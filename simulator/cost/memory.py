# SPDX-License-Identifier: Apache-2.0
"""SRAM plan of activations: lifetimes and offsets; bytes of the constants that ops read.

Tensors of the graph count, and temporaries that the profile's passes keep between steps. Where it
states none, sums of a matrix product live in the array's accumulators and exponentials in the
vector unit. Constants stream from DRAM. A layer that ends on the
residual stream overwrites it, code by code, where nothing reads it later; no other result does so,
and a Concat never has its operands computed in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.cost.allocation import Buffer, allocate, busiest
from simulator.cost.parts import Part, tensor_parts
from simulator.cost.steps import Program
from simulator.graph.graph import IntGraph
from simulator.graph.op import residual_of
from simulator.graph.ops import SPECS, Op, TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Buffers with their offsets in SRAM.

    Attributes
    ----------
    offsets
        first byte of each buffer in SRAM, a multiple of ``ALIGNMENT``
    peak_sram_bytes
        end of the highest buffer: the SRAM that this plan needs
    greedy_peak_sram_bytes
        the same where buffers are placed by size alone, the largest first
    peak_lower_bound_bytes
        the most bytes alive during one step: what no plan can do without
    peak_step
        index of the first step with so many
    peak_buffers
        what is alive then, the largest first
    """

    buffers: tuple[Buffer, ...]
    offsets: Mapping[TensorId, int]
    peak_sram_bytes: int
    greedy_peak_sram_bytes: int
    peak_lower_bound_bytes: int
    peak_step: int
    peak_buffers: tuple[Buffer, ...]


def plan_memory(graph: IntGraph, program: Program) -> MemoryPlan:
    """Return the buffers of ``graph`` with an offset for each."""
    buffers = activation_buffers(graph, program)
    allocation = allocate(buffers)
    crowd = busiest(buffers)
    return MemoryPlan(
        buffers=buffers,
        offsets=allocation.offsets,
        peak_sram_bytes=allocation.peak_bytes,
        greedy_peak_sram_bytes=allocation.greedy_peak_bytes,
        peak_lower_bound_bytes=sum(buffer.bytes for buffer in crowd),
        peak_step=max((buffer.first for buffer in crowd), default=0),
        peak_buffers=tuple(sorted(crowd, key=lambda b: (-b.bytes, b.first, b.name))),
    )


def activation_buffers(graph: IntGraph, program: Program) -> tuple[Buffer, ...]:
    """Return the buffers of inputs, results and temporaries, in order of first need.

    An input lives from the start to its last use, a result or temporary from the step that writes
    it to its last use, an output to the end. A view is not stored again: the buffer it looks into
    lives until the last use of either; see :mod:`simulator.cost.parts` for results that are read in
    parts. What a fused step does not store has no buffer. What a product is added to is needed to
    its last step, which may be the one that adds.
    """
    roots = tensor_roots(graph, program.arranged)
    parts = tensor_parts(graph, program, roots)
    residuals = {op.name: residual_of(op) for op in graph.ops}
    first: dict[Part, int] = {part: 0 for name in graph.inputs for part in parts[name]}
    last = dict(first)
    for number, step in enumerate(program.steps):
        moved = [each.tensor for each in (*step.reads, *step.writes)]
        if (residual := residuals[step.op]) is not None and not graph.is_constant(residual):
            moved.append(residual)
        stored = [name for name in moved if roots.get(name, name) not in program.in_dram]
        touched = [part for name in stored for part in parts[name]]
        for part in touched:
            first.setdefault(part, number)
        last.update(dict.fromkeys(touched, number))
    end = max(len(program.steps) - 1, 0)
    kept = [part for name in graph.outputs for part in parts.get(name, ()) if part in first]
    last.update(dict.fromkeys(kept, end))
    return tuple(
        Buffer(
            name=part.name,
            bytes=part.bytes,
            first=number,
            last=last[part],
            temporary_bits=part.temporary_bits,
        )
        for part, number in first.items()
    )


def tensor_roots(
    graph: IntGraph, arranged: frozenset[TensorId] = frozenset()
) -> dict[TensorId, TensorId]:
    """Return, for every activation and input, the tensor in whose memory it lies.

    ``arranged`` are ops of inputs whose results lie in the input's memory, see
    :func:`simulator.cost.fusion.arranged_inputs`.

    A view of a constant is stored on its own: constants have no memory on the chip to look into.
    """
    last_read = {name: step for step, op in enumerate(graph.ops) for name in op.operands}
    last_read |= dict.fromkeys((*graph.inputs, *graph.outputs), len(graph.ops))  # kept as they are
    roots = {name: name for name in graph.inputs}
    for step, op in enumerate(graph.ops):
        source = op.operands[0]
        is_view = op.name in arranged or SPECS[type(op)].is_view(graph, op)
        if is_view and source in roots:
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
