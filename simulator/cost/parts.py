# SPDX-License-Identifier: Apache-2.0
"""The buffers that tensors lie in: one for each result, but where only parts of a result are read.

Q, K and V lie one after the other in the result of one Transpose, and once the scores are there,
only V is needed: each of them is a buffer of its own. What writes such a result writes its parts
one after the other, each where its buffer is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from simulator.cost.exact import ceil_div
from simulator.cost.steps import Program
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Slice, TensorId


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A buffer: its name, its bytes, and of a temporary the bits of one element."""

    name: TensorId
    bytes: int
    temporary_bits: int | None = None


Stretch = tuple[int, int]  # the first element of a stored tensor, and the one behind the last


def tensor_parts(
    graph: IntGraph, program: Program, roots: Mapping[TensorId, TensorId]
) -> dict[TensorId, tuple[Part, ...]]:
    """Return for every activation and temporary the buffers that it lies in, in order.

    More than one has a result of which several parts that do not overlap are read, and a view of
    such a result that is wider than a part. A part bears the name of the first tensor that is read
    as a whole. Network inputs and outputs, results of products on the array and what is overwritten
    in place are stored as they are.

    Parameters
    ----------
    roots
        for every activation and input, the tensor in whose memory it lies
    """
    stretches = _stretches(graph, roots)
    cuts = _cuts(graph, program, roots, stretches)
    found: dict[TensorId, tuple[Part, ...]] = {
        name: (Part(name=name, bytes=each.bytes, temporary_bits=each.bits),)
        for name, each in program.temporaries.items()
    }
    for name, root in roots.items():
        first, end = stretches[name]
        found[name] = tuple(
            part for (start, stop), part in cuts.get(root, ()) if start < end and first < stop
        ) or (Part(name=root, bytes=graph.tensors[root].bytes),)
    return found


def _stretches(graph: IntGraph, roots: Mapping[TensorId, TensorId]) -> dict[TensorId, Stretch]:
    """Return where every tensor lies in the one that is stored."""
    found = {name: (0, graph.tensors[name].size) for name in graph.inputs}
    for op in graph.ops:
        root, size = roots[op.name], graph.result(op).size
        source = op.operands[0]
        first = 0
        if root != op.name and roots.get(source) == root and size != graph.tensors[root].size:
            first = found[source][0]
            if isinstance(op, Slice):
                first += op.start * math.prod(graph.tensors[source].shape[op.axis + 1 :])
        found[op.name] = (first, first + size)
    return found


def _cuts(
    graph: IntGraph,
    program: Program,
    roots: Mapping[TensorId, TensorId],
    stretches: Mapping[TensorId, Stretch],
) -> dict[TensorId, list[tuple[Stretch, Part]]]:
    """Return the parts of the results that are stored in parts."""
    read: dict[TensorId, dict[Stretch, TensorId]] = {}
    writes: Counter[TensorId] = Counter()
    whole = {roots.get(name, name) for name in (*graph.inputs, *graph.outputs)}
    for step in program.steps:
        for name in (each.tensor for each in step.reads if each.tensor in roots):
            read.setdefault(roots[name], {}).setdefault(stretches[name], name)
        written = {roots.get(each.tensor, each.tensor) for each in step.writes}
        writes.update(written)
        if step.product is not None:
            whole |= written
    found = {}
    for root in read.keys() - whole:
        tensor = graph.tensors[root]
        pieces = _pieces(read[root], tensor.size)
        in_bytes = all(first * tensor.type.bits % 8 == 0 for first, _ in pieces)
        if len(pieces) > 1 and in_bytes and writes[root] == 1:
            found[root] = [
                (piece, _part(piece, read[root], root, tensor.type.bits)) for piece in pieces
            ]
    return found


def _part(piece: Stretch, names: Mapping[Stretch, TensorId], root: TensorId, bits: int) -> Part:
    first, end = piece
    size = ceil_div((end - first) * bits, 8)
    return Part(name=names.get(piece, f"{root}[{first}:{end}]"), bytes=size)


def _pieces(read: Iterable[Stretch], size: int) -> list[Stretch]:
    """Return a tensor in pieces of which none shares an element that is read with another."""
    starts: list[int] = []
    reached = 0
    for first, end in sorted(read):
        if not starts or first >= reached:
            starts.append(first)
        reached = max(reached, end)
    ends = [*starts[1:], size]
    return list(zip([0, *starts[1:]], ends, strict=True))
