# SPDX-License-Identifier: Apache-2.0
"""The step that ends MatMul, Mean and Rescale: a :class:`Requantization` applied to sums."""

from __future__ import annotations

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Requantization
from simulator.numerics.integer_type import IntArray
from simulator.numerics.requantization import Requantizer, requantize


def requantize_reference(
    sums: np.ndarray,
    graph: IntGraph,
    parameters: Requantization,
    result: Tensor,
    beside: np.ndarray | None = None,
) -> tuple[IntArray, int]:
    """Requantize Python integers [..., channels]; also count codes that did not fit.

    ``beside``, of the same shape, is added to the products before they are shifted.
    """
    multipliers = graph.constants[parameters.multiplier].tolist()
    shifts = graph.constants[parameters.shift].tolist()
    codes = np.empty(sums.shape, result.type.dtype)
    outside = 0
    for index in np.ndindex(*sums.shape):
        channel = index[-1]
        codes[index], flag = requantize(
            int(sums[index]),
            multipliers[channel if len(multipliers) > 1 else 0],
            shifts[channel if len(shifts) > 1 else 0],
            parameters.rounding,
            result.zero_point,
            result.code_type,
            parameters.overflow,
            0 if beside is None else int(beside[index]),
        )
        outside += flag
    return codes, outside


def requantizer(graph: IntGraph, parameters: Requantization, result: Tensor) -> Requantizer:
    """Build the kernel form of a requantization into ``result``."""
    return Requantizer.build(
        multiplier=graph.constants[parameters.multiplier],
        shift=graph.constants[parameters.shift],
        rounding=parameters.rounding,
        channels=result.shape[-1],
        zero_point=result.zero_point,
        kind=result.code_type,
        overflow=parameters.overflow,
    )
