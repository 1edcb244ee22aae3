# SPDX-License-Identifier: Apache-2.0
"""LayerNorm in vector registers: the same codes as :mod:`simulator.ops.layernorm`.

The normalized value is ``floor(x * inverse / 2^spare)`` with integers ``x`` and ``inverse`` whose
product stays below 2^53: a float64 holds it, so a product of two of them and its floor are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import LayerNorm
from simulator.graph.ops.normalization import spare_reciprocal_bits
from simulator.graph.ranges import code_range
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.square_root import isqrt_kernel, newton_root_kernel
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.layernorm import channel_factors
from simulator.simd.lanes.normalize_row import normalize_channels
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import SimdRequantizer
from simulator.simd.lanes.vectors import LANES

EXACT_FLOAT_BITS = 53
CENTRED = (
    2048  # codes that are held at once, where a row is not longer: they stay in the first cache
)


def simd_kernel(op: LayerNorm, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    factors = channel_factors(op, graph)
    result = graph.result(op)
    channels = result.shape[-1]
    requantizer = _affine(op, graph, channels)
    if requantizer is None or not _fits_lanes(op, graph, factors):
        return None
    zero_point = graph.tensors[op.a].zero_point
    narrow = factors.astype(np.int32)

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        rows = np.ascontiguousarray(operands[0]).reshape(-1, channels)
        out = PaddedCodes.empty(operands[0].shape, result.type.dtype)
        saturated = layer_norm_rows_simd(
            rows,
            zero_point,
            narrow,
            op.epsilon,
            op.sqrt_fraction_bits,
            op.root_steps,
            op.root_start_bits,
            op.reciprocal_bits,
            spare_reciprocal_bits(op),
            requantizer.arguments,
            out.flat,
        )
        return OpResult(out.codes, int(saturated))

    return kernel


def _affine(op: LayerNorm, graph: IntGraph, channels: int) -> SimdRequantizer | None:
    """Return ``normalized * gamma + beta``, shifted and rounded, as a requantization."""
    result = graph.result(op)
    requantizer = Requantizer.build(
        RescaleRule(rounding=op.rounding, overflow=op.overflow),
        multiplier=graph.constants[op.gamma],
        shift=np.array([op.shift]),
        channels=channels,
        zero_point=result.zero_point,
        kind=result.code_type,
    )
    beta = graph.constants[op.beta].astype(np.int64) << op.beta_shift
    lanes = -(-channels // LANES) * LANES
    return SimdRequantizer.of(replace(requantizer, pre_shift_offset=beta), lanes)


def _fits_lanes(op: LayerNorm, graph: IntGraph, factors: NDArray[np.int64]) -> bool:
    """Tell whether sums fit 32 bits, and products of floats are exact.

    A normalized value is at most the root of the number of channels, or twice that where the
    rounded-down root in its divisor has few bits; the reciprocal of a root that is not 0 is at most
    ``2^(reciprocal bits - fraction bits of the root)``.
    """
    zero_point = graph.tensors[op.a].zero_point
    channels = len(factors)
    largest = max(abs(end - zero_point) for end in code_range(graph, op.a)) * int(factors.max())
    bound = 2 * (isqrt(channels) + 1)
    normalized = bound << op.normalized_fraction_bits
    product = bound << (op.reciprocal_bits - op.sqrt_fraction_bits)
    return (
        channels * largest * largest < 1 << 31
        and normalized < 1 << 31
        and product < 1 << EXACT_FLOAT_BITS
    )


@compiled
def layer_norm_rows_simd(
    rows,
    zero_point,
    factors,
    epsilon,
    sqrt_fraction_bits,
    root_steps,
    root_start_bits,
    reciprocal_bits,
    spare_bits,
    requantizer,
    out,
):
    """Normalize each row [channels] of codes into ``out``, flat; count what saturates."""
    channels = rows.shape[1]
    padded = requantizer[0].shape[0]
    # Rows do not wait for each other's roots and divisions where each step takes a few of them.
    together = max(1, CENTRED // padded)
    centred = np.zeros((together, padded), np.int32)
    totals = np.empty(together, np.int64)
    inverses = np.empty(together, np.float64)
    flat = centred.reshape(-1)
    zero = np.int32(zero_point)
    unit = 0.5**spare_bits
    saturated = 0
    for first in range(0, rows.shape[0], together):
        some = min(together, rows.shape[0] - first)
        for i in range(some):
            row, kept = rows[first + i], centred[i]
            total, squares = np.int32(0), np.int32(0)
            for c in range(channels):
                u = np.int32(np.int32(np.int32(row[c]) - zero) * factors[c])
                kept[c] = u
                total = np.int32(total + u)
                squares = np.int32(squares + np.int32(u * u))
            totals[i] = total
            variance = channels * np.int64(squares) - np.int64(total) * np.int64(total) + epsilon
            widened = variance << (2 * sqrt_fraction_bits)
            if root_steps:
                root = newton_root_kernel(widened, root_steps, root_start_bits)
            else:
                root = isqrt_kernel(widened)
            quotient = (np.int64(1) << reciprocal_bits) // max(root, np.int64(1))
            inverses[i] = np.float64(quotient) * unit
        for i in range(some):
            place = (first + i) * channels
            saturated += normalize_channels(
                flat, i * padded, channels, totals[i], inverses[i], requantizer, out, place
            )
    return saturated
