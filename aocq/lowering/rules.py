# SPDX-License-Identifier: Apache-2.0
"""One rule per float operation: how it becomes integer ops. A table at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from aocq.capture import FloatNode, FloatOp
from aocq.capture.interpreter import UNARY_FUNCTIONS
from aocq.lowering.builder import Builder, along_channels
from aocq.lowering.normalization import layernorm
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer
from aocq.methods.steps import as_scale, compressed, product_steps
from simulator.errors import InputError
from simulator.graph.graph import Role, Tensor
from simulator.graph.ops import (
    Add,
    Concat,
    Lookup,
    MatMul,
    Mean,
    Requantization,
    Rescale,
    Reshape,
    Slice,
    Softmax,
    Transpose,
)
from simulator.numerics.fixed_point import (
    LARGEST_SHIFT,
    multipliers_and_shifts,
    multipliers_at_common_shift,
)
from simulator.numerics.integer_type import IntType

# Wide codes between a function's table and the rescaling by channel.
WIDE = IntType(bits=16)


def _input(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    builder.declare(
        node.name,
        node.shape,
        quantizer.type,
        (builder.step(node.name, "the image"),),
        quantizer.zero_point,
        Role.INPUT,
    )


def _constant(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.quantizer(node)
    value = builder.model.graph.parameters[node.attributes["parameter"]].reshape(node.shape)
    codes = quantizer.codes(value.double()).numpy().astype(np.int64)
    scale = as_scale(builder.model.steps(node.name))
    builder.constant(node.name, codes, quantizer.type, scale, quantizer.zero_point)


def _linear(builder: Builder, node: FloatNode) -> None:
    """A layer's op; none where its sums go straight onto the stream: then the sum brings it."""
    if node.name in builder.accumulated:
        return
    builder.result(node)
    factors = builder.model.bias_scale(node) / builder.channel_steps(node.name)
    builder.ops.append(_layer(builder, node, node.name, builder.requantization(node.name, factors)))


def _layer(
    builder: Builder, node: FloatNode, name: str, requantize: Requantization, **residual: Any
) -> MatMul:
    """Integer bias at the accumulator's scale, the input's zero point folded into it."""
    x = builder.tensor(node.inputs[0])
    weight = builder.model.weights[node.attributes["weight"]]
    bias = builder.model.bias_codes(node)
    codes = bias - x.zero_point * weight.codes.sum(axis=1, dtype=np.int64)
    bias_type = IntType(bits=builder.profile.accumulator.bias_bits)
    return MatMul(
        name=name,
        a=x.name,
        b=builder.constant(f"{node.name}.weight", weight.codes, IntType(bits=weight.bits)),
        transpose_b=True,
        bias=builder.constant(f"{node.name}.bias", codes, bias_type),
        accumulator=builder.profile.accumulator.accumulator(),
        requantize=requantize,
        **residual,
    )


