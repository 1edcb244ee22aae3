# SPDX-License-Identifier: Apache-2.0
"""Codes with a scale of their own for each group of channels, found at run time.

The last dimension, of C channels, is cut into groups of ``group`` channels: with group = C each row
has one (a token, or a token and head). A group's largest magnitude makes its scale, a real number
or a power of two, and narrow codes are made at that scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import shifted
from simulator.graph.op import Op, TensorId
from simulator.graph.ops.spec import OpSpec, operand_size, result_size
from simulator.graph.parameters import within
from simulator.graph.ranges import (
    Intermediate,
    Interval,
    centred_range,
    code_range,
    hull,
    largest_magnitude,
    rounding_and_zero_point,
    times,
    widened,
)
from simulator.graph.shapes import Shape
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding, shift_right

WIDEST_OPERAND = 16
WIDEST_EXPONENT = 5
LARGEST_TRIM = 7
LARGEST_NUMERATOR = (1 << LARGEST_SHIFT) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMaximum(Op):
    """The largest magnitude of each group of ``group`` channels, at least 1.

    ::

        y[g] = max(1, max(|a[c] - z_a| for c in group g))

    y is unsigned, has no zero point and a type that holds every magnitude of a.

    Attributes
    ----------
    group
        channels of a group, a divisor of their number; y has C / group channels
    """

    a: TensorId
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupExponent(Op):
    """The shift to the right that makes each group of ``group`` channels codes of ``bits`` bits.

    ::

        m    = max(|a[c] - z_a| for c in group g)
        m'   = m - (m >> trim), or m where trim is 0
        y[g] = max(0, bit_length(m') - (bits - 1))         the place of the leading one: no division

    y is unsigned, of at most 5 bits, and has no zero point: the exponent of a group's scale, as in
    the microscaling formats. No magnitude of the group is as large as 2^(bits - 1 + y), or, with a
    trim of t, as that times 2^t / (2^t - 1): an op that makes the codes clips what its type does
    not hold.

    Source: OCP Microscaling Formats (MX) Specification 1.0, a power of two for each block.

    Attributes
    ----------
    group
        channels of a group, a divisor of their number; y has C / group channels
    bits
        the width of signed codes that are to be made, at least 2
    trim
        0..7: how far a group's largest magnitudes may lie beyond its codes; with 2, a third
    """

    a: TensorId
    group: int
    bits: int
    trim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupQuantize(Op):
    """Codes at the scale that a group's largest magnitude asks for, by one reciprocal per group.

    For channel c of group g::

        r[g] = floor(numerator / max(maximum[g], 1))
        y[c] = fit(round((a[c] - z_a) * r[g] >> shift) + z_y)

    One unit of y is worth maximum[g] * 2^shift / numerator units of a: maximum[g] is a row factor
    of the product that reads y. With a group's own maximum no rounded number lies beyond
    ±numerator / 2^shift, rounded: a numerator of 7 * 2^shift fills four bits, and of a larger one
    fit clips the largest magnitudes. Like a, y has at most 16 bits.

    Attributes
    ----------
    maximum
        unsigned, of C / group channels: GroupMaximum of a
    numerator
        of the reciprocals, 1 to 2^62 - 1: the code of a group's largest magnitude before it is
        rounded, in units of 2^-shift
    shift
        places to the right. The reciprocal is too small by less than 1, a code by less than
        2^-shift for each unit of a: with two more than a has bits, by less than a quarter
    rounding
        of the shift; half_up is a constant and an arithmetic shift
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "maximum")

    a: TensorId
    maximum: TensorId
    group: int
    numerator: int
    shift: int
    rounding: Rounding
    overflow: Overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShift(Op):
    """Codes at a scale that is a power of two for each group: a shift to the right.

    For channel c of group g::

        y[c] = fit(round((a[c] - z_a) >> exponent[g]) + z_y)

    One unit of y is worth 2^exponent[g] units of a: a shift of the partial sum over this group in
    the product that reads y. Like a, y has at most 16 bits.

    Attributes
    ----------
    exponent
        unsigned, at most 5 bits, of C / group channels: GroupExponent of a
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "exponent")

    a: TensorId
    exponent: TensorId
    group: int
    rounding: Rounding
    overflow: Overflow


GroupOp = GroupMaximum | GroupExponent | GroupQuantize | GroupShift


def _groups(op: GroupOp, shape: Shape) -> Shape:
    """Return the shape of what is one for each group; ValueError where groups are not whole."""
    channels = shape[-1] if shape else 1
    if op.group < 1 or channels % op.group:
        raise ValueError(f"groups of {op.group} of {channels} channels: must divide them")
    return (*shape[:-1], channels // op.group)


def _one_for_each_group(
    op: GroupMaximum | GroupExponent, shapes: Sequence[Shape], _: Shape
) -> Shape:
    return _groups(op, shapes[0])


def _codes_shape(op: GroupQuantize | GroupShift, shapes: Sequence[Shape], _: Shape) -> Shape:
    wanted = _groups(op, shapes[0])
    if shapes[1] != wanted:
        raise ValueError(f"{op.operands[1]} has shape {shapes[1]}, wanted {wanted}")
    return shapes[0]


def _has_no_constants(graph: IntGraph, op: Op) -> Iterator[str]:
    for name in op.operands:
        if graph.is_constant(name):
            yield f"operand {name} is a constant"


def _operand_rules(graph: IntGraph, op: GroupOp) -> Iterator[str]:
    if graph.tensors[op.a].code_type.bits > WIDEST_OPERAND:
        yield f"operand {op.a} has more than {WIDEST_OPERAND} bits"


def _is_narrow(graph: IntGraph, op: GroupQuantize | GroupShift) -> Iterator[str]:
    if graph.result(op).code_type.bits > WIDEST_OPERAND:
        yield f"result has more than {WIDEST_OPERAND} bits"


def _is_plain_unsigned(graph: IntGraph, name: TensorId, bits: int) -> Iterator[str]:
    tensor = graph.tensors[name]
    if tensor.code_type.signed or tensor.zero_point or tensor.code_type.bits > bits:
        yield (
            f"{name} is {tensor.type} with zero point {tensor.zero_point}, wanted an unsigned type "
            f"of at most {bits} bits without one"
        )


def _holds(graph: IntGraph, op: GroupOp, largest: int) -> Iterator[str]:
    if graph.result(op).code_type.high < largest:
        yield f"result is {graph.result(op).type}, and may be {largest}"


def _maximum_rules(graph: IntGraph, op: GroupMaximum) -> Iterator[str]:
    yield from _operand_rules(graph, op)
    yield from _is_plain_unsigned(graph, op.name, WIDEST_OPERAND)
    yield from _holds(graph, op, max(largest_magnitude(graph, op.a), 1))


def exponent_of(op: GroupExponent, largest: int) -> int:
    """Return the exponent of a group by its largest magnitude; it never falls as that grows."""
    trimmed = largest - (largest >> op.trim) if op.trim else largest
    return max(0, trimmed.bit_length() - (op.bits - 1))


def largest_exponent(graph: IntGraph, op: GroupExponent) -> int:
    """Return the largest exponent that a group may have."""
    return exponent_of(op, largest_magnitude(graph, op.a))


def _exponent_rules(graph: IntGraph, op: GroupExponent) -> Iterator[str]:
    yield from _operand_rules(graph, op)
    yield from within("bits", op.bits, 2, WIDEST_OPERAND)
    yield from _is_plain_unsigned(graph, op.name, WIDEST_EXPONENT)
    trims = [*within("trim", op.trim, 0, LARGEST_TRIM)]
    yield from trims or _holds(graph, op, largest_exponent(graph, op))


def _quantize_rules(graph: IntGraph, op: GroupQuantize) -> Iterator[str]:
    yield from _operand_rules(graph, op)
    yield from _is_plain_unsigned(graph, op.maximum, WIDEST_OPERAND)
    yield from within("numerator", op.numerator, 1, LARGEST_NUMERATOR)
    yield from _is_narrow(graph, op)


def _shift_rules(graph: IntGraph, op: GroupShift) -> Iterator[str]:
    yield from _operand_rules(graph, op)
    yield from _is_plain_unsigned(graph, op.exponent, WIDEST_EXPONENT)
    yield from _is_narrow(graph, op)


def _magnitudes(graph: IntGraph, name: TensorId) -> Interval:
    low, high = centred_range(graph, name)
    return (0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _maximum_intermediates(graph: IntGraph, op: GroupMaximum) -> Iterator[Intermediate]:
    yield Intermediate("centred", centred_range(graph, op.a))
    low, high = _magnitudes(graph, op.a)
    yield Intermediate("largest", (low, high))
    yield Intermediate("rounded", (max(low, 1), max(high, 1)))


def _exponent_intermediates(graph: IntGraph, op: GroupExponent) -> Iterator[Intermediate]:
    yield Intermediate("centred", centred_range(graph, op.a))
    low, high = _magnitudes(graph, op.a)
    yield Intermediate("largest", (low, high))
    yield Intermediate("rounded", (exponent_of(op, low), exponent_of(op, high)))


def _codes_and_reciprocals(graph: IntGraph, op: GroupQuantize) -> int:
    """Return the codes of one image, and one division for each group."""
    return result_size(graph, op) + graph.tensors[op.maximum].size


def _quantize_intermediates(graph: IntGraph, op: GroupQuantize) -> Iterator[Intermediate]:
    centred = centred_range(graph, op.a)
    yield Intermediate("centred", centred)
    low, high = code_range(graph, op.maximum)
    most = op.numerator
    inverse = most // max(high, 1), most // max(low, 1)
    yield Intermediate("reciprocal", inverse, (0, most))
    product = times(centred, inverse)
    if _is_its_own_maximum(graph, op):
        product = max(product[0], -most), min(product[1], most)
    yield from shifted(graph, op, product, product)


def _is_its_own_maximum(graph: IntGraph, op: GroupQuantize) -> bool:
    """Tell whether no magnitude of a group is larger than the maximum that divides it."""
    maker = graph.makers.get(op.maximum)
    return isinstance(maker, GroupMaximum) and (maker.a, maker.group) == (op.a, op.group)


def _shift_intermediates(graph: IntGraph, op: GroupShift) -> Iterator[Intermediate]:
    centred = centred_range(graph, op.a)
    exponents = range(graph.tensors[op.exponent].code_type.high + 1)
    most = rounding_and_zero_point(graph, op, exponents[-1])
    yield Intermediate("centred", centred, widened(centred, most))
    ends = [
        tuple(shift_right(end, exponent, op.rounding) for end in centred) for exponent in exponents
    ]
    zero_point = graph.result(op).zero_point
    yield Intermediate("rounded", hull(*((a + zero_point, b + zero_point) for a, b in ends)))


def _maximum_text(_: IntGraph, op: GroupMaximum) -> str:
    return f"{op.a}   groups of {op.group}"


def _exponent_text(_: IntGraph, op: GroupExponent) -> str:
    trim = f", less m >> {op.trim}" if op.trim else ""
    return f"{op.a}   groups of {op.group}, for {op.bits} bits{trim}"


def _quantize_text(_: IntGraph, op: GroupQuantize) -> str:
    return (
        f"{op.a} / {op.maximum}   groups of {op.group}, times {op.numerator} >> {op.shift} "
        f"{op.rounding} {op.overflow}"
    )


def _shift_text(_: IntGraph, op: GroupShift) -> str:
    return f"{op.a} >> {op.exponent}   groups of {op.group} {op.rounding} {op.overflow}"


SPECS = (
    OpSpec(
        op=GroupMaximum,
        name="group_maximum",
        shape=_one_for_each_group,
        intermediates=_maximum_intermediates,
        text=_maximum_text,
        rate="group",
        rules=_maximum_rules,
        batch=_has_no_constants,
        elements=operand_size,
    ),
    OpSpec(
        op=GroupExponent,
        name="group_exponent",
        shape=_one_for_each_group,
        intermediates=_exponent_intermediates,
        text=_exponent_text,
        rate="group",
        rules=_exponent_rules,
        batch=_has_no_constants,
        elements=operand_size,
    ),
    OpSpec(
        op=GroupQuantize,
        name="group_quantize",
        shape=_codes_shape,
        intermediates=_quantize_intermediates,
        text=_quantize_text,
        rate="group",
        rules=_quantize_rules,
        batch=_has_no_constants,
        shifts=("shift",),
        elements=_codes_and_reciprocals,
    ),
    OpSpec(
        op=GroupShift,
        name="group_shift",
        shape=_codes_shape,
        intermediates=_shift_intermediates,
        text=_shift_text,
        rate="group",
        rules=_shift_rules,
        batch=_has_no_constants,
    ),
)
