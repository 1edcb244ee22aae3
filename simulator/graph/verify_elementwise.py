# SPDX-License-Identifier: Apache-2.0
"""The rules of element-wise ops and of LayerNorm's other forms: rows for ``verify``."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.graph.elementwise_ops import (
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    ShiftGelu,
    SquaredDifference,
)
from simulator.graph.graph import IntGraph
from simulator.graph.normalization_ops import LayerNormBisection
from simulator.graph.op import Op
from simulator.graph.ops import LayerNorm, Mean
from simulator.numerics.fixed_point import LARGEST_SHIFT
from simulator.numerics.rescaling import RescaleRule

Shape = tuple[int, ...]


def two_operand_shape(op: Op, shapes: list[Shape], _: Shape) -> Shape:
    """Return the shape of a, with the longer of both last dimensions."""
    a, b = shapes
    leading = a[:-1]
    if leading[len(leading) - len(b) + 1 :] != b[:-1] or len(b) > len(a):
        raise ValueError(f"cannot {op.kind} {a} and {b}: leading dimensions differ")
    if a[-1] != b[-1] and 1 not in {a[-1], b[-1]}:
        raise ValueError(f"cannot {op.kind} {a} and {b}: last dimensions differ")
    return (*leading, max(a[-1], b[-1]))


def mean_shape(op: Mean, shapes: list[Shape], _: Shape) -> Shape:
    """Return the shape of a without dimension ``axis``, or with one element there."""
    (a,) = shapes
    if not 0 <= op.axis < len(a):
        raise ValueError(f"axis {op.axis} of {a}")
    if len(a) == 1 and not op.keep_dimension:
        raise ValueError(f"the mean of all of {a} keeps its dimension")
    return (*a[: op.axis], *((1,) if op.keep_dimension else ()), *a[op.axis + 1 :])


def elementwise_parameters_fit(graph: IntGraph, op: Op) -> Iterator[str]:
    """Plain integers of an op lie where its formula and its kernel want them."""
    if isinstance(op, (AddShifted, SquaredDifference)):
        yield from _common_scale(op)
    elif isinstance(op, InterpolatedLookup):
        yield from _interpolation(graph, op)
    elif isinstance(op, GeluPolynomial):
        yield from _within("erf_shift", op.erf_shift, 0, LARGEST_SHIFT)
        yield from _within("sum_shift", op.sum_shift, 0, LARGEST_SHIFT)
        yield from _within("intermediate_bits", op.intermediate_bits, 2, 64)
        yield from _within("clip", op.clip, 0, (1 << 31) - 1)
    elif isinstance(op, ShiftGelu):
        yield from _within("octave", op.octave, 1, (1 << 31) - 1)
        yield from _within("fraction_bits", op.fraction_bits, 0, LARGEST_SHIFT)
        yield from _within("output_bits", op.output_bits, 1, 32)
    elif isinstance(op, LayerNormBisection):
        yield from _within("shift", op.shift, 0, LARGEST_SHIFT)
    elif isinstance(op, LayerNorm):
        yield from _within("root_steps", op.root_steps, 0, 64)
        yield from _within("root_start_bits", op.root_start_bits, 0, 31)
        if op.root_start_bits and not op.root_steps:
            yield "root_start_bits without root_steps: an exact root has no start"


def _within(name: str, value: int, low: int, high: int) -> Iterator[str]:
    if not low <= value <= high:
        yield f"{name} {value}: must be {low}..{high}"


def _common_scale(op: AddShifted | SquaredDifference) -> Iterator[str]:
    yield from _within("input_left_shift", op.input_left_shift, 0, 31)
    for name in ("shift_a", "shift_b", "shift"):
        yield from _within(name, getattr(op, name), 0, LARGEST_SHIFT)
    for name in ("multiplier_a", "multiplier_b", "multiplier"):
        yield from _within(name, getattr(op, name), 0, (1 << 31) - 1)
    rule = RescaleRule(
        rounding=op.rounding, overflow=op.overflow, double_rounding=op.double_rounding
    )
    yield from rule.problems()


def _interpolation(graph: IntGraph, op: InterpolatedLookup) -> Iterator[str]:
    bits = graph.tensors[op.a].code_type.bits
    yield from _within("shift", op.shift, 0, LARGEST_SHIFT)
    yield from _within("fraction_bits", op.fraction_bits, 0, bits)
    if 0 <= op.fraction_bits <= bits:
        entries, wanted = graph.tensors[op.table].shape, (1 << bits - op.fraction_bits) + 1
        if entries != (wanted,):
            yield (
                f"table has shape {entries}, wanted ({wanted},) for {bits}-bit codes with "
                f"{op.fraction_bits} fraction bits"
            )
