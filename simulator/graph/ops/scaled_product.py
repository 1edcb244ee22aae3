# SPDX-License-Identifier: Apache-2.0
"""Products of operands whose steps depend on the row, the column or a block of the terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from simulator.graph.accumulator_bounds import leaving, of_weights, sums_in
from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized
from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops.groups import WIDEST_EXPONENT, GroupExponent, GroupMaximum
from simulator.graph.ops.groups import largest_exponent as exponent_of_group
from simulator.graph.ops.layout import Reshape, Slice, Transpose
from simulator.graph.ops.onto_residual import residual_bounds, residual_joins
from simulator.graph.ops.products import (
    accumulator_text,
    bias_is_narrow,
    requantization_onto,
    sums_of_activations,
    weights_or_equal_ranks,
)
from simulator.graph.ops.spec import OpSpec
from simulator.graph.ranges import (
    Intermediate,
    Interval,
    code_range,
    largest_magnitude,
    shifted_left,
)
from simulator.graph.shapes import Shape, product_shape
from simulator.graph.text_parts import type_and_shape
from simulator.numerics.accumulator import Accumulator
from simulator.numerics.rescaling import Arithmetic, LeftShift

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledMatMul(Op):
    """Matrix product of codes that have a step per row, per column, or per row and block of K.

    The terms of a row are cut into blocks of ``block``; g counts them. Without exponents, all are
    one block that is not shifted; without a factor, it is 1::

        acc[m, n] = sum over g of (sum over k in block g of a[m, k] * b[k, n])
                    << block_exponent[m, g]                     in the accumulator, ascending k
        s[m, n]   = acc[m, n] * row_factor[m] * column_factor[n] + bias[n]
        y[m, n]   = requantize(s[m, n])

    or onto a residual as in :class:`MatMul`, with s in the place of acc. All zero points but those
    of residual and result are 0. The bias is at the scale of s, and does not enter the accumulator.

    Levels of the accumulator whose ``group`` is at most ``block`` hold sums inside one block, which
    are not shifted yet: ``block`` is a multiple of their groups. What enters the first level beyond
    them is shifted: with one level the single products, with a level of ``block`` terms below it
    the sums of blocks. As long as no register overflows, both are the same.

    Sources: a power of two per block of 32 terms is the scale of the OCP Microscaling (MX) formats,
    v1.0; a step per row is token-wise quantization (ZeroQuant, arXiv 2206.01861).

    Attributes
    ----------
    a
        codes [..., M, K]
    b
        codes [..., K, N], or [..., N, K] with ``transpose_b``; weights are [K, N] or [N, K]
    bias
        signed constant [N] at the scale of s, beside weights only, or none
    row_factor
        unsigned activation [..., M, 1], or none
    column_factor
        unsigned activation [..., N, 1], beside an activation b only, or none
    block_exponent
        unsigned activation [..., M, K / block] of at most 5 bits, or none
    block
        terms that share an exponent; 0 without exponents
    residual
        activation of the result's shape, beside weights only, or none
    residual_multiplier
        constant [1] or [N], as in :class:`MatMul`
    residual_fraction_bits
        at most the smallest shift; 0 without a residual
    """

    operand_fields: ClassVar[tuple[str, ...]] = (
        "a",
        "b",
        "row_factor",
        "column_factor",
        "block_exponent",
        "residual",
    )
    constant_fields: ClassVar[tuple[str, ...]] = ("bias", "residual_multiplier")

    a: TensorId
    b: TensorId
    transpose_b: bool
    bias: TensorId | None
    row_factor: TensorId | None
    column_factor: TensorId | None
    block_exponent: TensorId | None
    block: int
    accumulator: Accumulator
    requantize: Requantization
    residual: TensorId | None = None
    residual_multiplier: TensorId | None = None
    residual_fraction_bits: int = 0


def by_field(op: ScaledMatMul, values: Sequence[_Value]) -> dict[str, _Value]:
    """Return what belongs to each operand, in the order of ``op.operands``, by the field's name."""
    present = (field for field in op.operand_fields if getattr(op, field) is not None)
    return dict(zip(present, values, strict=True))


