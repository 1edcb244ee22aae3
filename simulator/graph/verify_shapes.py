# SPDX-License-Identifier: Apache-2.0
"""The rules of shapes: what operands imply of results. A layer for ``verify``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import SPECS
from simulator.graph.shapes import Shape


def result_shape(op: Op, shapes: Sequence[Shape], declared: Shape) -> Shape:
    """Shape of an op's result, as the shapes of its operands imply it.

    Parameters
    ----------
    op
        any op of the format
    shapes
        of its operands, in the order of ``op.operands``
    declared
        shape of the result as the graph states it; read only where operands leave it open: by a
        Reshape, and by a linear FloatFunction for its last dimension

    Raises
    ------
    ValueError, IndexError
        If the operands do not go together.
    """
    return SPECS[type(op)].shape(op, shapes, declared)


def shapes_agree(graph: IntGraph, op: Op) -> Iterator[str]:
    """Yield where a result does not have the shape that the operands imply."""
    try:
        shapes = [graph.tensors[name].shape for name in op.operands]
        implied = result_shape(op, shapes, graph.result(op).shape)
    except (ValueError, IndexError) as error:
        yield str(error)
    else:
        if implied != graph.result(op).shape:
            yield f"result has shape {graph.result(op).shape}, operands imply {implied}"


def operands_have_images(graph: IntGraph, op: Op) -> Iterator[str]:
    """Kernels take activations with a batch dimension in front, and constants without."""
    yield from SPECS[type(op)].batch(graph, op)
