# SPDX-License-Identifier: Apache-2.0
"""L2Norm: see :class:`simulator.graph.ops.L2Norm`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import L2Norm
from simulator.graph.ops.normalization import spare_reciprocal_bits
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.numerics.square_root import isqrt_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def _rows_of_a_gain(shape: Sequence[int]) -> int:
    """Return how many rows follow each other under one gain: those of a head, of one image."""
    return shape[-2] if len(shape) > 2 else 1


def reference(op: L2Norm, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    zero_point = graph.tensors[op.a].zero_point
    gains = graph.constants[op.gain].tolist()
    stage = output_stage(op, result)
    rows: list[list[int]] = []
    saturated = 0
    for number, row in enumerate(operands[0].reshape(-1, result.shape[-1]).tolist()):
        u = [code - zero_point for code in row]
        root = isqrt(sum(value * value for value in u) << 2 * op.sqrt_fraction_bits)
        inverse = (1 << op.reciprocal_bits) // max(root, op.epsilon, 1)
        gain = gains[number // _rows_of_a_gain(result.shape) % len(gains)]
        codes = []
        for value in u:
            normalized = value * inverse >> spare_reciprocal_bits(op)
            code, misfit = stage(normalized * gain)
            codes.append(code)
            saturated += misfit
        rows.append(codes)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def build(op: L2Norm, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    channels = result.shape[-1]
    stage = output_stage(op, result).arguments
    gains = graph.constants[op.gain].astype(np.int64)
    zero_point = graph.tensors[op.a].zero_point

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        out = np.empty(rows.shape, result.type.dtype)
        saturated = l2_norm_rows(
            rows,
            zero_point,
            op.epsilon,
            op.sqrt_fraction_bits,
            op.reciprocal_bits,
            spare_reciprocal_bits(op),
            gains,
            _rows_of_a_gain(operands[0].shape[1:]),
            stage,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def l2_norm_rows(  # type: ignore[no-untyped-def]
    rows,
    zero_point,
    epsilon,
    sqrt_fraction_bits,
    reciprocal_bits,
    spare_bits,
    gains,
    rows_of_a_gain,
    stage,
    out,
):
    """Normalize each row of codes into ``out``; return how many did not fit.

    ``rows_of_a_gain`` rows follow each other under one of ``gains``, then under the next.
    """
    saturated = 0
    for i in range(rows.shape[0]):
        squares = np.int64(0)
        for c in range(rows.shape[1]):
            u = np.int64(rows[i, c]) - zero_point
            squares += u * u
        root = max(isqrt_kernel(squares << (2 * sqrt_fraction_bits)), np.int64(epsilon))
        inverse = (np.int64(1) << reciprocal_bits) // max(root, np.int64(1))
        gain = gains[i // rows_of_a_gain % gains.shape[0]]
        for c in range(rows.shape[1]):
            normalized = (np.int64(rows[i, c]) - zero_point) * inverse >> spare_bits
            out[i, c], misfit = output_stage_kernel(normalized * gain, stage)
            saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
