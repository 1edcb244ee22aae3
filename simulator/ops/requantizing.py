# SPDX-License-Identifier: Apache-2.0
"""The step that ends MatMul, Mean and Rescale: a :class:`Requantization` applied to sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Requantization
from simulator.numerics.float_requantization import requantize_real
from simulator.numerics.integer_type import IntArray
from simulator.numerics.requantization import (
    AnyRequantizer,
    build_requantizer,
    requantize,
)
from simulator.numerics.rescaling import Arithmetic


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
    multipliers = graph.constants[parameters.multiplier]
    shifts = graph.constants[parameters.shift].tolist() if parameters.shift else []
    finish = (parameters.rounding, result.zero_point, result.code_type, parameters.overflow)
    codes = np.empty(sums.shape, result.type.dtype)
    outside = 0
    for index in np.ndindex(*sums.shape):
        multiplier: Any = multipliers[index[-1] if len(multipliers) > 1 else 0]
        if parameters.arithmetic is not Arithmetic.FIXED_POINT:
            codes[index], flag = requantize_real(
                int(sums[index]), multiplier, *finish, parameters.zero_point_stage
            )
        else:
            codes[index], flag = requantize(
                int(sums[index]),
                int(multiplier),
                shifts[index[-1] if len(shifts) > 1 else 0],
                *finish,
                0 if beside is None else int(beside[index]),
                double_rounding=parameters.double_rounding,
                zero_point_stage=parameters.zero_point_stage,
                left_shift=parameters.left_shift,
            )
        outside += flag
    return codes, outside


def requantizer(graph: IntGraph, parameters: Requantization, result: Tensor) -> AnyRequantizer:
    """Build the kernel form of a requantization into ``result``."""
    return build_requantizer(
        arithmetic=parameters.arithmetic,
        multiplier=graph.constants[parameters.multiplier],
        shift=graph.constants[parameters.shift] if parameters.shift else None,
        rounding=parameters.rounding,
        channels=result.shape[-1],
        zero_point=result.zero_point,
        kind=result.code_type,
        overflow=parameters.overflow,
        double_rounding=parameters.double_rounding,
        zero_point_stage=parameters.zero_point_stage,
        left_shift=parameters.left_shift,
    )
