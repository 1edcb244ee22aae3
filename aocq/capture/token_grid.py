# SPDX-License-Identifier: Apache-2.0
"""Where the tokens of a tensor stand in the image: behind class and register tokens, in rows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from aocq.capture.float_graph import LAYOUT, FloatGraph, FloatNode, FloatOp
from aocq.capture.residual_stream import residual_stream

# What keeps every token at its place, of one tensor.
_BY_TOKEN = frozenset(
    {FloatOp.LINEAR, FloatOp.LAYERNORM, FloatOp.UNARY, FloatOp.SCALE, FloatOp.HADAMARD}
    | {FloatOp.REQUANTIZE, FloatOp.L2NORM}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrid:
    """``rows`` x ``columns`` patches, row by row, behind ``prefix`` other tokens."""

    prefix: int
    rows: int
    columns: int

    @property
    def patches(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        """How many there are with those in front."""
        return self.prefix + self.patches


def token_grid(graph: FloatGraph, name: str) -> TokenGrid | None:
    """Return where the tokens of a tensor stand; None where it has none of a whole grid.

    Parameters
    ----------
    name
        of a tensor (tokens, channels) or (rows, columns, channels). Of tokens in one row the grid
        has the image's proportions; those in front are constants that were put before the patches
    """
    shape = graph.node(name).shape
    if len(shape) == 3:
        stands = _stands_on_grid(graph, graph.node(name))
        return TokenGrid(prefix=0, rows=shape[0], columns=shape[1]) if stands else None
    if len(shape) != 2:
        return None
    prefix = _prefix(graph, name)
    patches = shape[0] - prefix
    _, height, width = graph.input.shape
    rows = max(round((max(patches, 0) * height / width) ** 0.5), 1)
    if patches < 1 or patches % rows:
        return None
    return TokenGrid(prefix=prefix, rows=rows, columns=patches // rows)


def _stands_on_grid(graph: FloatGraph, node: FloatNode) -> bool:
    """Return whether a tensor (rows, columns, channels) has the tokens of the stream, in place.

    Heads, windows and scores have three dimensions, too, and a shifted image is not in place.
    """
    stream, rows_and_columns = residual_stream(graph), node.shape[:2]
    while node.name not in stream:
        if node.op not in _BY_TOKEN | {FloatOp.ADD, FloatOp.RESHAPE}:
            return False
        source = graph.node(next((name for name in node.inputs if name in stream), node.inputs[0]))
        if node.op is FloatOp.RESHAPE and node.shape[-1] != source.shape[-1]:
            return False
        node = source
    if len(node.shape) == 3:
        return node.shape[:2] == rows_and_columns
    found = token_grid(graph, node.name)
    return found is not None and (found.tokens, found.rows) == (
        found.patches,
        rows_and_columns[0],
    )


def _prefix(graph: FloatGraph, name: str) -> int:
    """Return how many constant tokens stand in front of a tensor's patches."""
    stream, seen = residual_stream(graph), _made_of_image(graph)
    found, node = 0, graph.node(name)
    while node.inputs:
        source = _carrier(graph, node, stream, seen)
        if node.op is FloatOp.CONCAT and node.attributes["axis"] == 0:
            before = node.inputs[: node.inputs.index(source.name)]
            found += sum(graph.node(other).shape[0] for other in before)
        elif node.op is FloatOp.SLICE and node.attributes["axis"] == 0:
            found -= int(node.attributes["start"])
        elif node.op in LAYOUT and source.shape != node.shape:
            break  # patches are made here
        elif node.op not in _BY_TOKEN | LAYOUT | {FloatOp.ADD, FloatOp.CONCAT, FloatOp.SLICE}:
            break
        node = source
    return max(found, 0)


def _carrier(
    graph: FloatGraph, node: FloatNode, stream: Collection[str], seen: Collection[str]
) -> FloatNode:
    """Return the input whose tokens a node's result has: of the stream, if one is."""
    inputs = [name for name in node.inputs if name in seen] or list(node.inputs)
    if node.op is FloatOp.CONCAT:  # a class token may be made of the image, too: it is only one
        return max((graph.node(name) for name in inputs), key=lambda other: other.shape[0])
    return graph.node(next((name for name in inputs if name in stream), inputs[0]))


def _made_of_image(graph: FloatGraph) -> set[str]:
    found = {graph.input.name}
    for node in graph.nodes:
        if found & set(node.inputs):
            found.add(node.name)
    return found
