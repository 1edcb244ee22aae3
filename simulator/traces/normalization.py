# SPDX-License-Identifier: Apache-2.0
"""Traces of normalizations over the last dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.ops import L2Norm, LayerNorm, LayerNormBisection
from simulator.numerics.float_type import Array
from simulator.traces.roots import floor_root, newton_root
from simulator.traces.steps import Int64, centred, constant, shifted


def layer_norm(op: LayerNorm, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: statistics with one element per row."""
    u = centred(operands[0], graph.tensors[op.a])
    if op.channel_multiplier is not None:
        u = u * constant(graph, op.channel_multiplier)
    if op.channel_shift is not None:
        u = u << constant(graph, op.channel_shift)
    channels = u.shape[-1]
    total = u.sum(axis=-1, keepdims=True)
    square_total = (u * u).sum(axis=-1, keepdims=True)
    variance = channels * square_total - total * total + op.epsilon
    radicand = variance << 2 * op.sqrt_fraction_bits
    root = (
        newton_root(radicand, op.root_steps, op.root_start_bits)
        if op.root_steps
        else floor_root(radicand)
    )
    reciprocal = (np.int64(1) << op.reciprocal_bits) // np.maximum(root, 1)
    deviation = channels * u - total
    product = deviation * reciprocal
    spare = op.reciprocal_bits - op.sqrt_fraction_bits - op.normalized_fraction_bits
    normalized = product >> spare
    scaled = normalized * constant(graph, op.gamma) + (constant(graph, op.beta) << op.beta_shift)
    return {
        "centred": u,
        "sum": total,
        "square_sum": square_total,
        "variance": variance,
        "radicand": radicand,
        "root": root,
        "reciprocal": reciprocal,
        "deviation": deviation,
        "normalized_product": product,
        "normalized": normalized,
        **shifted(scaled, op.shift, op.rounding, op.overflow, graph.result(op)),
    }


def bisection(
    op: LayerNormBisection, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return every value of the formula: statistics with one element per row."""
    u = centred(operands[0], graph.tensors[op.a])
    channels = u.shape[-1]
    total = u.sum(axis=-1, keepdims=True)
    mean = _divided_toward_zero(total, channels)
    deviation = u - mean
    square_total = (deviation * deviation).sum(axis=-1, keepdims=True)
    radicand = square_total // channels + 1
    root = floor_root(radicand)
    product = deviation * constant(graph, op.weight)
    quotient = _divided_toward_zero(product, root)
    scaled = quotient + constant(graph, op.bias)
    return {
        "centred": u,
        "sum": total,
        "mean": mean,
        "deviation": deviation,
        "square_sum": square_total,
        "radicand": radicand,
        "root": root,
        "product": product,
        "quotient": quotient,
        **shifted(scaled, op.shift, op.rounding, op.overflow, graph.result(op)),
    }


def _divided_toward_zero(values: Int64, divisor: Int64 | int) -> Int64:
    """Return C's division by a positive number."""
    return np.where(values < 0, -(-values // divisor), values // divisor)


def l2_norm(op: L2Norm, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return every value of the formula: statistics with one element per row."""
    u = centred(operands[0], graph.tensors[op.a])
    square_total = (u * u).sum(axis=-1, keepdims=True)
    radicand = square_total << 2 * op.sqrt_fraction_bits
    root = np.maximum(floor_root(radicand), max(op.epsilon, 1))
    reciprocal = (np.int64(1) << op.reciprocal_bits) // root
    product = u * reciprocal
    spare = op.reciprocal_bits - op.sqrt_fraction_bits - op.normalized_fraction_bits
    normalized = product >> spare
    gain = constant(graph, op.gain)
    scaled = normalized * (gain if gain.size == 1 else gain[:, None, None])
    return {
        "centred": u,
        "square_sum": square_total,
        "radicand": radicand,
        "root": root,
        "reciprocal": reciprocal,
        "normalized_product": product,
        "normalized": normalized,
        **shifted(scaled, op.shift, op.rounding, op.overflow, graph.result(op)),
    }
