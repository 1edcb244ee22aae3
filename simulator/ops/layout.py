# SPDX-License-Identifier: Apache-2.0
"""Concat, Slice, Reshape, Transpose: codes (or real values) move, none changes.

The kernels return views where numpy can; the references move codes one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Concat, Reshape, Slice, Transpose
from simulator.numerics.float_type import Array
from simulator.ops.behaviour import Behaviour, Kernel, OpResult


def _concat_reference(op: Concat, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    out = np.empty(graph.result(op).shape, graph.result(op).type.dtype)
    start = 0
    for operand in operands:
        for index in np.ndindex(*operand.shape):
            target = list(index)
            target[op.axis] += start
            out[tuple(target)] = operand[index].item()
        start += operand.shape[op.axis]
    return OpResult(out)


def _build_concat(op: Concat, graph: IntGraph, _: Gemm) -> Kernel:
    constant = [graph.is_constant(name) for name in op.inputs]

    def kernel(operands: Sequence[Array]) -> OpResult:
        batch = next(len(a) for a, fixed in zip(operands, constant, strict=True) if not fixed)
        parts = [
            np.broadcast_to(a, (batch, *a.shape)) if fixed else a
            for a, fixed in zip(operands, constant, strict=True)
        ]
        return OpResult(np.concatenate(parts, axis=op.axis + 1))

    return kernel


def _slice_reference(op: Slice, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    out = np.empty(graph.result(op).shape, graph.result(op).type.dtype)
    for index in np.ndindex(*out.shape):
        source = list(index)
        source[op.axis] = op.start + op.step * source[op.axis]
        out[index] = operands[0][tuple(source)].item()
    return OpResult(out)


def _build_slice(op: Slice, _: IntGraph, __: Gemm) -> Kernel:
    part = (slice(None),) * (op.axis + 1) + (slice(op.start, op.stop, op.step),)
    return lambda operands: OpResult(operands[0][part])


def _reshape_reference(op: Reshape, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    codes = [operands[0][index].item() for index in np.ndindex(*operands[0].shape)]
    out = np.empty(graph.result(op).shape, graph.result(op).type.dtype)
    for code, index in zip(codes, np.ndindex(*out.shape), strict=True):
        out[index] = code
    return OpResult(out)


def _build_reshape(op: Reshape, graph: IntGraph, _: Gemm) -> Kernel:
    shape = graph.result(op).shape
    return lambda operands: OpResult(operands[0].reshape(len(operands[0]), *shape))


def _transpose_reference(op: Transpose, graph: IntGraph, operands: Sequence[Array]) -> OpResult:
    out = np.empty(graph.result(op).shape, graph.result(op).type.dtype)
    for index in np.ndindex(*out.shape):
        source = [0] * len(index)
        for axis, position in zip(op.permutation, index, strict=True):
            source[axis] = position
        out[index] = operands[0][tuple(source)].item()
    return OpResult(out)


def _build_transpose(op: Transpose, _: IntGraph, __: Gemm) -> Kernel:
    permutation = (0, *(axis + 1 for axis in op.permutation))
    return lambda operands: OpResult(operands[0].transpose(permutation))


CONCAT = Behaviour(_concat_reference, _build_concat)
SLICE = Behaviour(_slice_reference, _build_slice)
RESHAPE = Behaviour(_reshape_reference, _build_reshape)
TRANSPOSE = Behaviour(_transpose_reference, _build_transpose)
