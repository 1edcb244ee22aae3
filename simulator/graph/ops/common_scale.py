# SPDX-License-Identifier: Apache-2.0
"""Two tensors that are first brought to one scale: their sum, difference, squared difference.

b may be a constant that lacks leading dimensions of a, and the last dimension of either may be 1:
it is then broadcast along the other's. So it is in Mul.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.last_steps import shifted
from simulator.graph.op import Op, TensorId
from simulator.graph.ops.spec import OpSpec
from simulator.graph.parameters import only_constants_broadcast, within
from simulator.graph.ranges import Intermediate, centred_range, squared, times, widened
from simulator.graph.shapes import Shape, two_operand_shape
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import RescaleRule
from simulator.numerics.rounding import DoubleRounding, Rounding, shift_right


@dataclass(frozen=True, slots=True, kw_only=True)
class AddShifted(Op):
    """Sum or difference of two tensors that are first brought to one scale.

    The two operands and the sum have a factor each, a plain multiplier and shift. Each of the three
    roundings is by ``rounding`` and ``double_rounding``::

        a' = round(((a - z_a) << input_left_shift) * multiplier_a >> shift_a), b' likewise
        y  = fit(round((a' + b') * multiplier >> shift) + z_y),               a' - b' with subtract

    With T = 2 max(s_a, s_b) the factors are s_a / T, s_b / T and T / (2^input_left_shift s_y)
    (:func:`simulator.numerics.common_scale.sum_constants`).

    Source: ADD and SUB of TensorFlow Lite, its 8-bit operands shifted by 20, 16-bit ones by 15.
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    subtract: bool
    input_left_shift: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int
    rounding: Rounding
    double_rounding: DoubleRounding
    overflow: Overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class SquaredDifference(Op):
    """Square of the difference of two tensors that are first brought to one scale.

    a' and b' are those of :class:`AddShifted`::

        y = fit(round((a' - b')^2 * multiplier >> shift) + z_y)

    With T = 2 max(s_a, s_b) the factors are s_a / T, s_b / T and T^2 / (2^(2 input_left_shift) s_y)
    (:func:`simulator.numerics.common_scale.squared_difference_constants`).

    Source: SQUARED_DIFFERENCE of TensorFlow Lite (8-bit operands shifted by 7) and of TensorFlow
    Lite Micro (16-bit ones by 0).
    """

    operand_fields: ClassVar[tuple[str, ...]] = ("a", "b")

    a: TensorId
    b: TensorId
    input_left_shift: int
    multiplier_a: int
    shift_a: int
    multiplier_b: int
    shift_b: int
    multiplier: int
    shift: int
    rounding: Rounding
    double_rounding: DoubleRounding
    overflow: Overflow


CommonScale = AddShifted | SquaredDifference


NAMES = ("add_shifted", "sub_shifted", "squared_difference")


def _name(op: CommonScale) -> str:
    if isinstance(op, SquaredDifference):
        return NAMES[2]
    return NAMES[op.subtract]


def _shape(op: CommonScale, shapes: Sequence[Shape], _: Shape) -> Shape:
    return two_operand_shape(_name(op), shapes)


def _batch(graph: IntGraph, op: CommonScale) -> Iterator[str]:
    yield from only_constants_broadcast(graph, op, _name(op))


def _rules(_: IntGraph, op: CommonScale) -> Iterator[str]:
    yield from within("input_left_shift", op.input_left_shift, 0, 31)
    for name in ("shift_a", "shift_b", "shift"):
        yield from within(name, getattr(op, name), 0, LARGEST_SHIFT)
    for name in ("multiplier_a", "multiplier_b", "multiplier"):
        yield from within(name, getattr(op, name), 0, (1 << 31) - 1)
    rule = RescaleRule(
        rounding=op.rounding, overflow=op.overflow, double_rounding=op.double_rounding
    )
    yield from rule.problems()


def _intermediates(graph: IntGraph, op: CommonScale) -> Iterator[Intermediate]:
    rescaled = []
    for name, operand, multiplier, shift in (
        ("a", op.a, op.multiplier_a, op.shift_a),
        ("b", op.b, op.multiplier_b, op.shift_b),
    ):
        low, high = (
            (end << op.input_left_shift) * multiplier for end in centred_range(graph, operand)
        )
        yield Intermediate(f"scaled_{name}", (low, high), widened((low, high), 1 << shift))
        low, high = (
            shift_right(end, shift, op.rounding, op.double_rounding) for end in (low, high)
        )
        rescaled.append((low, high))
        yield Intermediate(f"rescaled_{name}", (low, high))
    a, b = rescaled
    if isinstance(op, AddShifted) and not op.subtract:
        joined = a[0] + b[0], a[1] + b[1]
        yield Intermediate("sum", joined)
    else:
        joined = a[0] - b[1], a[1] - b[0]
        yield Intermediate("difference", joined)
    if isinstance(op, SquaredDifference):
        joined = squared(joined)
        yield Intermediate("square", joined)
    yield from shifted(graph, op, times(joined, (op.multiplier, op.multiplier)))


def _text(_: IntGraph, op: CommonScale) -> str:
    a = f"({op.a} << {op.input_left_shift} × {op.multiplier_a} >> {op.shift_a})"
    b = f"({op.b} << {op.input_left_shift} × {op.multiplier_b} >> {op.shift_b})"
    sign = "+" if isinstance(op, AddShifted) and not op.subtract else "-"
    rounding = str(op.rounding)
    if op.double_rounding is not DoubleRounding.NONE:
        rounding += f" twice {op.double_rounding}"
    return f"{a} {sign} {b}   → ×{op.multiplier} >> {op.shift} {rounding} {op.overflow}"


# The nearest of the rates that a profile states: what is computed element by element.
SPECS = tuple(
    OpSpec(
        op=op,
        name=_name,
        shape=_shape,
        intermediates=_intermediates,
        text=_text,
        rate="add",
        rules=_rules,
        batch=_batch,
    )
    for op in (AddShifted, SquaredDifference)
)
