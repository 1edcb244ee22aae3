# SPDX-License-Identifier: Apache-2.0
"""LayerNorm: see :class:`simulator.graph.ops.LayerNorm`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import LayerNorm
from simulator.graph.ops.normalization import spare_reciprocal_bits
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import output_stage_kernel
from simulator.numerics.square_root import isqrt_kernel, newton_root, newton_root_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import output_stage


def channel_factors(op: LayerNorm, graph: IntGraph) -> NDArray[np.int64]:
    """Multiplier and shift of each channel as one factor, int64 [C]: the shift is to the left."""
    factors = np.ones(graph.result(op).shape[-1], np.int64)
    if op.channel_multiplier is not None:
        factors *= graph.constants[op.channel_multiplier].astype(np.int64)
    if op.channel_shift is not None:
        factors <<= graph.constants[op.channel_shift].astype(np.int64)
    return factors


def reference(op: LayerNorm, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    channels = result.shape[-1]
    zero_point = graph.tensors[op.a].zero_point
    multipliers, shifts = (
        graph.constants[name].tolist() if name is not None else [default] * channels
        for name, default in ((op.channel_multiplier, 1), (op.channel_shift, 0))
    )
    gamma, beta = graph.constants[op.gamma].tolist(), graph.constants[op.beta].tolist()
    beta = [value << op.beta_shift for value in beta]
    stage = output_stage(op, result)
    rows = []
    saturated = 0
    for row in operands[0].reshape(-1, channels).tolist():
        u = [
            (code - zero_point) * multiplier << shift
            for code, multiplier, shift in zip(row, multipliers, shifts, strict=True)
        ]
        total = sum(u)
        variance = channels * sum(value * value for value in u) - total * total + op.epsilon
        widened = variance << 2 * op.sqrt_fraction_bits
        root = isqrt(widened)
        if op.root_steps:
            root = newton_root(widened, op.root_steps, op.root_start_bits)
        inverse = (1 << op.reciprocal_bits) // max(root, 1)
        codes = []
        for c in range(channels):
            normalized = (channels * u[c] - total) * inverse >> spare_reciprocal_bits(op)
            affine = normalized * gamma[c] + beta[c]
            code, misfit = stage(affine)
            codes.append(code)
            saturated += misfit
        rows.append(codes)
    return OpResult(np.array(rows, result.type.dtype).reshape(result.shape), saturated)


def build(op: LayerNorm, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    result = graph.result(op)
    channels = result.shape[-1]
    stage = output_stage(op, result).arguments
    factors = channel_factors(op, graph)
    gamma, beta = (graph.constants[name].astype(np.int64) for name in (op.gamma, op.beta))
    beta <<= op.beta_shift
    zero_point = graph.tensors[op.a].zero_point

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        out = np.empty(rows.shape, result.type.dtype)
        saturated = layer_norm_rows(
            rows,
            zero_point,
            factors,
            op.epsilon,
            op.sqrt_fraction_bits,
            op.root_steps,
            op.root_start_bits,
            op.reciprocal_bits,
            spare_reciprocal_bits(op),
            gamma,
            beta,
            stage,
            out,
        )
        return OpResult(out.reshape(operands[0].shape), int(saturated))

    return kernel


@compiled
def layer_norm_rows(  # type: ignore[no-untyped-def]
    rows,
    zero_point,
    channel_factor,
    epsilon,
    sqrt_fraction_bits,
    root_steps,
    root_start_bits,
    reciprocal_bits,
    spare_bits,
    gamma,
    beta,
    stage,
    out,
):
    """Normalize each row [channels] of codes into ``out``; return how many did not fit."""
    channels = rows.shape[1]
    saturated = 0
    for i in range(rows.shape[0]):
        total = np.int64(0)
        squares = np.int64(0)
        for c in range(channels):
            u = (np.int64(rows[i, c]) - zero_point) * channel_factor[c]
            total += u
            squares += u * u
        variance = channels * squares - total * total + epsilon
        widened = variance << (2 * sqrt_fraction_bits)
        if root_steps:
            root = newton_root_kernel(widened, root_steps, root_start_bits)
        else:
            root = isqrt_kernel(widened)
        inverse = (np.int64(1) << reciprocal_bits) // max(root, np.int64(1))
        for c in range(channels):
            u = (np.int64(rows[i, c]) - zero_point) * channel_factor[c]
            normalized = ((channels * u - total) * inverse) >> spare_bits
            affine = normalized * gamma[c] + beta[c]
            out[i, c], misfit = output_stage_kernel(affine, stage)
            saturated += misfit
    return saturated


BEHAVIOUR = Behaviour(reference, build)
