# SPDX-License-Identifier: Apache-2.0
"""Lowering of sums: of two tensors, of a layer and the residual stream, means."""

from __future__ import annotations

import math

import numpy as np

from aocq.capture import FloatNode
from aocq.lowering.builder import Builder, shift_type
from aocq.lowering.factors import at_common_shift, fixed_point, on_chip, ratio
from aocq.lowering.layers import layer, multiplier_room
from simulator.graph.ops import Add, AddShifted, Mean, Requantization
from simulator.numerics.common_scale import CommonScale, sum_constants
from simulator.numerics.fixed_point import LARGEST_SHIFT, mean_multiplier_and_shift
from simulator.numerics.integer_type import IntType
from simulator.profile import RescaleSection, ShiftedAdd

XNNPACK_MULTIPLIER_BITS = 21  # of the larger factor: 2^20 to 2^21, that included


def add(builder: Builder, node: FloatNode) -> None:
    """An addition: fused with a layer, or of two tensors."""
    for name in node.inputs:
        if name in builder.fused_layers:
            _fused_add(builder, node, name)
            return
    section = builder.profile.add
    if isinstance(section, ShiftedAdd):
        _shifted_add(builder, node, section.input_shift)
    else:
        _add(builder, node)


def _fused_add(builder: Builder, node: FloatNode, branch: str) -> None:
    """A layer fused with its addition to the residual stream.

    Factors of sums are far smaller than those of the stream. The sums' shifts stay as small as the
    stream's term needs them to fit 64 bits, in which the sum of both is shifted.
    """
    (stream,) = (name for name in node.inputs if name != branch)
    residual = builder.tensor(stream)
    builder.result(node)
    scales = builder.channel_scales(node.name)
    section = builder.profile.rescale_of("linear")
    bits = section.multiplier_bits
    ratios = builder.channel_scales(stream) / scales
    sums = builder.model.bias_scale(builder.model.graph.node(branch))
    _, fraction_bits = at_common_shift(ratios, section)
    shifts = fixed_point(ratio(sums, scales, section), section).shifts
    fraction_bits = min(fraction_bits, int(shifts.min()))
    codes = np.floor(np.ldexp(ratios, fraction_bits) + 0.5).astype(np.int64)
    # A code and its distance from the zero point, a multiplier, one bit for the other term.
    largest_shift = fraction_bits + 62 - (residual.code_type.bits + 1) - bits
    builder.graph.append(
        layer(
            builder,
            builder.model.graph.node(branch),
            node.name,
            builder.requantization(
                node.name,
                "linear",
                sums,
                scales,
                min(largest_shift, LARGEST_SHIFT),
                multiplier_room(builder, builder.model.graph.node(branch)),
            ),
            residual=residual.name,
            residual_multiplier=builder.constant(
                f"{node.name}.residual_multiplier", codes, IntType(bits=bits, signed=False)
            ),
            residual_fraction_bits=fraction_bits,
        )
    )


def _add(builder: Builder, node: FloatNode) -> None:
    """An addition with one rounding, after the sum of both terms at one shift."""
    a, b = (builder.tensor(name) for name in node.inputs)
    builder.result(node)
    section = builder.profile.rescale_of("add")
    scales = builder.channel_scales(node.name)
    ratios = [ratio(builder.channel_scales(name), scales, section) for name in node.inputs]
    if builder.profile.add.algorithm == "fixed_20":
        bits = XNNPACK_MULTIPLIER_BITS + 1
        factors, shift = _xnnpack_multipliers(np.concatenate(ratios))
        on_chip((int(factors.max()), shift), section)
    else:
        bits = section.multiplier_bits
        factors, shift = at_common_shift(np.concatenate(ratios), section)
    int_type = IntType(bits=bits, signed=False)
    names = [
        builder.constant(f"{node.name}.multiplier_{side}", part, int_type)
        for side, part in zip("ab", np.split(factors, [len(ratios[0])]), strict=True)
    ]
    builder.graph.append(
        Add(
            name=node.name,
            a=a.name,
            b=b.name,
            multiplier_a=names[0],
            multiplier_b=names[1],
            shift=shift,
            rounding=builder.rounding("add"),
            overflow=builder.overflow("add"),
        )
    )


def _xnnpack_multipliers(ratios: np.ndarray) -> tuple[np.ndarray, int]:
    """Return XNNPACK's factors of a sum: 20 bits below the larger one's leading bit, ties to even.

    Source: XNNPACK, parameters of ``qs8_add_minmax``.
    """
    _, exponent = math.frexp(float(ratios.max()))
    shift = XNNPACK_MULTIPLIER_BITS - exponent
    return np.rint(np.ldexp(ratios, shift)).astype(np.int64), shift


def _shifted_add(builder: Builder, node: FloatNode, input_shift: int) -> None:
    """An addition with three roundings: operands to a common scale, their sum to the result's."""
    a, b = (builder.tensor(name) for name in node.inputs)
    builder.result(node)
    section = builder.profile.rescale_of("add")
    reader = f"the sum {node.name}"
    scale_a, scale_b, scale_y = (builder.scale(name, reader) for name in (*node.inputs, node.name))
    constants = on_chip_scales(sum_constants(scale_a, scale_b, scale_y, input_shift), section)
    builder.graph.append(
        AddShifted(
            name=node.name,
            a=a.name,
            b=b.name,
            subtract=False,
            rounding=builder.rounding("add"),
            double_rounding=section.double_rounding,
            overflow=builder.overflow("add"),
            **constants._asdict(),
        )
    )


def on_chip_scales(constants: CommonScale, section: RescaleSection) -> CommonScale:
    """Return the constants of a sum or difference of TFLite's, at shifts that the chip has."""
    fitted = {}
    for end in ("_a", "_b", ""):
        pair = (getattr(constants, f"multiplier{end}"), getattr(constants, f"shift{end}"))
        fitted[f"multiplier{end}"], fitted[f"shift{end}"] = on_chip(pair, section)
    return constants._replace(**fitted)


def mean(builder: Builder, node: FloatNode) -> None:
    """A mean, its divisor part of the factor."""
    x = builder.tensor(node.inputs[0])
    builder.result(node)
    axis = node.attributes["axis"]
    builder.graph.append(
        Mean(
            name=node.name,
            a=x.name,
            axis=axis,
            accumulator=builder.accumulator("mean"),
            requantize=mean_requantization(
                builder,
                node.name,
                builder.channel_scales(node.inputs[0]),
                builder.channel_scales(node.name),
                x.shape[axis],
            ),
        )
    )


def mean_requantization(
    builder: Builder, name: str, sums: np.ndarray, scales: np.ndarray, count: int
) -> Requantization:
    """Return the requantization from sums of ``count`` codes to their mean."""
    if builder.profile.mean.algorithm != "folded_q31":
        return builder.requantization(name, "mean", sums / count, scales)
    section = builder.profile.rescale_of("mean")
    factors = ratio(sums, scales, section)
    pairs = np.array(
        [on_chip(mean_multiplier_and_shift(float(factor), count), section) for factor in factors]
    )
    int_type = IntType(bits=31, signed=False)
    return Requantization(
        multiplier=builder.constant(f"{name}.multiplier", pairs[:, 0], int_type),
        shift=builder.constant(f"{name}.shift", pairs[:, 1], shift_type(section)),
        rounding=builder.rounding("mean"),
        overflow=builder.overflow("mean"),
        double_rounding=section.double_rounding,
    )
