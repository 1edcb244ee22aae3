# SPDX-License-Identifier: Apache-2.0
"""Variants of rotations and of scales of groups: order of rows, magnitudes, reciprocals."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from simulator.golden.variants.changes import with_op
from simulator.golden.variants.stage import rule_of, shifted, stored_codes
from simulator.golden.variants.trial import Trial, finished
from simulator.golden.variants.variant import Family, Variant, unit_variant
from simulator.graph.graph import IntGraph
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, Hadamard
from simulator.graph.ops.groups import LARGEST_TRIM
from simulator.numerics.float_type import Array
from simulator.numerics.hadamard import factors, hadamard_matrix


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants inside a rotation, a group's scale or codes by its reciprocal."""
    (op,) = unit.ops
    if isinstance(op, Hadamard):
        yield from _of_hadamard(unit, op)
    elif isinstance(op, GroupMaximum | GroupExponent):
        yield Variant(
            name="largest=signed",
            family=Family.SIGN,
            sentence="takes the largest value of a group, not the largest magnitude",
            codes=_largest_value,
        )
        if isinstance(op, GroupExponent) and op.trim:
            yield from _of_trim(unit, op)
    elif isinstance(op, GroupQuantize):
        for name, sentence, half, step in (
            ("reciprocal=rounded", "rounds the reciprocal to the nearest whole number", 1, 0),
            ("reciprocal+1", "the reciprocal is one too large", 0, 1),
            ("reciprocal-1", "the reciprocal is one too small", 0, -1),
        ):
            yield Variant(
                name=name,
                family=Family.RECIPROCAL,
                sentence=sentence,
                codes=partial(_with_reciprocal, half=half, step=step),
            )


def _of_trim(unit: IntGraph, op: GroupExponent) -> Iterator[Variant]:
    """Yield exponents of less, of more, or of a part that is rounded up."""
    for trim in {0, op.trim - 1, op.trim + 1} & {*range(LARGEST_TRIM + 1)}:
        yield unit_variant(
            f"trim={trim}",
            Family.FIELD,
            f"takes m >> {trim} off the largest magnitude m" if trim else "takes nothing off m",
            with_op(unit, trim=trim),
        )
    yield Variant(
        name="trim=up",
        family=Family.FIELD,
        sentence="rounds what it takes off the largest magnitude up",
        codes=_trimmed_up,
    )


def _of_hadamard(unit: IntGraph, op: Hadamard) -> Iterator[Variant]:
    if factors(op.order)[1] > 1:
        yield unit_variant(
            "order=half",
            Family.FIELD,
            "leaves out the last step: blocks of half the order",
            with_op(unit, order=op.order // 2),
        )
    rows = by_sequency(op.order)
    if (np.diff(rows) != 1).any():
        yield Variant(
            name="rows=sequency",
            family=Family.FIELD,
            sentence="orders results by how often their row changes its sign (sequency)",
            codes=partial(_reordered, rows=rows),
        )


def by_sequency(order: int) -> NDArray[np.intp]:
    """Return the rows of H in the order of how often they change their sign."""
    matrix = hadamard_matrix(order)
    return np.argsort((np.diff(matrix, axis=1) != 0).sum(axis=1), kind="stable")


def _reordered(trial: Trial, rows: NDArray[np.intp]) -> Array:
    sums = trial.sums.reshape(-1, len(rows))[:, rows].reshape(trial.sums.shape)
    return finished(trial.unit, sums, trial.operands)


def _trimmed_up(trial: Trial) -> Array:
    op = trial.op
    assert isinstance(op, GroupExponent)
    values = trial.operands[0].astype(np.int64) - trial.unit.tensors[op.a].zero_point
    largest = np.abs(values).reshape(*values.shape[:-1], -1, op.group).max(axis=-1)
    return _exponents(trial, largest + (-largest >> op.trim))


def _exponents(trial: Trial, trimmed: NDArray[np.int64]) -> Array:
    op = trial.op
    assert isinstance(op, GroupExponent)
    lengths = np.frexp(trimmed.astype(np.float64))[1]
    found: Array = np.maximum(lengths - (op.bits - 1), 0).astype(trial.result.type.dtype)
    return found


def _largest_value(trial: Trial) -> Array:
    op, result = trial.op, trial.result
    assert isinstance(op, GroupMaximum | GroupExponent)
    values = trial.operands[0].astype(np.int64) - trial.unit.tensors[op.a].zero_point
    largest = values.reshape(*values.shape[:-1], -1, op.group).max(axis=-1)
    if isinstance(op, GroupExponent):
        largest = np.maximum(largest, 0)
        return _exponents(trial, largest - (largest >> op.trim) if op.trim else largest)
    found: Array = np.maximum(largest, 1).astype(result.type.dtype)
    return found


def _with_reciprocal(trial: Trial, half: int, step: int) -> Array:
    op = trial.op
    assert isinstance(op, GroupQuantize)
    values = trial.operands[0].astype(np.int64) - trial.unit.tensors[op.a].zero_point
    divisor = np.maximum(trial.operands[1].astype(np.int64), 1)
    inverse = (op.numerator + half * (divisor // 2)) // divisor + step
    products = values * np.repeat(inverse, op.group, axis=-1)
    return stored_codes(trial, shifted(products, trial.shifts, rule_of(op)))
