# SPDX-License-Identifier: Apache-2.0
"""One rule per float operation: how it becomes integer ops. A table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aocq.capture import FloatNode, FloatOp
from aocq.capture.interpreter import UNARY_FUNCTIONS
from aocq.lowering.builder import SHIFT_TYPE, Builder, scales
from aocq.methods.quantizers import LevelQuantizer
from simulator.errors import InputError
from simulator.graph.graph import Role, Tensor
from simulator.graph.ops import (
    Add,
    Concat,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from simulator.numerics.fixed_point import multipliers_at_common_shift
from simulator.numerics.integer_type import IntType
from simulator.profile import LayerNormSection


def _scale(tensor: Tensor) -> float:
    """Return a tensor's one scale; InputError where channels have their own."""
    if len(tensor.scale) != 1:
        raise InputError(
            f"{tensor.name}: has one scale per channel, which only Add and LayerNorm can read; "
            "quantize it with one scale"
        )
    return tensor.scale[0]


def _input(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    builder.declare(
        node.name,
        node.shape,
        quantizer.type,
        (quantizer.scale,),
        quantizer.zero_point,
        Role.INPUT,
    )


def _constant(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    value = builder.model.graph.parameters[node.attributes["parameter"]].reshape(node.shape)
    codes = quantizer.codes(value.double()).numpy().astype(np.int64)
    scale = scales(quantizer)
    builder.constant(node.name, codes, quantizer.type, scale, quantizer.zero_point)


def _linear(builder: Builder, node: FloatNode) -> None:
    """Integer bias at the accumulator's scale, the input's zero point folded into it."""
    x = builder.tensor(node.inputs[0])
    weight = builder.model.weights[node.attributes["weight"]]
    bias = builder.model.bias_codes(node)
    codes = bias - x.zero_point * weight.codes.sum(axis=1, dtype=np.int64)
    y = builder.result(node)
    bias_type = IntType(bits=builder.profile.accumulator.bias_bits)
    builder.ops.append(
        MatMul(
            name=node.name,
            a=x.name,
            b=builder.constant(f"{node.name}.weight", weight.codes, IntType(bits=weight.bits)),
            transpose_b=True,
            bias=builder.constant(f"{node.name}.bias", codes, bias_type),
            accumulator=builder.profile.accumulator.accumulator(),
            requantize=builder.requantization(
                node.name, builder.model.bias_scale(node) / _scale(y)
            ),
        )
    )


def _matmul(builder: Builder, node: FloatNode) -> None:
    a, b = (builder.tensor(name) for name in node.inputs)
    y = builder.result(node)
    builder.ops.append(
        MatMul(
            name=node.name,
            a=a.name,
            b=b.name,
            transpose_b=node.attributes["transpose_b"],
            bias=None,
            accumulator=builder.profile.accumulator.accumulator(),
            requantize=builder.requantization(node.name, [_scale(a) * _scale(b) / _scale(y)]),
        )
    )


def _softmax(builder: Builder, node: FloatNode) -> None:
    """Tabulate exp of every possible difference to the row's maximum.

    A method with levels of its own for probabilities reads them from the chip's codes by a table.
    """
    x = builder.tensor(node.inputs[0])
    section = builder.profile.softmax
    differences = np.arange(1 << x.type.bits)
    largest = (1 << section.table_bits) - 1
    table = np.floor(np.exp(-_scale(x) * differences) * largest + 0.5).astype(np.int64)
    kind = IntType(bits=section.table_bits, signed=False)
    quantizer = builder.quantizer(node)
    builder.result(node)
    name = node.name
    if isinstance(quantizer, LevelQuantizer):
        name = f"{node.name}.codes"
        codes = IntType(bits=section.output_bits, signed=False)
        scale = 2.0**-section.output_bits
        builder.declare(name, node.shape, codes, (scale,))
    builder.ops.append(
        Softmax(
            name=name,
            a=x.name,
            table=builder.constant(f"{node.name}.table", table, kind),
            reciprocal_bits=section.reciprocal_bits,
            shift=section.reciprocal_bits - section.output_bits,
            rounding=builder.rounding,
            overflow=builder.overflow,
        )
    )
    if isinstance(quantizer, LevelQuantizer):
        real = torch.arange(codes.high + 1, dtype=torch.float64) * scale
        levels = quantizer.codes(real).numpy().astype(np.int64)
        constant = builder.constant(f"{node.name}.levels", levels, quantizer.type)
        builder.ops.append(Lookup(name=node.name, a=name, table=constant))


def _unary(builder: Builder, node: FloatNode) -> None:
    """The function at every code in float64, rounded half up or to a method's own levels."""
    x = builder.tensor(node.inputs[0])
    y = builder.result(node)
    codes = np.arange(x.code_type.low, x.code_type.high + 1)
    function = UNARY_FUNCTIONS[node.attributes["function"]]
    real = function(torch.from_numpy((codes - x.zero_point) * _scale(x)))
    quantizer = builder.quantizer(node)
    if isinstance(quantizer, LevelQuantizer):
        table = quantizer.codes(real).numpy().astype(np.int64)
    else:
        rounded = np.floor(real.numpy() / _scale(y) + 0.5) + y.zero_point
        table = np.clip(rounded, y.code_type.low, y.code_type.high).astype(np.int64)
    name = builder.constant(f"{node.name}.table", table, y.code_type)
    builder.ops.append(Lookup(name=node.name, a=x.name, table=name))


def _layernorm(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    y = builder.result(node)
    section = builder.profile.layernorm
    channels = node.shape[-1]
    parameters = builder.model.graph.parameters
    weight, bias = node.attributes["weight"], node.attributes["bias"]
    gamma = parameters[weight].double().numpy() if weight else np.ones(channels)
    beta = parameters[bias].double().numpy() if bias else np.zeros(channels)
    bits = builder.profile.rescale.multiplier_bits
    magnitudes, gamma_shift = multipliers_at_common_shift(np.abs(gamma) / _scale(y), bits)
    smallest = min(x.scale)
    shifts = _channel_shifts(x)
    epsilon = round(node.attributes["epsilon"] * (channels / smallest) ** 2)
    fractions = _fraction_bits(x, channels, epsilon, bits, section, int(shifts.max()))
    shift = gamma_shift + fractions.normalized
    offsets = np.rint(np.ldexp(beta / _scale(y), shift)).astype(np.int64)
    codes = (np.sign(gamma) * magnitudes).astype(np.int64)
    builder.ops.append(
        LayerNorm(
            name=node.name,
            a=x.name,
            channel_shift=(
                builder.constant(f"{node.name}.channel_shift", shifts, SHIFT_TYPE)
                if shifts.any()
                else None
            ),
            gamma=builder.constant(f"{node.name}.gamma", codes, IntType(bits=bits + 1)),
            beta=builder.constant(f"{node.name}.beta", offsets, IntType(bits=64)),
            epsilon=epsilon,
            sqrt_fraction_bits=fractions.sqrt,
            reciprocal_bits=fractions.reciprocal,
            normalized_fraction_bits=fractions.normalized,
            shift=shift,
            rounding=builder.rounding,
            overflow=builder.overflow,
        )
    )


def _channel_shifts(x: Tensor) -> NDArray[np.int64]:
    """Return log2 of the channels' scales over the smallest of them, [C] or [1].

    LayerNorm divides by the deviation, so that only the ratios of scales matter.

    Raises
    ------
    InputError
        If a ratio is not a power of two: then it would take a multiplication per element.
    """
    exponents = np.log2(np.array(x.scale) / min(x.scale))
    shifts = np.rint(exponents).astype(np.int64)
    if not np.allclose(exponents, shifts, rtol=0, atol=1e-9):
        raise InputError(
            f"{x.name}: LayerNorm reads it and its channels' scales are not powers of two apart; "
            "quantize it with power-of-two factors"
        )
    return shifts


class FractionBits(NamedTuple):
    """Fraction bits of LayerNorm's root, reciprocal and normalized value."""

    sqrt: int
    reciprocal: int
    normalized: int


def _fraction_bits(
    x: Tensor,
    channels: int,
    epsilon: int,
    gamma_bits: int,
    section: LayerNormSection,
    channel_shift: int,
) -> FractionBits:
    """Return LayerNorm's fraction bits: the profile's, or as many as 64-bit arithmetic can hold.

    The variance of wide codes or of many channels leaves less room for fractions; the bounds are
    those of :mod:`simulator.graph.ranges`.
    """
    largest = max(x.zero_point - x.code_type.low, x.code_type.high - x.zero_point) << channel_shift
    variance = (channels * largest) ** 2 + epsilon
    root = 2 * (isqrt(channels) + 1)
    sqrt_room = (63 - variance.bit_length()) // 2
    # One bit for beta and rounding, which are added to the product.
    normalized_room = 62 - root.bit_length() - gamma_bits
    sqrt = max(0, min(section.sqrt_fraction_bits, sqrt_room))
    # |d| i <= root * 2^(reciprocal - sqrt)
    reciprocal = min(section.reciprocal_bits, 62 - root.bit_length() + sqrt)
    normalized = min(section.normalized_fraction_bits, normalized_room, reciprocal - sqrt)
    return FractionBits(sqrt=sqrt, reciprocal=reciprocal, normalized=max(0, normalized))


def _add(builder: Builder, node: FloatNode) -> None:
    a, b = (builder.tensor(name) for name in node.inputs)
    y = builder.result(node)
    bits = builder.profile.rescale.multiplier_bits
    ratios = [np.array(x.scale) / np.array(y.scale) for x in (a, b)]
    factors, shift = multipliers_at_common_shift(np.concatenate(ratios), bits)
    kind = IntType(bits=bits, signed=False)
    names = [
        builder.constant(f"{node.name}.multiplier_{side}", part, kind)
        for side, part in zip("ab", np.split(factors, [len(ratios[0])]), strict=True)
    ]
    builder.ops.append(
        Add(
            name=node.name,
            a=a.name,
            b=b.name,
            multiplier_a=names[0],
            multiplier_b=names[1],
            shift=shift,
            rounding=builder.rounding,
            overflow=builder.overflow,
        )
    )


def _scaled(builder: Builder, node: FloatNode) -> None:
    """No op: the same codes stand for other real values."""
    x = builder.tensor(node.inputs[0])
    factor = node.attributes["factor"]
    builder.stands_for[node.name] = Tensor(
        name=x.name,
        shape=x.shape,
        type=x.type,
        role=x.role,
        zero_point=x.zero_point,
        scale=tuple(scale * factor for scale in x.scale),
    )


def _mean(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    y = builder.result(node)
    axis = node.attributes["axis"]
    factor = _scale(x) / (_scale(y) * x.shape[axis])
    builder.ops.append(
        Mean(
            name=node.name,
            a=x.name,
            axis=axis,
            accumulator=builder.profile.accumulator.accumulator(),
            requantize=builder.requantization(node.name, [factor]),
        )
    )


def _concat(builder: Builder, node: FloatNode) -> None:
    """Parts at another scale are rescaled first."""
    y = builder.result(node)
    names: list[str] = []
    for source in node.inputs:
        part = builder.tensor(source)
        if (part.type, part.scale, part.zero_point) != (y.type, y.scale, y.zero_point):
            name = f"{node.name}.rescale_{len(names)}"
            builder.declare(name, part.shape, y.type, y.scale, y.zero_point)
            factor = _scale(part) / _scale(y)
            builder.ops.append(
                Rescale(name=name, a=part.name, requantize=builder.requantization(name, [factor]))
            )
            names.append(name)
        else:
            names.append(part.name)
    builder.ops.append(Concat(name=node.name, inputs=tuple(names), axis=node.attributes["axis"]))


def _slice(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.ops.append(Slice(name=node.name, a=x.name, **node.attributes))


def _reshape(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.ops.append(Reshape(name=node.name, a=x.name))


def _transpose(builder: Builder, node: FloatNode) -> None:
    x = builder.tensor(node.inputs[0])
    builder.like(node, x)
    builder.ops.append(Transpose(name=node.name, a=x.name, **node.attributes))


RULES: Mapping[FloatOp, Callable[[Builder, FloatNode], None]] = MappingProxyType(
    {
        FloatOp.INPUT: _input,
        FloatOp.CONSTANT: _constant,
        FloatOp.LINEAR: _linear,
        FloatOp.MATMUL: _matmul,
        FloatOp.SOFTMAX: _softmax,
        FloatOp.UNARY: _unary,
        FloatOp.LAYERNORM: _layernorm,
        FloatOp.ADD: _add,
        FloatOp.SCALE: _scaled,
        FloatOp.MEAN: _mean,
        FloatOp.CONCAT: _concat,
        FloatOp.SLICE: _slice,
        FloatOp.RESHAPE: _reshape,
        FloatOp.TRANSPOSE: _transpose,
    }
)
