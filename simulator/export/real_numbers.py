# SPDX-License-Identifier: Apache-2.0
"""What the integers of a graph mean in real numbers: factors, scales of weights, γ and β.

Other tools want real scales of everything. A graph has those of its activations; all others follow
from its multipliers and shifts, and are the chip's factors, not those that it was asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.graph import IntGraph
from simulator.graph.op import Requantization
from simulator.graph.ops import L2Norm, LayerNorm, LayerNormBisection, MatMul

Real = NDArray[np.float64]
# Wider results are sums that are made real numbers next; no code type of other tools holds them.
WIDEST_CODES = 16


def scales(graph: IntGraph, name: str) -> Real:
    """Return what a code of a tensor is worth, [1] or [C].

    Raises
    ------
    InputError
        If the graph does not say it.
    """
    found = graph.tensors[name].scale
    if not found:
        raise InputError(
            f"tensor {name}: has no scale, or one by head, which no other tool's form can say; "
            "quantize with one scale per tensor or per channel"
        )
    return np.array(found, np.float64)


def result_scales(graph: IntGraph, name: str) -> Real:
    """Return the scales of a result; 1 where it is a sum, too wide to be a code elsewhere."""
    wide = graph.tensors[name].code_type.bits > WIDEST_CODES
    return np.ones(1) if wide else scales(graph, name)


def power(shift: Any) -> Real:
    """Return ``2^-shift``."""
    return np.ldexp(1.0, -np.asarray(shift, np.int64))


def factors(graph: IntGraph, requantize: Requantization) -> Real:
    """Return the real factors of a requantization, [1] or [C]."""
    multiplier = graph.constants[requantize.multiplier].astype(np.float64)
    if requantize.shift is None:
        return multiplier
    return multiplier * power(graph.constants[requantize.shift])


class LayerScales(NamedTuple):
    """The scales of a layer: of its operand, of each column of its weight."""

    operand: float
    weight: Real


def layer_scales(graph: IntGraph, op: MatMul) -> LayerScales:
    """Return the scales of a layer's operand and weight, so that their product is the graph's.

    An operand with a scale for each channel has its largest here: the weight has the quotients.
    """
    found = graph.tensors[op.a].scale
    operand = max(found) if found else 1.0
    sums = factors(graph, op.requantize) * result_scales(graph, op.name)
    columns = graph.result(op).shape[-1]
    return LayerScales(operand, np.broadcast_to(sums / operand, columns))


def unfolded_bias(graph: IntGraph, op: MatMul) -> NDArray[np.int64]:
    """Return a layer's bias without the part of its operand's zero point, [N]."""
    codes = graph.constants[op.b].astype(np.int64)
    folded = graph.tensors[op.a].zero_point * codes.sum(1 if op.transpose_b else 0)
    bias = 0 if op.bias is None else graph.constants[op.bias].astype(np.int64)
    found: NDArray[np.int64] = bias + folded
    return found


def residual_scales(graph: IntGraph, op: MatMul) -> Real:
    """Return what a code of the residual adds to the result, in its real numbers: [1] or [N]."""
    assert op.residual_multiplier is not None
    multiplier = graph.constants[op.residual_multiplier].astype(np.float64)
    return multiplier * power(op.residual_fraction_bits) * scales(graph, op.name)


class Normalization(NamedTuple):
    """A normalization in real numbers: what it reads, γ, β, ε in the square of that."""

    operand: Real
    gamma: Real
    beta: Real
    epsilon: float


def normalization(graph: IntGraph, op: LayerNorm | LayerNormBisection) -> Normalization:
    """Return a LayerNorm in real numbers.

    Where its operand has no scale, or the algorithm is about codes, a code is worth 1: means and
    deviations do not care.
    """
    worth = scales(graph, op.name)
    if isinstance(op, LayerNormBisection):
        gamma, beta = (
            graph.constants[name].astype(np.float64) * power(op.shift) * worth
            for name in (op.weight, op.bias)
        )
        return Normalization(np.ones(1), gamma, beta, 1.0)
    channel = np.ones(1)
    if op.channel_multiplier is not None:
        channel = channel * graph.constants[op.channel_multiplier]
    if op.channel_shift is not None:
        channel = channel * np.ldexp(1.0, graph.constants[op.channel_shift])
    known = graph.tensors[op.a].scale
    unit = known[0] / float(channel[0]) if known and channel[0] else 1.0
    channels = graph.tensors[op.a].shape[-1]
    gamma = graph.constants[op.gamma] * power(op.shift - op.normalized_fraction_bits) * worth
    beta = graph.constants[op.beta] * power(op.shift - op.beta_shift) * worth
    epsilon = float(op.epsilon) * (unit / channels) ** 2
    return Normalization(channel * unit, gamma, beta, epsilon)


def l2norm_gain(graph: IntGraph, op: L2Norm) -> Real:
    """Return the gain of an L2 normalization, [1] or [H]."""
    codes = graph.constants[op.gain].astype(np.float64)
    gain: Real = codes * power(op.shift - op.normalized_fraction_bits) * scales(graph, op.name)
    return gain
