# SPDX-License-Identifier: Apache-2.0
"""Shapes that the specifications of several ops imply, and what broadcasts to what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.op import Op

Shape = tuple[int, ...]


def same_shape(_: Op, shapes: Sequence[Shape], __: Shape) -> Shape:
    """Return the shape of the first operand."""
    return shapes[0]


def broadcasts(constant: Shape, shape: Shape) -> bool:
    """Return true if a constant can be repeated to ``shape``: extents are equal, 1 or missing."""
    try:
        return np.broadcast_shapes(constant, shape) == shape
    except ValueError:
        return False


def sum_shape(shapes: Sequence[Shape]) -> Shape:
    """Return the shape of ``a + b`` where b is repeated to the shape of a, channels excepted.

    Raises
    ------
    ValueError
        If b does not broadcast, or the last dimensions differ.
    """
    a, b = shapes
    if a[-1:] != b[-1:] or not broadcasts(b, a):
        raise ValueError(f"cannot add {b} to {a}")
    return a


def product_shape(a: Shape, b: Shape, transpose_b: bool) -> Shape:
    """Return the shape of the matrix product of a [..., M, K] with b [..., K, N] or [..., N, K].

    Raises
    ------
    ValueError
        If the inner dimensions differ, or the leading ones where b has any.
    """
    rows, columns = (b[-1], b[-2]) if transpose_b else (b[-2], b[-1])
    if a[-1] != rows or (len(b) > 2 and a[:-2] != b[:-2]):
        raise ValueError(f"cannot multiply {a} by {b}")
    return (*a[:-1], columns)


def two_operand_shape(verb: str, shapes: Sequence[Shape]) -> Shape:
    """Return the shape of a, with the longer of both last dimensions.

    Raises
    ------
    ValueError
        If b has other leading dimensions than a, or last dimensions differ and neither is 1.
    """
    a, b = shapes
    leading = a[:-1]
    if leading[len(leading) - len(b) + 1 :] != b[:-1] or len(b) > len(a):
        raise ValueError(f"cannot {verb} {a} and {b}: leading dimensions differ")
    if a[-1] != b[-1] and 1 not in {a[-1], b[-1]}:
        raise ValueError(f"cannot {verb} {a} and {b}: last dimensions differ")
    return (*leading, max(a[-1], b[-1]))
