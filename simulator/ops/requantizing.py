# SPDX-License-Identifier: Apache-2.0
"""The step that ends most ops: a :class:`Requantization` applied to sums, or an output stage."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Requantization
from simulator.numerics.float_requantization import requantize_real
from simulator.numerics.integer_type import IntArray, Overflow
from simulator.numerics.output_stage import OutputStage
from simulator.numerics.requantization import (
    AnyRequantizer,
    build_requantizer,
    requantize,
)
from simulator.numerics.rescaling import Arithmetic
from simulator.numerics.rounding import DoubleRounding, Rounding


class EndsInShift(Protocol):
    """An op that ends in a right shift of its own, without a table of factors."""

    @property
    def shift(self) -> int:
        """Places to the right."""

    @property
    def rounding(self) -> Rounding:
        """Rounding mode of the shift."""

    @property
    def overflow(self) -> Overflow:
        """Overflow rule of results that do not fit: wrap or saturate."""


def output_stage(
    op: EndsInShift,
    result: Tensor,
    *,
    zero_point: int | None = None,
    double_rounding: DoubleRounding = DoubleRounding.NONE,
) -> OutputStage:
    """Return how an op that ends in a shift of its own makes codes.

    The zero point is that of the result, if left out.
    """
    return OutputStage(
        shift=op.shift,
        rounding=op.rounding,
        zero_point=result.zero_point if zero_point is None else zero_point,
        kind=result.code_type,
        overflow=op.overflow,
        double_rounding=double_rounding,
    )


def requantize_reference(
    sums: np.ndarray,
    graph: IntGraph,
    parameters: Requantization,
    result: Tensor,
    residual_terms: np.ndarray | None = None,
) -> tuple[IntArray, int]:
    """Requantize Python integers [..., channels]; also count codes that did not fit.

    ``residual_terms``, of the same shape, are added to the products before they are shifted.
    """
    multipliers = graph.constants[parameters.multiplier]
    shifts = graph.constants[parameters.shift].tolist() if parameters.shift else []
    finish = (parameters, result.zero_point, result.code_type)
    codes = np.empty(sums.shape, result.type.dtype)
    outside = 0
    for index in np.ndindex(*sums.shape):
        multiplier: Any = multipliers[index[-1] if len(multipliers) > 1 else 0]
        if parameters.arithmetic is not Arithmetic.FIXED_POINT:
            codes[index], flag = requantize_real(int(sums[index]), multiplier, *finish)
        else:
            codes[index], flag = requantize(
                int(sums[index]),
                int(multiplier),
                shifts[index[-1] if len(shifts) > 1 else 0],
                *finish,
                0 if residual_terms is None else int(residual_terms[index]),
            )
        outside += flag
    return codes, outside


def requantizer(graph: IntGraph, parameters: Requantization, result: Tensor) -> AnyRequantizer:
    """Build the kernel form of a requantization into ``result``."""
    return build_requantizer(
        parameters,
        multiplier=graph.constants[parameters.multiplier],
        shift=graph.constants[parameters.shift] if parameters.shift else None,
        channels=result.shape[-1],
        zero_point=result.zero_point,
        kind=result.code_type,
    )
