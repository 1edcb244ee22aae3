# SPDX-License-Identifier: Apache-2.0
"""Operands of ops of two tensors: b repeats along leading dimensions, either along the last one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import Tensor
from simulator.numerics.integer_type import IntArray


def broadcast_integers(
    operands: Sequence[IntArray], result: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return both operands of one image as Python integers of the result's shape."""
    a, b = (np.broadcast_to(codes, result.shape).astype(object) for codes in operands)
    return a, b


def broadcast_batch(operands: Sequence[IntArray]) -> tuple[IntArray, IntArray]:
    """Return both operands of a batch in the result's shape [images, ...].

    What repeats is written out: kernels then need no strides.
    """
    shape = np.broadcast_shapes(*(codes.shape for codes in operands))
    a, b = (np.ascontiguousarray(np.broadcast_to(codes, shape)) for codes in operands)
    return a, b


def rows_repeat(shape: Sequence[int], result: Sequence[int], *, constant: bool) -> bool:
    """Tell whether an operand's rows are those of the result, in order, over and over.

    A row may be one code, which then meets every channel. A constant may have fewer dimensions.
    """
    leading = tuple(shape[:-1])
    begins = len(result) - 1 - len(leading)
    whole = begins == 0 or constant
    return whole and leading == tuple(result[begins:-1]) and shape[-1] in (1, result[-1])
