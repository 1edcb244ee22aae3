# SPDX-License-Identifier: Apache-2.0
"""Lowering of functions of one value: GELU and others. A table of algorithms at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from aocq.capture import FloatNode
from aocq.capture.float_graph import GELUS
from aocq.lowering.builder import Builder
from aocq.lowering.chip_tables import TABLE_513_FRACTION_BITS, function_of_table
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer, Real
from simulator.errors import InputError
from simulator.graph.graph import Tensor
from simulator.graph.ops import (
    GeluPolynomial,
    InterpolatedLookup,
    Lookup,
    Rescale,
    ShiftGelu,
)
from simulator.numerics import function_tables
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.polynomial_gelu import polynomial_gelu_constants, shift_gelu_octave
from simulator.numerics.real_functions import REAL_FUNCTIONS
from simulator.numerics.rounding import Rounding

# Wide codes between a function's table and the rescaling by channel.
WIDE = IntType(bits=16)
# Functions in float32, step by step, as TFLite evaluates them for its tables.
FLOAT32_FUNCTIONS = {"gelu": function_tables.gelu, "gelu_tanh": function_tables.gelu_tanh}


def unary(builder: Builder, node: FloatNode) -> None:
    """GELU by the chip's algorithm or its own table, other functions by a table."""
    section: Any = builder.profile.gelu
    is_gelu = node.attributes["function"] in GELUS
    table = getattr(section, "table", None)
    if is_gelu and table is not None:
        function_of_table(builder, node, table)
        return
    rule = _RULES[section.algorithm] if is_gelu else _table
    rule(builder, node)


def _table(builder: Builder, node: FloatNode) -> None:
    """A table of the function at every code, rounded, or at the method's levels.

    A table has one scale for its results: balanced results come from wide codes, half to even, that
    are rescaled channel by channel.
    """
    x = builder.tensor(node.inputs[0])
    codes = np.arange(x.code_type.low, x.code_type.high + 1)
    function = REAL_FUNCTIONS[node.attributes["function"]]
    scale = builder.scale(node.inputs[0], f"the table of {node.name}")
    real = np.array([function(value) for value in ((codes - x.zero_point) * scale).tolist()])
    quantizer = builder.quantizer(node)
    if isinstance(quantizer, ActivationQuantizer) and quantizer.table_scale:
        _wide_table(builder, node, x, real, quantizer)
        return
    y = builder.result(node)
    reader = "a table without wide codes (table_scale)"
    if isinstance(quantizer, LevelQuantizer):
        table = quantizer.integer_codes(real)
    elif _evaluated_in_float32(builder, node):
        table = function_tables.function_table(
            FLOAT32_FUNCTIONS[node.attributes["function"]],
            scale,
            x.zero_point,
            builder.scale(node.name, reader),
            y.zero_point,
            input_type=x.code_type,
            output_type=y.code_type,
        )
    else:
        rounded = np.floor(real / builder.scale(node.name, reader) + 0.5) + y.zero_point
        table = np.clip(rounded, y.code_type.low, y.code_type.high).astype(np.int64)
    name = builder.constant(f"{node.name}.table", table, y.code_type)
    builder.graph.append(Lookup(name=node.name, a=x.name, table=name))


def _evaluated_in_float32(builder: Builder, node: FloatNode) -> bool:
    section = builder.profile.gelu
    in_float32 = section.algorithm == "table_256" and section.evaluated_in == "float32"
    return in_float32 and node.attributes["function"] in FLOAT32_FUNCTIONS


def _wide_table(
    builder: Builder,
    node: FloatNode,
    x: Tensor,
    real: Real,
    quantizer: ActivationQuantizer,
) -> None:
    """A table of wide codes at one scale, then a factor for each channel.

    Wide codes saturate where the channels' codes do so anyway.
    """
    table_scale = quantizer.table_scale
    exact = np.rint(real / table_scale)
    clamped = np.clip(exact, WIDE.low, WIDE.high)
    wanted, found = (
        quantizer.integer_codes((wide_codes * table_scale)[:, None])
        for wide_codes in (exact, clamped)
    )
    if not np.array_equal(wanted, found):
        raise InputError(
            f"{node.name}: its table needs codes up to {int(np.abs(exact).max())} at table_scale "
            f"{table_scale:g}, {WIDE} holds {WIDE.high}; choose a larger table_scale"
        )
    name = f"{node.name}.wide"
    builder.graph.declare(name, node.shape, WIDE, scale=(table_scale,))
    table = builder.constant(f"{name}.table", clamped.astype(np.int64), WIDE)
    builder.graph.append(Lookup(name=name, a=x.name, table=table))
    builder.result(node)
    _rescaled_by_channel(builder, node, name, table_scale)