def _shape(op: ScaledMatMul, shapes: Sequence[Shape], _: Shape) -> Shape:
    given = by_field(op, shapes)
    a, b = given["a"], given["b"]
    product = product_shape(a, b, op.transpose_b)
    wanted = {
        "row_factor": (*a[:-1], 1),
        "column_factor": (*b[:-2], product[-1], 1),
        "block_exponent": (*a[:-1], a[-1] // op.block if op.block > 0 else 0),
        "residual": product,
    }
    for field, shape in wanted.items():
        if given.get(field, shape) != shape:
            raise ValueError(
                f"{field} {getattr(op, field)} has shape {given[field]}, wanted {shape} for a "
                f"product of {a} by {b}"
            )
    return product


def _rules(graph: IntGraph, op: ScaledMatMul) -> Iterator[str]:
    yield from bias_is_narrow(graph, op.bias)
    if op.row_factor is op.column_factor is op.block_exponent is None:
        yield "neither factors nor exponents: that is a MatMul"
    for name in (op.a, op.b):
        if graph.tensors[name].zero_point:
            yield f"operand {name} has a zero point: a scaled product needs zero points 0"
    for field in ("row_factor", "column_factor", "block_exponent"):
        name = getattr(op, field)
        if name is None:
            continue
        tensor = graph.tensors[name]
        if graph.is_constant(name):
            yield f"{field} {name} is a constant"
        if tensor.code_type.signed or tensor.zero_point:
            yield f"{field} {name} is {tensor.type}, wanted unsigned codes with zero point 0"
    if not graph.is_constant(op.b) and op.bias is not None:
        yield "a product of two activations has no bias"
    if graph.is_constant(op.b) and op.column_factor is not None:
        yield "a product with weights has no column factor: it is part of the multiplier"
    yield from _block_rules(graph, op)
    if (op.requantize.arithmetic, op.requantize.left_shift) != (
        Arithmetic.FIXED_POINT,
        LeftShift.WIDEN,
    ):
        yield "a scaled sum is rescaled in fixed point, with wide left shifts"
    yield from residual_joins(graph, op)


def _block_rules(graph: IntGraph, op: ScaledMatMul) -> Iterator[str]:
    if (op.block_exponent is None) != (op.block == 0):
        yield f"block {op.block}: block and block_exponent go together"
        return
    if op.block_exponent is None:
        return
    terms = graph.tensors[op.a].shape[-1]
    if op.block < 1 or terms % op.block:
        yield f"block {op.block}: must divide the {terms} terms"
        return
    bits = graph.tensors[op.block_exponent].code_type.bits
    if bits > WIDEST_EXPONENT:
        yield (
            f"block_exponent {op.block_exponent} has {bits} bits, wanted at most {WIDEST_EXPONENT}"
        )
    for level in op.accumulator.levels:
        if 0 < level.group <= op.block and op.block % level.group:
            yield (
                f"accumulator: groups of {level.group} terms cross the borders of blocks of "
                f"{op.block}"
            )


def _macs(graph: IntGraph, op: ScaledMatMul) -> int:
    return graph.result(op).size * graph.tensors[op.a].shape[-1]


def _scalings(graph: IntGraph, op: ScaledMatMul) -> int:
    factors = (op.row_factor is not None) + (op.column_factor is not None)
    return graph.result(op).size * factors


def _intermediates(graph: IntGraph, op: ScaledMatMul) -> Iterator[Intermediate]:
    sums, completed = _sums(graph, op)
    yield sums
    values = leaving(sums, completed, op.accumulator)
    for name, field in (("row_scaled", op.row_factor), ("column_scaled", op.column_factor)):
        if field is not None:
            values = _scaled(values, (0, largest_code(graph, field)))
            yield Intermediate(name, values.interval)
    if op.bias is not None:
        bias = graph.constants[op.bias]
        values = values.plus(Channels.of(bias, bias))
        yield Intermediate("biased", values.interval)
    yield from requantized(graph, op, values, residual_bounds(graph, op))


def _scaled(values: Channels, factor: Interval) -> Channels:
    """Return the bounds of products with a factor that is not the same for all inputs."""
    ends = [end * code for end in (values.low, values.high) for code in factor]
    return Channels(np.minimum.reduce(ends), np.maximum.reduce(ends))


def _sums(graph: IntGraph, op: ScaledMatMul) -> tuple[Intermediate, Channels]:
    """Return the bounds of the partial sums, and those of the completed ones.

    Terms can be 0, so that no partial sum
    is beyond those of all terms, and none with smaller exponents beyond those with the largest.
    """
    left = largest_exponent(graph, op)
    a, terms = code_range(graph, op.a), graph.tensors[op.a].shape[-1]
    of_group: Callable[[int], Interval]
    if graph.is_constant(op.b):
        b = graph.constants[op.b]
        b = b.T if op.transpose_b else b
        columns = of_weights(b, a, 0, None)
        sums = columns.partial
        completed = Channels.of(columns.least, columns.most)

        def of_group(group: int) -> Interval:
            return of_weights(b, a, group, None).partial

    else:
        of_group = sums_of_activations(graph, op.a, op.b)
        sums = of_group(terms)
        completed = Channels.all_alike(sums)

    def of_level(group: int) -> Interval:
        return shifted_left(of_group(group), left if group > op.block else 0)

    found = sums_in(shifted_left(sums, left), of_level, op.accumulator)
    return found, completed.shifted_left(np.array([left]))


def largest_exponent(graph: IntGraph, op: ScaledMatMul) -> int:
    """Return the most places that a block's sum is shifted to the left."""
    return 0 if op.block_exponent is None else largest_code(graph, op.block_exponent)


def largest_code(graph: IntGraph, name: TensorId) -> int:
    """Return the largest code of factors or exponents: of their type, or what made them.

    What a group's exponent and maximum can be follows from the codes that they are of
    (docs/decisions/0032-bounds-that-need-the-op-before.md); codes may have been moved.
    """
    most, maker = code_range(graph, name)[1], graph.makers.get(name)
    while isinstance(maker, Reshape | Slice | Transpose):
        maker = graph.makers.get(maker.a)
    if isinstance(maker, GroupExponent):
        return min(most, exponent_of_group(graph, maker))
    if isinstance(maker, GroupMaximum):
        return min(most, max(1, largest_magnitude(graph, maker.a)))
    return most


def _text(graph: IntGraph, op: ScaledMatMul) -> str:
    b = graph.tensors[op.b]
    other = f"{b.name}ᵀ" if op.transpose_b else b.name
    if graph.is_constant(op.b):
        other = type_and_shape(b)
    if op.block_exponent is not None:
        other += f" << {op.block_exponent} per {op.block}"
    scaled = "".join(f" × {name}" for name in (op.row_factor, op.column_factor) if name is not None)
    if op.bias is not None:
        scaled += f" + {graph.tensors[op.bias].type} bias"
    accumulator = accumulator_text(op.accumulator, _sums(graph, op)[0])
    parts = (f"{op.a} × {other}", accumulator, scaled.strip(), requantization_onto(graph, op))
    return "   ".join(part for part in parts if part)


SPECS = (
    OpSpec(
        op=ScaledMatMul,
        name="scaled_matmul",
        shape=_shape,
        intermediates=_intermediates,
        text=_text,
        rate=None,
        rules=_rules,
        batch=weights_or_equal_ranks,
        multipliers=("residual_multiplier",),
        per_channel=("bias",),
        widest_operand=16,
        macs=_macs,
        scalings=_scalings,
    ),
)
