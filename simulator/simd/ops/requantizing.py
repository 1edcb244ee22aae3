# SPDX-License-Identifier: Apache-2.0
"""The SIMD form of the step that ends MatMul and Mul."""

from __future__ import annotations

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import MatMul, Requantization
from simulator.numerics.requantization import Requantizer
from simulator.ops.requantizing import requantizer
from simulator.simd.lanes.float_requantization import SimdFloatRequantizer
from simulator.simd.lanes.requantization import SimdRequantizer
from simulator.simd.lanes.residual_term import ResidualTerm
from simulator.simd.lanes.vectors import LANES

AnySimdRequantizer = SimdRequantizer | SimdFloatRequantizer


def simd_requantizer(
    graph: IntGraph, parameters: Requantization, result: Tensor
) -> AnySimdRequantizer | None:
    """Build the form in 32-bit lanes, padded to whole registers; none where it has none."""
    requantize = requantizer(graph, parameters, result)
    padded = -(-result.shape[-1] // LANES) * LANES
    if isinstance(requantize, Requantizer):
        return SimdRequantizer.of(requantize, padded)
    return SimdFloatRequantizer.of(requantize, padded)


def product_requantizer(op: MatMul, graph: IntGraph) -> AnySimdRequantizer | None:
    """Build the form of what ends a MatMul; none where it, or its residual, has none."""
    if op.residual is not None and residual_term(op, graph) is None:
        return None
    return simd_requantizer(graph, op.requantize, graph.result(op))


def residual_term(op: MatMul, graph: IntGraph) -> ResidualTerm | None:
    """Build the form of a MatMul's residual; none without one, or where numbers are too wide."""
    if op.residual is None or op.residual_multiplier is None or op.requantize.shift is None:
        return None
    residual = graph.tensors[op.residual]
    shift = graph.constants[op.requantize.shift].astype(np.int64)
    return ResidualTerm.of(
        graph.constants[op.residual_multiplier],
        shift - op.residual_fraction_bits,
        channels=graph.result(op).shape[-1],
        zero_point=residual.zero_point,
        dtype=residual.type.dtype,
    )
