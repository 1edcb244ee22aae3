# SPDX-License-Identifier: Apache-2.0
"""Places of activations in one array: tensors that are never needed together share bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Reshape

ALIGNMENT = 8  # bytes, of the widest code


@dataclass(frozen=True, slots=True)
class Arena:
    """Where activations lie.

    Attributes
    ----------
    size
        bytes of the array
    offset
        first byte by name of a tensor; the input, and every result
    shared
        the results of Reshape: their codes are those of the operand, where they lie
    """

    size: int
    offset: Mapping[str, int]
    shared: frozenset[str]


@dataclass(slots=True)
class _Block:
    """Bytes of a tensor and of its reshaped forms, and the steps at which they are needed."""

    size: int
    first: int
    last: int
    offset: int = 0


def arena_of(graph: IntGraph) -> Arena:
    """Return a place for the input and every result; outputs keep theirs to the end.

    A block takes the lowest place that is free while it is needed, larger blocks first.
    """
    owner, blocks = _blocks(graph)
    placed: list[_Block] = []
    for block in sorted(blocks.values(), key=lambda block: (-block.size, block.first)):
        block.offset = _lowest_place(block, placed)
        placed.append(block)
    return Arena(
        size=max(block.offset + block.size for block in placed),
        offset={name: blocks[root].offset for name, root in owner.items()},
        shared=frozenset(name for name, root in owner.items() if name != root),
    )


def _blocks(graph: IntGraph) -> tuple[dict[str, str], dict[str, _Block]]:
    """Return the block that each activation lies in, by the name of its first tensor."""
    (source,) = graph.inputs
    owner = {source: source}
    blocks = {source: _Block(_bytes(graph, source), -1, -1)}
    for step, op in enumerate(graph.ops):
        for name in op.operands:
            if not graph.is_constant(name):
                blocks[owner[name]].last = step
        if isinstance(op, Reshape) and not graph.is_constant(op.a):
            owner[op.name] = owner[op.a]
        else:
            owner[op.name] = op.name
            blocks[op.name] = _Block(_bytes(graph, op.name), step, step)
    for name in graph.outputs:
        blocks[owner[name]].last = len(graph.ops)
    return owner, blocks


def _bytes(graph: IntGraph, name: str) -> int:
    tensor = graph.tensors[name]
    size = tensor.size * tensor.type.dtype.itemsize
    return -(-size // ALIGNMENT) * ALIGNMENT


def _lowest_place(block: _Block, placed: list[_Block]) -> int:
    together = [
        other for other in placed if other.first <= block.last and block.first <= other.last
    ]
    offset = 0
    for other in sorted(together, key=lambda other: other.offset):
        if offset + block.size <= other.offset:
            break
        offset = max(offset, other.offset + other.size)
    return offset
