# SPDX-License-Identifier: Apache-2.0
"""Element by element with one rounding: a rescaled tensor, a sum, a product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import Channels, requantized, shifted
from simulator.graph.op import Op, Requantization, TensorId
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import only_constants_broadcast
from simulator.graph.ranges import Intermediate, centred_range, times
from simulator.graph.shapes import Shape, same_shape, sum_shape, two_operand_shape
from simulator.graph.text_parts import factor, requantization
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

_ONE_BIT = IntType(bits=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale(Op):
    """A tensor at another scale.

    ::

        y = requantize(a - z_a)
    """

    a: TensorId
    requantize: Requantization


def _rescale_intermediates(graph: IntGraph, op: Rescale) -> Iterator[Intermediate]:
    yield from requantized(graph, op, Channels.all_alike(centred_range(graph, op.a)))


def _rescale_text(graph: IntGraph, op: Rescale) -> str:
    return f"{op.a} {requantization(graph, op.requantize)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Op):
    """Residual addition of two tensors with different scales.

    ::

        y = fit(round((a - z_a) * multiplier_a[c] + (b - z_b) * multiplier_b[c] >> shift) + z_y)

    One rounding, after the sum: two would lose half a code
    (docs/decisions/0002-one-rounding-in-add.md).

    A mask of attention is such an Add: b is of type ``s1``, -1 where a score is switched off, its
    multiplier 2^bits - 1, the shift 0 (on a chip without it the smallest, both multipliers as much
    larger), and the result saturates at the lowest code of the scores
    (docs/decisions/0020-masked-scores.md).

    Source: AOCQ (doi 10.1631/FITEE.2400994), Add_α.

    Attributes
    ----------
    a, b
        same shape, or b a constant that is repeated along dimensions of a which it lacks, or in
        which it has extent 1; the last dimensions are equal
    multiplier_a, multiplier_b
        constants [1] or [C], the fixed-point forms of s_a / s_y and s_b / s_y (vectors where Add_α
        balances channels)
    shift
        the same for all channels
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")
    constant_fields: ClassVar[tuple[str, ...]] = ("multiplier_a", "multiplier_b")

    a: TensorId
    b: TensorId
    multiplier_a: TensorId
    multiplier_b: TensorId
    shift: int
    rounding: Rounding
    overflow: Overflow


def _add_shape(_: Add, shapes: Sequence[Shape], __: Shape) -> Shape:
    return sum_shape(shapes)


def _add_batch(graph: IntGraph, op: Add) -> Iterator[str]:
    yield from only_constants_broadcast(graph, op, "add")


def _add_intermediates(graph: IntGraph, op: Add) -> Iterator[Intermediate]:
    terms = [
        Channels.all_alike(centred_range(graph, operand)).times(graph.constants[multiplier])
        for operand, multiplier in ((op.a, op.multiplier_a), (op.b, op.multiplier_b))
    ]
    yield from shifted(graph, op, terms[0].plus(terms[1]).interval)


def _add_text(graph: IntGraph, op: Add) -> str:
    return (
        f"{op.a} × {factor(graph, op.multiplier_a)} + {op.b} × {factor(graph, op.multiplier_b)} "
        f">> {op.shift} {op.rounding} {op.overflow}"
    )


def _add_is_mask(graph: IntGraph, op: Add) -> bool:
    """Tell whether a sum leaves codes as they are or takes them to the lowest one, as it should.

    That is ``a + (2^bits - 1) * b`` with b of -1 or 0, saturating, and no other scale between its
    codes and those of a; both factors may be shifted left by the shift that follows.
    """
    if op.b not in graph.constants:
        return False
    a, y = graph.tensors[op.a], graph.result(op)
    if graph.tensors[op.b].type != _ONE_BIT or not isinstance(y.type, IntType):
        return False
    factors = [graph.constants[name].tolist() for name in (op.multiplier_a, op.multiplier_b)]
    return (
        (a.type, a.zero_point) == (y.type, y.zero_point)
        and factors == [[1 << op.shift], [(y.type.high - y.type.low) << op.shift]]
        and op.overflow is not Overflow.WRAP
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mul(Op):
    """Product of two tensors, element by element.

    ::

        y = requantize((a - z_a) * (b - z_b))

    The factor of the requantization is s_a s_b / s_y. Operands broadcast as in :class:`AddShifted`.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    requantize: Requantization


def _mul_shape(_: Mul, shapes: Sequence[Shape], __: Shape) -> Shape:
    return two_operand_shape("mul", shapes)


def _mul_batch(graph: IntGraph, op: Mul) -> Iterator[str]:
    yield from only_constants_broadcast(graph, op, "mul")


def _mul_intermediates(graph: IntGraph, op: Mul) -> Iterator[Intermediate]:
    product = times(centred_range(graph, op.a), centred_range(graph, op.b))
    yield Intermediate("product", product)
    yield from requantized(graph, op, Channels.all_alike(product))


def _mul_text(graph: IntGraph, op: Mul) -> str:
    return f"{op.a} × {op.b}   {requantization(graph, op.requantize)}"


SPECS = (
    OpSpec(
        op=Rescale,
        name="rescale",
        shape=same_shape,
        intermediates=_rescale_intermediates,
        text=_rescale_text,
        rate="rescale",
    ),
    OpSpec(
        op=Add,
        name="add",
        shape=_add_shape,
        intermediates=_add_intermediates,
        text=_add_text,
        rate="add",
        batch=_add_batch,
        shifts=("shift",),
        multipliers=("multiplier_a", "multiplier_b"),
        is_mask=_add_is_mask,
    ),
    # The nearest of the rates that a profile states: what is computed element by element.
    OpSpec(
        op=Mul,
        name="mul",
        shape=_mul_shape,
        intermediates=_mul_intermediates,
        text=_mul_text,
        rate="add",
        batch=_mul_batch,
    ),
)
