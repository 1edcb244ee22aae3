# SPDX-License-Identifier: Apache-2.0
"""Variants of how operands are read: their sign, their zero points, which is which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from simulator.golden.variants.changes import with_constant, with_op, with_tensor
from simulator.golden.variants.last_step import zero_point_changes
from simulator.golden.variants.trial import Trial
from simulator.golden.variants.variant import Family, Variant, unit_variant
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import (
    SPECS,
    Add,
    AddShifted,
    AnyMatMul,
    GeluPolynomial,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Rescale,
    ScaledMatMul,
    ShiftGelu,
    SquaredDifference,
)
from simulator.graph.ops.scaled_product import by_field
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntArray, IntType

# Ops whose formula has z_a; in softmax it cancels, a table has it inside.
READS_ZERO_POINTS: tuple[type[Op], ...] = (
    Add,
    AddShifted,
    GeluPolynomial,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    L2Norm,
    LayerNorm,
    LayerNormBisection,
    Mean,
    Mul,
    Rescale,
    ShiftGelu,
    SquaredDifference,
)
WIDEST_READ = 16  # bits of codes that are read as another type


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants of an op's operands."""
    (op,) = unit.ops
    spec = SPECS[type(op)]
    if spec.moves_codes or spec.real & {"operand"}:
        return
    yield from _signs(unit)
    if isinstance(op, MatMul):
        yield from _zero_points_in_a_bias(unit, op)
    if isinstance(op, ScaledMatMul):
        yield from _factors(unit, op)
    yield from _zero_points(unit)
    yield from _swapped(unit)


def read_as(codes: IntArray, kind: IntType) -> IntArray:
    """Return codes of ``kind.bits`` bits whose bits are read as ``kind``, with sign or without."""
    mask = (1 << kind.bits) - 1
    values = codes.astype(np.int64) & mask
    if kind.signed:
        values = np.where(values > kind.high, values - mask - 1, values)
    return values.astype(kind.dtype)


def _signs(unit: IntGraph) -> Iterator[Variant]:
    """Each operand's bits read with a sign where they have none, and the other way round."""
    (op,) = unit.ops
    present = [field for field in op.operand_fields if getattr(op, field) is not None]
    for index, field in enumerate(present):
        name = getattr(op, field)
        if not isinstance(name, str):
            continue
        # A code that is an index has no sign, and no chip shifts by a negative number of places.
        is_index = isinstance(op, NormalizedMatMul) and field == "a"
        if is_index or field == "block_exponent":
            continue
        kind = unit.tensors[name].code_type
        if not 1 < kind.bits <= WIDEST_READ:
            continue
        other = IntType(bits=kind.bits, signed=not kind.signed)
        yield Variant(
            name=f"{field}={'unsigned' if kind.signed else 'signed'}",
            family=Family.SIGN,
            sentence=f"reads {field}, which is {kind}, as {other}",
            codes=partial(_read, index=index, kind=other),
        )


def _read(trial: Trial, index: int, kind: IntType) -> Array:
    """Run the op with one operand read as another type."""
    name = trial.op.operands[index]
    codes = read_as(trial.operands[index], kind)
    unit = with_tensor(trial.unit, name, type=kind)
    if unit.is_constant(name):
        unit = with_constant(unit, name, codes)
    operands = [
        codes if operand == name else given
        for operand, given in zip(trial.op.operands, trial.operands, strict=True)
    ]
    return trial.codes_of(unit, operands)


def _zero_points(unit: IntGraph) -> Iterator[Variant]:
    (op,) = unit.ops
    fields: tuple[str, ...]
    if isinstance(op, AnyMatMul):
        fields = ("residual",) if op.residual is not None else ()
    else:
        fields = op.operand_fields if isinstance(op, READS_ZERO_POINTS) else ()
        if isinstance(op, GroupQuantize | GroupShift):
            fields = ("a",)  # scales have none
    for field in fields:
        tensor = unit.tensors[getattr(op, field)]
        for name, sentence, value in zero_point_changes(field, tensor.zero_point):
            changed = with_tensor(unit, tensor.name, zero_point=value)
            yield unit_variant(name, Family.ZERO_POINT, sentence, changed)


def _zero_points_in_a_bias(unit: IntGraph, op: MatMul) -> Iterator[Variant]:
    """The zero point of a layer's input, which is in its bias: ``-z_a`` times sums of weights."""
    if op.bias is None or not unit.is_constant(op.b):
        return
    axis = 1 if op.transpose_b else 0
    sums = unit.constants[op.b].sum(axis=axis, dtype=np.int64)
    bias = unit.constants[op.bias].astype(np.int64)
    zero_point = unit.tensors[op.a].zero_point
    for name, sentence, value in zero_point_changes("a", zero_point):
        changed = with_constant(unit, op.bias, bias - (value - zero_point) * sums)
        yield unit_variant(name, Family.ZERO_POINT, sentence, changed)


_FACTORS = (
    ("row_factor", 1, 0, "without the factors of rows"),
    ("row_factor", 1, 1, "each row by the factor of the next one"),
    ("column_factor", 1, 0, "without the factors of columns"),
    ("column_factor", 1, 1, "each column by the factor of the next one"),
    ("block_exponent", 0, 0, "without the exponents of blocks"),
    ("block_exponent", 0, 1, "each block by the exponent of the next one"),
)


def _factors(unit: IntGraph, op: ScaledMatMul) -> Iterator[Variant]:
    """Factors and exponents left out, and those of the next row, column or block."""
    given = by_field(op, op.operands)
    for field, neutral, step, words in _FACTORS:
        extents = unit.tensors[given[field]].shape if field in given else ()
        axis = -1 if field == "block_exponent" else -2
        if extents and (not step or extents[axis:][:1] > (1,)):
            yield Variant(
                name=f"{field}={'next' if step else neutral}",
                family=Family.SCALING,
                sentence=f"scales sums {words}",
                codes=partial(_scaled_by_others, field=field, neutral=neutral, step=step),
            )


def _scaled_by_others(trial: Trial, field: str, neutral: int, step: int) -> Array:
    """Run the op with other factors: the next ones, or such as change nothing."""
    place = trial.op.operands.index(getattr(trial.op, field))
    operands = list(trial.operands)
    if step:
        axis = -1 if field == "block_exponent" else -2
        operands[place] = np.roll(operands[place], -step, axis)
    else:
        operands[place] = np.full_like(operands[place], neutral)
    return trial.codes_of(trial.unit, operands)


def _swapped(unit: IntGraph) -> Iterator[Variant]:
    """Both operands exchanged, where they have one shape and are not the same."""
    (op,) = unit.ops
    if not isinstance(op, Add | AddShifted) or op.a == op.b:
        return
    if unit.tensors[op.a].shape != unit.tensors[op.b].shape or unit.is_constant(op.b):
        return
    factors = [("multiplier_a", "multiplier_b")]
    if isinstance(op, AddShifted):
        factors.append(("shift_a", "shift_b"))
    changes = {}
    for first, second in factors:
        changes[first], changes[second] = getattr(op, second), getattr(op, first)
    yield unit_variant(
        "operands=swapped",
        Family.CONSTANT,
        "multiplies each operand by the factor of the other",
        with_op(unit, **changes),
    )


def negative_constants(unit: IntGraph, name: str) -> IntType | None:
    """Return the unsigned type of a constant's bits, None where no code of it is negative."""
    kind = unit.tensors[name].type
    if not isinstance(kind, IntType) or not kind.signed or kind.bits > 62:
        return None
    return replace(kind, signed=False) if (unit.constants[name] < 0).any() else None
