# SPDX-License-Identifier: Apache-2.0
"""Rotation by a Hadamard matrix: see :class:`simulator.graph.ops.Hadamard`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Hadamard
from simulator.numerics.hadamard import factors, hadamard_matrix, subtracted_pairs
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer

TILE = 2048  # values that are transformed at once: they stay in the first cache


def reference(op: Hadamard, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers: a product with the matrix, without butterflies."""
    result = graph.result(op)
    rows = operands[0].reshape(-1, op.order).astype(object) - graph.tensors[op.a].zero_point
    matrix = hadamard_matrix(op.order).tolist()
    sums = np.array(
        [
            [sum(sign * value for sign, value in zip(signs, row, strict=True)) for signs in matrix]
            for row in rows.tolist()
        ],
        object,
    )
    shaped = sums.reshape(result.shape)
    return OpResult(*requantize_reference(shaped, graph, op.requantize, result))


def build(op: Hadamard, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    zero_point = graph.tensors[op.a].zero_point
    paley, sylvester = factors(op.order)
    subtracted = subtracted_pairs(paley)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        blocks = np.ascontiguousarray(operands[0]).reshape(-1, op.order)
        sums = np.empty(blocks.shape, np.int32)
        rotate_blocks(blocks, zero_point, paley, sylvester, subtracted, sums)
        return OpResult(*requantize(sums.reshape(operands[0].shape)))

    return kernel


@compiled
def rotate_blocks(  # type: ignore[no-untyped-def]
    blocks, zero_point, paley, sylvester, subtracted, sums
):
    """Multiply each block [order] of codes with H into int32 ``sums``, a few blocks at a time.

    Sylvester's factor takes three steps of butterflies in one pass, while there are three.
    """
    count, order = blocks.shape
    at_once = max(TILE // order, 1)
    scratch = np.empty(at_once * order, np.int32)
    passes = int(paley > 1)
    stride = 1
    while stride < sylvester:
        stride *= 8 if sylvester >= 8 * stride else 2
        passes += 1
    for first in range(0, count, at_once):
        codes = blocks[first : first + at_once].reshape(-1)
        # Passes go to and fro between both, and the last one ends in the sums.
        one, other = sums[first : first + at_once].reshape(-1), scratch[: codes.size]
        if passes % 2:
            one, other = other, one
        centre(codes, np.int32(zero_point), one)
        if paley > 1:
            shape = (-1, paley // 2, 2, sylvester)
            multiply_by_paley(one.reshape(shape), subtracted, other.reshape(shape))
            one, other = other, one
        stride = 1
        while stride < sylvester:
            if sylvester < 8 * stride:
                shape_of_two = (-1, 2, stride)
                add_in_twos(one.reshape(shape_of_two), other.reshape(shape_of_two))
                stride *= 2
            elif stride == 1:
                add_neighbours(one.reshape((-1, 8)), other.reshape((-1, 8)))
                stride *= 8
            else:
                shape_of_eight = (-1, 8, stride)
                add_in_eights(one.reshape(shape_of_eight), other.reshape(shape_of_eight))
                stride *= 8
            one, other = other, one


@compiled
def centre(codes, zero, out):  # type: ignore[no-untyped-def]
    """Write codes less their zero point."""
    for i in range(codes.size):
        out[i] = np.int32(np.int32(codes[i]) - zero)


@compiled
def three_steps(a, b, c, d, e, f, g, h):  # type: ignore[no-untyped-def]
    """Return the product of H of order 8 with eight values."""
    a, b, c, d, e, f, g, h = a + b, a - b, c + d, c - d, e + f, e - f, g + h, g - h
    a, c, b, d, e, g, f, h = a + c, a - c, b + d, b - d, e + g, e - g, f + h, f - h
    return a + e, b + f, c + g, d + h, a - e, b - f, c - g, d - h


@compiled
def add_neighbours(values, out):  # type: ignore[no-untyped-def]
    """Multiply each row of 8 with H of order 8."""
    for i in range(values.shape[0]):
        row, found = values[i], out[i]
        found[0], found[1], found[2], found[3], found[4], found[5], found[6], found[7] = (
            three_steps(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])
        )


@compiled
def add_in_eights(values, out):  # type: ignore[no-untyped-def]
    """Multiply every eight rows, ``values`` [..., 8, columns], with H of order 8."""
    for i in range(values.shape[0]):
        rows, found = values[i], out[i]
        for c in range(values.shape[2]):
            (
                found[0, c],
                found[1, c],
                found[2, c],
                found[3, c],
                found[4, c],
                found[5, c],
                found[6, c],
                found[7, c],
            ) = three_steps(
                rows[0, c],
                rows[1, c],
                rows[2, c],
                rows[3, c],
                rows[4, c],
                rows[5, c],
                rows[6, c],
                rows[7, c],
            )


@compiled
def add_in_twos(values, out):  # type: ignore[no-untyped-def]
    """Multiply every two rows, ``values`` [..., 2, columns], with H of order 2."""
    for i in range(values.shape[0]):
        for c in range(values.shape[2]):
            a, b = values[i, 0, c], values[i, 1, c]
            out[i, 0, c] = a + b
            out[i, 1, c] = a - b


@compiled
def multiply_by_paley(values, subtracted, out):  # type: ignore[no-untyped-def]
    """Multiply with Paley's factor: ``values`` and ``out`` are [blocks, pairs, 2, columns].

    See :func:`simulator.numerics.hadamard.subtracted_pairs`.
    """
    pairs, columns = values.shape[1], values.shape[3]
    for block in range(values.shape[0]):
        x, y = values[block], out[block]
        # P and Q, the sums of p and q over all pairs but the first, go to the places of y_0.
        for c in range(columns):
            y[0, 0, c] = 0
            y[0, 1, c] = 0
        for pair in range(1, pairs):
            for c in range(columns):
                y[0, 0, c] += x[pair, 0, c] + x[pair, 1, c]
                y[0, 1, c] += x[pair, 0, c] - x[pair, 1, c]
        for i in range(1, pairs):
            for c in range(columns):
                y[i, 0, c] = x[i, 1, c]
                y[i, 1, c] = x[i, 0, c]
            for j in range(subtracted.shape[1]):
                pair = subtracted[i - 1, j] + 1
                for c in range(columns):
                    y[i, 0, c] += x[pair, 0, c] + x[pair, 1, c]
                    y[i, 1, c] += x[pair, 0, c] - x[pair, 1, c]
            for c in range(columns):
                y[i, 0, c] = y[0, 0, c] + x[0, 0, c] + x[0, 1, c] - 2 * y[i, 0, c]
                y[i, 1, c] = y[0, 1, c] + x[0, 0, c] - x[0, 1, c] - 2 * y[i, 1, c]
        for c in range(columns):
            y[0, 0, c] += x[0, 0, c] - x[0, 1, c]
            y[0, 1, c] -= x[0, 0, c] + x[0, 1, c]


BEHAVIOUR = Behaviour(reference, build)