def _rescaled_by_channel(builder: Builder, node: FloatNode, wide: str, scale: float) -> None:
    """Bring wide codes at one scale to a node's own codes, a factor for each channel."""
    sums, scales = np.array([scale]), builder.channel_scales(node.name)
    requantize = builder.requantization(node.name, "rescale", sums, scales)
    builder.graph.append(Rescale(name=node.name, a=wide, requantize=requantize))


def _table_513(builder: Builder, node: FloatNode) -> None:
    """Samples with straight lines between them, as TFLite tabulates functions of 16-bit codes.

    Of what has narrower codes the table yields wide ones, which are rescaled.
    """
    x, quantizer = builder.tensor(node.inputs[0]), builder.quantizer(node)
    if isinstance(quantizer, ActivationQuantizer) and quantizer.type.bits < x.code_type.bits:
        name, scale = f"{node.name}.wide", quantizer.table_scale or _wide_scale(quantizer)
        builder.graph.declare(name, node.shape, WIDE, scale=(scale,))
        _interpolated(builder, node, name, scale)
        builder.result(node)
        _rescaled_by_channel(builder, node, name, scale)
        return
    y = builder.result(node)
    if y.zero_point:
        raise InputError(
            f"{node.name}: an interpolated table yields codes around 0, its quantizer has the zero "
            f"point {y.zero_point}; set activation.zero_point to symmetric in the profile"
        )
    _interpolated(builder, node, node.name, builder.scale(node.name, "an interpolated table"))


def _wide_scale(quantizer: ActivationQuantizer) -> float:
    """Return the scale at which wide codes just reach further than a quantizer's own."""
    furthest = max(map(abs, quantizer.span)) + 0.5
    return furthest * quantizer.scale * max(quantizer.alpha, default=1.0) / WIDE.high


def _interpolated(builder: Builder, node: FloatNode, name: str, scale: float) -> None:
    """Add a function of 16-bit codes by samples; its codes, around 0, have a scale."""
    x = builder.tensor(node.inputs[0])
    table = function_tables.interpolation_table(
        FLOAT32_FUNCTIONS[node.attributes["function"]],
        builder.scale(node.inputs[0], f"the table of {node.name}"),
        scale,
        input_zero_point=x.zero_point,
        output_zero_point=0,
    )
    kind = builder.graph.tensors[name].code_type
    builder.graph.append(
        InterpolatedLookup(
            name=name,
            a=x.name,
            table=builder.constant(f"{name}.table", table, kind),
            fraction_bits=TABLE_513_FRACTION_BITS,
            shift=TABLE_513_FRACTION_BITS,
            rounding=Rounding.HALF_UP,
            overflow=Overflow.SATURATE,
        )
    )


def _polynomial(builder: Builder, node: FloatNode) -> None:
    """I-BERT's polynomial, with signs such that the scale of the products is positive.

    In the sources it is negative; a chip with unsigned multipliers turns either around.
    """
    x = builder.tensor(node.inputs[0])
    builder.result(node)
    section: Any = builder.profile.gelu
    scale = builder.scale(node.inputs[0], f"the polynomial of {node.name}")
    constants = polynomial_gelu_constants(
        scale, section.erf_shift, nearest=section.constants == "nearest"
    )
    builder.graph.append(
        GeluPolynomial(
            name=node.name,
            a=x.name,
            clip=constants.clip,
            constant=-constants.constant,
            one=-constants.one,
            negated=True,
            erf_shift=section.erf_shift,
            sum_shift=0,
            clip_low=None,
            intermediate_bits=section.intermediate_bits,
            requantize=builder.requantization(
                node.name,
                "gelu",
                np.array([-constants.scale]),
                builder.channel_scales(node.name),
            ),
        )
    )


def _shifts(builder: Builder, node: FloatNode) -> None:
    """I-ViT's ShiftGELU: a logistic function of 8 bits, times the codes."""
    x = builder.tensor(node.inputs[0])
    builder.result(node)
    section: Any = builder.profile.gelu
    scale = builder.scale(node.inputs[0], f"the exponentials of {node.name}")
    output_bits = 8
    builder.graph.append(
        ShiftGelu(
            name=node.name,
            a=x.name,
            octave=shift_gelu_octave(scale),
            fraction_bits=section.fraction_bits,
            output_bits=output_bits,
            requantize=builder.requantization(
                node.name,
                "gelu",
                np.array([scale / (1 << (output_bits - 1))]),
                builder.channel_scales(node.name),
            ),
        )
    )


_RULES: Mapping[str, Callable[[Builder, FloatNode], None]] = MappingProxyType(
    {
        "table_256": _table,
        "table_513": _table_513,
        "ibert_poly": _polynomial,
        "shift_gelu": _shifts,
        "float32": _table,  # GELU itself stays in float then, and never comes here
    }
)