def _matmul(builder: Builder, node: FloatNode) -> None:
    a, b = (builder.tensor(name) for name in node.inputs)
    builder.result(node)
    sums = product_steps(node, *map(builder.model.steps, node.inputs))
    factors = along_channels(f"{node.name} (its sums)", compressed(sums))
    builder.ops.append(
        MatMul(
            name=node.name,
            a=a.name,
            b=b.name,
            transpose_b=node.attributes["transpose_b"],
            bias=None,
            accumulator=builder.profile.accumulator.accumulator(),
            requantize=builder.requantization(
                node.name, factors / builder.channel_steps(node.name)
            ),
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
    step = builder.step(node.inputs[0], f"softmax {node.name}")
    table = np.floor(np.exp(-step * differences) * largest + 0.5).astype(np.int64)
    kind = IntType(bits=section.table_bits, signed=False)
    quantizer = builder.quantizer(node)
    builder.result(node)
    name = node.name
    codes = IntType(bits=section.output_bits, signed=False)
    scale = 2.0**-section.output_bits
    if isinstance(quantizer, LevelQuantizer):
        name = f"{node.name}.codes"
        builder.declare(name, node.shape, codes, (scale,))
    elif builder.step(node.name, "a softmax's result") != scale or quantizer.type != codes:
        raise InputError(
            f"{node.name}: softmax yields {codes} at scale {scale} on profile "
            f"{builder.profile.name}, its quantizer has {quantizer.type} at {quantizer.scale}; "
            "quantize probabilities to that scale, or to levels"
        )
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
    """The function at every code in float64, rounded half up or to a method's own levels.

    A table has one step for its results: balanced results come from wide codes, half to even, that
    are rescaled channel by channel.
    """
    x = builder.tensor(node.inputs[0])
    codes = np.arange(x.code_type.low, x.code_type.high + 1)
    function = UNARY_FUNCTIONS[node.attributes["function"]]
    step = builder.step(node.inputs[0], f"the table of {node.name}")
    real = function(torch.from_numpy((codes - x.zero_point) * step))
    quantizer = builder.quantizer(node)
    if isinstance(quantizer, ActivationQuantizer) and quantizer.table_scale:
        _wide_unary(builder, node, x, real, quantizer)
        return
    y = builder.result(node)
    if isinstance(quantizer, LevelQuantizer):
        table = quantizer.codes(real).numpy().astype(np.int64)
    else:
        wanted = "a table without wide codes (table_scale)"
        rounded = np.floor(real.numpy() / builder.step(node.name, wanted) + 0.5) + y.zero_point
        table = np.clip(rounded, y.code_type.low, y.code_type.high).astype(np.int64)
    name = builder.constant(f"{node.name}.table", table, y.code_type)
    builder.ops.append(Lookup(name=node.name, a=x.name, table=name))


def _wide_unary(
    builder: Builder,
    node: FloatNode,
    x: Tensor,
    real: torch.Tensor,
    quantizer: ActivationQuantizer,
) -> None:
    """A table of wide codes at one scale, then a factor for each channel.

    Wide codes saturate where the channels' codes do so anyway.
    """
    table_scale = quantizer.table_scale
    exact = torch.round(real / table_scale)
    held = torch.clamp(exact, WIDE.low, WIDE.high)
    wide = exact.numpy().astype(np.int64)
    codes = [quantizer.codes((found * table_scale)[:, None]) for found in (exact, held)]
    if not torch.equal(*codes):
        raise InputError(
            f"{node.name}: its table needs codes up to {int(np.abs(wide).max())} at table_scale "
            f"{table_scale:g}, {WIDE} holds {WIDE.high}; choose a larger table_scale"
        )
    name = f"{node.name}.wide"
    builder.declare(name, node.shape, WIDE, (table_scale,))
    table = builder.constant(f"{name}.table", held.numpy().astype(np.int64), WIDE)
    builder.ops.append(Lookup(name=name, a=x.name, table=table))
    builder.result(node)
    factors = table_scale / builder.channel_steps(node.name)
    requantize = builder.requantization(node.name, factors)
    builder.ops.append(Rescale(name=node.name, a=name, requantize=requantize))


def _fused_add(builder: Builder, node: FloatNode, layer: str) -> None:
    """The layer that ends a branch, its sums requantized onto the stream.

    Factors of sums are far smaller than those of the stream. The sums' shifts stay as small as the
    stream's term needs them to fit 64 bits, in which the sum of both is shifted.
    """
    (stream,) = (name for name in node.inputs if name != layer)
    residual = builder.tensor(stream)
    builder.result(node)
    steps = builder.channel_steps(node.name)
    bits = builder.profile.rescale.multiplier_bits
    ratios = builder.channel_steps(stream) / steps
    factors = builder.model.bias_scale(builder.model.graph.node(layer)) / steps
    _, fraction_bits = multipliers_at_common_shift(ratios, bits)
    _, shifts = multipliers_and_shifts(factors, bits)
    fraction_bits = min(fraction_bits, int(shifts.min()))
    codes = np.floor(np.ldexp(ratios, fraction_bits) + 0.5).astype(np.int64)
    # A code and its distance from the zero point, a multiplier, one bit for the other term.
    largest_shift = fraction_bits + 62 - (residual.code_type.bits + 1) - bits
    builder.ops.append(
        _layer(
            builder,
            builder.model.graph.node(layer),
            node.name,
            builder.requantization(node.name, factors, min(largest_shift, LARGEST_SHIFT)),
            residual=residual.name,
            residual_multiplier=builder.constant(
                f"{node.name}.residual_multiplier", codes, IntType(bits=bits, signed=False)
            ),
            residual_fraction_bits=fraction_bits,
        )
    )


def _add(builder: Builder, node: FloatNode) -> None:
    for name in node.inputs:
        if name in builder.accumulated:
            _fused_add(builder, node, name)
            return
    a, b = (builder.tensor(name) for name in node.inputs)
    builder.result(node)
    bits = builder.profile.rescale.multiplier_bits
    steps = builder.channel_steps(node.name)
    ratios = [builder.channel_steps(name) / steps for name in node.inputs]
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
    builder.result(node)
    axis = node.attributes["axis"]
    steps = builder.channel_steps(node.inputs[0])
    factors = steps / (builder.channel_steps(node.name) * x.shape[axis])
    builder.ops.append(
        Mean(
            name=node.name,
            a=x.name,
            axis=axis,
            accumulator=builder.profile.accumulator.accumulator(),
            requantize=builder.requantization(node.name, factors),
        )
    )


def _concat(builder: Builder, node: FloatNode) -> None:
    """Parts at other steps are rescaled first, constants already here."""
    y = builder.result(node)
    axis = node.attributes["axis"]
    everywhere = np.broadcast_to(builder.model.steps(node.name), node.shape)
    names: list[str] = []
    start = 0
    for source in node.inputs:
        part = builder.tensor(source)
        own = builder.model.steps(source)
        index = range(start, start + part.shape[axis])
        start = index.stop
        steps = compressed(everywhere.take(index, axis))
        same_steps = np.array_equal(compressed(own), steps)
        if same_steps and (part.type, part.zero_point) == (y.type, y.zero_point):
            names.append(part.name)
            continue
        name = f"{node.name}.rescale_{len(names)}"
        names.append(name)
        if part.role is Role.CONSTANT:
            real = (builder.constants[part.name].astype(np.float64) - part.zero_point) * own
            codes = np.clip(np.rint(real / steps) + y.zero_point, y.code_type.low, y.code_type.high)
            builder.constant(name, codes, y.code_type, as_scale(steps), y.zero_point)
            continue
        builder.declare(name, part.shape, y.type, as_scale(steps), y.zero_point)
        factors = along_channels(source, own) / along_channels(node.name, steps)
        requantize = builder.requantization(name, factors)
        builder.ops.append(Rescale(name=name, a=part.name, requantize=requantize))
    builder.ops.append(Concat(name=node.name, inputs=tuple(names), axis=axis))


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
        FloatOp.LAYERNORM: layernorm,
        FloatOp.ADD: _add,
        FloatOp.SCALE: _scaled,
        FloatOp.MEAN: _mean,
        FloatOp.CONCAT: _concat,
        FloatOp.SLICE: _slice,
        FloatOp.RESHAPE: _reshape,
        FloatOp.TRANSPOSE: _transpose,
    }
)
