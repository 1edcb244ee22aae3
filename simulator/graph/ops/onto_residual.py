# SPDX-License-Identifier: Apache-2.0
"""Sums of products that go straight onto the residual stream: rules, factors and bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels
from simulator.graph.op import Requantization, TensorId
from simulator.graph.parameters import ends
from simulator.graph.ranges import centred_range
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage


class OntoResidual(Protocol):
    """A product that may end on a residual: see :class:`simulator.graph.ops.MatMul`."""

    @property
    def name(self) -> TensorId:
        """The result."""

    @property
    def b(self) -> TensorId:
        """The second operand: weights, where there is a residual."""

    @property
    def requantize(self) -> Requantization:
        """How sums become codes."""

    @property
    def residual(self) -> TensorId | None:
        """The activation that sums are added to, or none."""

    @property
    def residual_multiplier(self) -> TensorId | None:
        """The fixed-point form of its scale, or none."""

    @property
    def residual_fraction_bits(self) -> int:
        """The fraction bits of that form."""


def residual_joins(graph: IntGraph, op: OntoResidual) -> Iterator[str]:
    """Yield what is wrong with a residual and its factors."""
    if (op.residual is None) != (op.residual_multiplier is None):
        yield "residual and residual_multiplier go together"
    if op.residual is None:
        if op.residual_fraction_bits:
            yield "residual_fraction_bits without a residual"
        return
    if not graph.is_constant(op.b):
        yield "a product of two activations takes no residual"
    if graph.is_constant(op.residual):
        yield f"residual {op.residual} is a constant"
    if op.requantize != replace(
        op.requantize,
        arithmetic=Arithmetic.FIXED_POINT,
        left_shift=LeftShift.WIDEN,
        zero_point_stage=ZeroPointStage.AFTER_ROUND,
    ):
        yield (
            "a sum onto a residual is rescaled in fixed point, with wide left shifts and the zero "
            "point after rounding"
        )
        return
    assert op.requantize.shift is not None
    smallest = min(ends(graph, op.requantize.shift))
    if not 0 <= op.residual_fraction_bits <= smallest:
        yield (
            f"residual_fraction_bits {op.residual_fraction_bits}: must be 0..{smallest}, the "
            "smallest shift"
        )


def residual_factors(graph: IntGraph, op: OntoResidual) -> NDArray[np.int64]:
    """Return what each code of a residual is multiplied with before the shift, int64 [N].

    Zeros without a residual. Wider than 62 bits they would be wrong, which
    :func:`simulator.graph.bounds.bounds` tells.
    """
    channels = graph.tensors[op.name].shape[-1]
    if op.residual_multiplier is None:
        return np.zeros(channels, np.int64)
    assert op.requantize.shift is not None
    multiplier = graph.constants[op.residual_multiplier].astype(np.int64)
    left = graph.constants[op.requantize.shift].astype(np.int64) - op.residual_fraction_bits
    return np.array(np.broadcast_to(multiplier << left, (channels,)))


def residual_bounds(graph: IntGraph, op: OntoResidual) -> Channels | None:
    """Bounds of the residual's term, in unbounded integers; None without one."""
    if op.residual is None or op.residual_multiplier is None:
        return None
    assert op.requantize.shift is not None
    left = graph.constants[op.requantize.shift].astype(np.int64) - op.residual_fraction_bits
    codes = Channels.all_alike(centred_range(graph, op.residual))
    return codes.times(graph.constants[op.residual_multiplier]).shifted_left(left)
