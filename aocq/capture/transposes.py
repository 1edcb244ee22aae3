# SPDX-License-Identifier: Apache-2.0
"""Graph pass that joins two transpositions with a reshape between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from aocq.capture.float_graph import FloatGraph, FloatNode, FloatOp

Groups = list[list[int]]


def single_transposes(graph: FloatGraph) -> FloatGraph:
    """Make reshape, transpose, reshape of transpose, reshape, transpose, where extents allow it.

    Heads that are joined again and windows that are put together are moved once, and a patch
    embedding whose channels go to the front and back is not moved at all.
    """
    nodes = {node.name: node for node in graph.nodes}
    ordered: list[FloatNode] = []
    for node in graph.nodes:
        found = _joined(node, nodes)
        ordered += found
        nodes |= {part.name: part for part in found}
    return replace(graph, nodes=tuple(ordered))


def _joined(node: FloatNode, nodes: dict[str, FloatNode]) -> list[FloatNode]:
    """Return the nodes that yield a transpose's result, the last one under its name."""
    if node.op is not FloatOp.TRANSPOSE:
        return [node]
    if _moves_nothing(node, nodes[node.inputs[0]]):
        return [replace(node, op=FloatOp.RESHAPE, attributes=MappingProxyType({}))]
    reshape = nodes[node.inputs[0]]
    first = nodes[reshape.inputs[0]] if reshape.op is FloatOp.RESHAPE else reshape
    if first is reshape or first.op is not FloatOp.TRANSPOSE:
        return [node]
    common = common_extents(first.shape, reshape.shape)
    if common is None:
        return [node]
    extents, of_first, of_second = common
    permutation: tuple[int, ...] = first.attributes["permutation"]
    # Parts in the order of the source's dimensions, and in that of the result's.
    source = [
        part for axis in range(len(permutation)) for part in of_first[permutation.index(axis)]
    ]
    result = [part for axis in node.attributes["permutation"] for part in of_second[axis]]
    split = FloatNode(
        name=_free(f"{node.name}.split", nodes),
        op=FloatOp.RESHAPE,
        inputs=first.inputs,
        attributes=MappingProxyType({}),
        shape=tuple(extents[part] for part in source),
    )
    moved = FloatNode(
        name=_free(f"{node.name}.moved", nodes),
        op=FloatOp.TRANSPOSE,
        inputs=(split.name,),
        attributes=MappingProxyType({"permutation": tuple(source.index(part) for part in result)}),
        shape=tuple(extents[part] for part in result),
    )
    whole = replace(node, op=FloatOp.RESHAPE, inputs=(moved.name,), attributes=MappingProxyType({}))
    return [split, moved, whole]


def _moves_nothing(node: FloatNode, source: FloatNode) -> bool:
    """Whether only dimensions of extent 1 change their places: a single window's."""
    long = [axis for axis in node.attributes["permutation"] if source.shape[axis] > 1]
    return long == sorted(long)


def _free(name: str, nodes: dict[str, FloatNode]) -> str:
    while name in nodes:
        name += "_1"
    return name


def common_extents(
    first: Sequence[int], second: Sequence[int]
) -> tuple[list[int], Groups, Groups] | None:
    """Return the coarsest extents of which both shapes of one size are made, in order.

    With the numbers of those that form each dimension of either; None where there are none:
    (2, 3) and (3, 2) cut six values at different places.
    """
    extents: list[int] = []
    groups: tuple[Groups, Groups] = ([[] for _ in first], [[] for _ in second])
    left = [list(first), list(second)]
    at = [0, 0]
    while at[0] < len(first) and at[1] < len(second):
        a, b = left[0][at[0]], left[1][at[1]]
        small, large = min(a, b), max(a, b)
        if large % small:
            return None
        for side in (0, 1):
            groups[side][at[side]].append(len(extents))
            left[side][at[side]] //= small
        extents.append(small)
        # A dimension that is used up ends; one of extent 1 beside a longer one ends alone.
        for side in (0, 1):
            at[side] += left[side][at[side]] == 1 and (small > 1 or (a, b)[side] == 1)
    for side in (0, 1):  # what is left has extent 1
        for axis in range(at[side], len(left[side])):
            if left[side][axis] != 1:
                return None
            groups[side][axis].append(len(extents))
            groups[1 - side][-1].append(len(extents))
            extents.append(1)
    return extents, *groups
