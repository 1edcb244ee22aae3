# SPDX-License-Identifier: Apache-2.0
"""Two tensors brought to one scale first: traces of AddShifted and SquaredDifference."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.ops import AddShifted, SquaredDifference
from simulator.numerics.float_type import Array
from simulator.traces.steps import Int64, centred, round_shift, shifted


def _rescaled(
    op: AddShifted | SquaredDifference, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Int64]:
    """Return ``scaled_a``, ``rescaled_a`` and those of b, each in the shape of its operand."""
    found = {}
    for which, codes, multiplier, shift in (
        ("a", centred(operands[0], graph.tensors[op.a]), op.multiplier_a, op.shift_a),
        ("b", centred(operands[1], graph.tensors[op.b]), op.multiplier_b, op.shift_b),
    ):
        scaled = (codes << op.input_left_shift) * multiplier
        found[f"scaled_{which}"] = scaled
        found[f"rescaled_{which}"] = round_shift(scaled, shift, op.rounding, op.double_rounding)
    return found


def add_shifted(op: AddShifted, graph: IntGraph, operands: Sequence[Array]) -> dict[str, Array]:
    """Return both operands at the common scale, their sum or difference, and what it becomes."""
    found = _rescaled(op, graph, operands)
    a, b = found["rescaled_a"], found["rescaled_b"]
    name, joined = ("difference", a - b) if op.subtract else ("sum", a + b)
    return {**found, name: joined, **_finished(op, graph, joined)}


def squared_difference(
    op: SquaredDifference, graph: IntGraph, operands: Sequence[Array]
) -> dict[str, Array]:
    """Return both operands at the common scale, their difference, and what its square becomes."""
    found = _rescaled(op, graph, operands)
    difference = found["rescaled_a"] - found["rescaled_b"]
    square = difference * difference
    return {**found, "difference": difference, "square": square, **_finished(op, graph, square)}


def _finished(
    op: AddShifted | SquaredDifference, graph: IntGraph, joined: Int64
) -> dict[str, Array]:
    return shifted(
        joined * op.multiplier,
        op.shift,
        op.rounding,
        op.overflow,
        graph.result(op),
        double=op.double_rounding,
    )
