# SPDX-License-Identifier: Apache-2.0
"""The SIMD form of the step that ends MatMul and Mul."""

from __future__ import annotations

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Requantization
from simulator.numerics.requantization import Requantizer
from simulator.ops.requantizing import requantizer
from simulator.simd.lanes.float_requantization import SimdFloatRequantizer
from simulator.simd.lanes.requantization import SimdRequantizer
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
