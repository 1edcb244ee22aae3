# SPDX-License-Identifier: Apache-2.0
"""Lowering of what makes operands' codes in front of products: rotations, requantizations.

With dynamic steps the node's op writes wide codes ``NAME.base``, of which each group's largest
magnitude is found, and the narrow codes are made with it. The products that read them take the
groups' factors with them: :func:`scaling`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from aocq.capture import FloatNode, FloatOp
from aocq.lowering.builder import Builder, along_channels
from aocq.methods.quantizers import DynamicQuantizer, StaticQuantizer
from aocq.methods.scales import compressed, quantizer_scales
from simulator.graph.ops import (
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    Lookup,
    Rescale,
)
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

# Of a scaled sum times its multiplier.
PRODUCT_BITS = 61


def hadamard(builder: Builder, node: FloatNode) -> None:
    """A rotation: sums and differences of codes of one scale."""
    _operand(builder, node)


def requantize(builder: Builder, node: FloatNode) -> None:
    """Codes of an operand's own; no op where they are those of its input."""
    _operand(builder, node)


def _operand(builder: Builder, node: FloatNode) -> None:
    quantizer = builder.model.activations[node.name]
    if not isinstance(quantizer, DynamicQuantizer):
        if _has_codes_already(builder, node, quantizer):
            builder.aliases[node.name] = builder.tensor(node.inputs[0])
        else:
            builder.result(node)
            _wide_codes(builder, node, node.name)
        return
    wide, base = builder.tensor(node.inputs[0]).name, quantizer.base
    if not _has_codes_already(builder, node, base):
        wide = f"{node.name}.base"
        builder.graph.declare(wide, node.shape, base.type, base.zero_point, (base.scale,))
        _wide_codes(builder, node, wide)
    _narrow_codes(builder, node, quantizer, wide)


def _has_codes_already(builder: Builder, node: FloatNode, wanted: StaticQuantizer) -> bool:
    """Whether a requantization wants the codes that its input has."""
    source = builder.tensor(node.inputs[0])
    own = builder.model.scales(node.inputs[0])
    return (
        node.op is FloatOp.REQUANTIZE
        and (wanted.type, wanted.zero_point) == (source.type, source.zero_point)
        and np.array_equal(compressed(own), compressed(quantizer_scales(wanted, node.shape)))
    )


def _wide_codes(builder: Builder, node: FloatNode, name: str) -> None:
    """Add the op of a node that writes codes to the declared tensor ``name``."""
    source = node.inputs[0]
    scales = np.array(builder.graph.tensors[name].scale)
    if node.op is FloatOp.REQUANTIZE:
        sums = along_channels(source, builder.model.scales(source))
        requantization = builder.requantization(name, "rescale", sums, scales)
        builder.graph.append(
            Rescale(name=name, a=builder.tensor(source).name, requantize=requantization)
        )
        return
    order = int(node.attributes["order"])
    one = builder.scale(source, "a rotation") / math.sqrt(order)
    builder.graph.append(
        Hadamard(
            name=name,
            a=builder.tensor(source).name,
            order=order,
            requantize=builder.requantization(name, "rescale", np.array([one]), scales),
        )
    )


def _narrow_codes(builder: Builder, node: FloatNode, quantizer: DynamicQuantizer, a: str) -> None:
    """Add the ops that find the groups' steps, and make the codes of wide codes ``a``.

    Codes beyond their type saturate on any chip: a wrapped one would turn its group's largest
    value into one of the other sign.
    """
    groups = (*node.shape[:-1], node.shape[-1] // quantizer.group)
    largest = max(-quantizer.base.span[0], quantizer.base.span[1])
    if quantizer.form == "multiplier":
        maximum = f"{node.name}.maximum"
        width = IntType(bits=largest.bit_length(), signed=False)
        builder.graph.declare(maximum, groups, width)
        builder.graph.append(GroupMaximum(name=maximum, a=a, group=quantizer.group))
        codes: GroupQuantize | GroupShift = GroupQuantize(
            name=node.name,
            a=a,
            maximum=maximum,
            group=quantizer.group,
            numerator=quantizer.numerator,
            shift=quantizer.reciprocal_bits,
            rounding=Rounding.HALF_UP,
            overflow=Overflow.SATURATE,
        )
    else:
        exponent = f"{node.name}.exponent"
        trimmed = largest - (largest >> quantizer.trim) if quantizer.trim else largest
        widest = max(trimmed.bit_length() - (quantizer.bits - 1), 0)
        width = IntType(bits=max(widest.bit_length(), 1), signed=False)
        builder.graph.declare(exponent, groups, width)
        builder.graph.append(
            GroupExponent(
                name=exponent,
                a=a,
                group=quantizer.group,
                bits=quantizer.bits,
                trim=quantizer.trim,
            )
        )
        codes = GroupShift(
            name=node.name,
            a=a,
            exponent=exponent,
            group=quantizer.group,
            rounding=builder.rounding("rescale"),
            overflow=Overflow.SATURATE,
        )
    builder.graph.declare(node.name, node.shape, quantizer.type)
    builder.graph.append(codes)


def scaling(builder: Builder, node: FloatNode) -> Mapping[str, Any]:
    """Return the factors and exponents of a product's operands, as fields of ScaledMatMul.

    Empty where no operand has dynamic steps.
    """
    found: dict[str, Any] = {}
    for side, name in enumerate(node.inputs):
        quantizer = builder.model.activations.get(name)
        if isinstance(quantizer, DynamicQuantizer):
            found |= _column_scaling(builder, name, quantizer) if side else _row(name, quantizer)
    nothing = {"row_factor": None, "column_factor": None, "block_exponent": None, "block": 0}
    return {**nothing, **found} if found else {}


def room_for_multipliers(
    builder: Builder, scaled: Mapping[str, Any], largest: int, bias: int = 0
) -> int:
    """Return how many bits a multiplier of scaled sums may have: their product fits 64 bits.

    Beside it there is room for a residual's term, a sign and a rounding. As many as any has where
    nothing scales the sums.

    Parameters
    ----------
    largest
        magnitude of plain sums of products of codes
    bias
        magnitude of what is added to the scaled sums
    """
    if not scaled:
        return LARGEST_SHIFT
    for field in ("row_factor", "column_factor"):
        name = scaled.get(field)
        largest *= builder.graph.tensors[name].code_type.high if name else 1
    exponent = scaled.get("block_exponent")
    if exponent:
        largest <<= builder.graph.tensors[exponent].code_type.high
    return max(PRODUCT_BITS - (largest + bias).bit_length(), 1)


def _row(name: str, quantizer: DynamicQuantizer) -> dict[str, Any]:
    if quantizer.form == "multiplier":
        return {"row_factor": f"{name}.maximum"}
    return {"block_exponent": f"{name}.exponent", "block": quantizer.group}


def _column_scaling(builder: Builder, name: str, quantizer: DynamicQuantizer) -> dict[str, Any]:
    """Return the factor of each row of a product's second operand; a power of two by a table."""
    if quantizer.form == "multiplier":
        return {"column_factor": f"{name}.maximum"}
    factor, exponent = f"{name}.factor", builder.graph.tensors[f"{name}.exponent"]
    if factor not in builder.graph.tensors:
        powers = 1 << np.arange(exponent.code_type.high + 1, dtype=np.int64)
        width = IntType(bits=exponent.code_type.high + 1, signed=False)
        table = builder.constant(f"{factor}.table", powers, width)
        builder.graph.declare(factor, exponent.shape, width)
        builder.graph.append(Lookup(name=factor, a=exponent.name, table=table))
    return {"column_factor": factor}
