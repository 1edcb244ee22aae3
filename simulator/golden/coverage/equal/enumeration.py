# SPDX-License-Identifier: Apache-2.0
"""Proofs by trying all operands, all sums or all differences of scores, where these are few."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import numpy as np

from simulator.golden.coverage.ties import sums_interval
from simulator.golden.variants.changes import with_tensor
from simulator.golden.variants.trial import Trial, finished, requantization_of
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    Lookup,
    Mul,
    Rescale,
    Shiftmax,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxLog2,
    SoftmaxLut513,
    SquaredDifference,
)
from simulator.numerics.float_type import Array
from simulator.traces import trace

ELEMENTWISE: tuple[type[Op], ...] = (
    Add,
    AddShifted,
    GeluPolynomial,
    InterpolatedLookup,
    Lookup,
    Mul,
    Rescale,
    SquaredDifference,
)
MOST_OPERANDS = 1 << 16  # combinations of codes
MOST_ELEMENTS = 1 << 19  # combinations times elements
MOST_SUMS = 1 << 21  # sums times channels
# Softmaxes whose other parameters only make exponentials: the fields that are read beside them.
BY_EXPONENTIALS: Mapping[type[Op], tuple[str, ...]] = MappingProxyType(
    {
        SoftmaxGemmlowp: (),
        SoftmaxLut513: ("reciprocal_table",),
        SoftmaxIBert: (),
        Shiftmax: ("output_bits",),
        SoftmaxLog2: (),
    }
)


def operands(trial: Trial, variant: Variant) -> str | None:
    """Compare on all combinations of codes, for an op that computes element by element."""
    every = every_operand(trial.unit) if isinstance(trial.op, ELEMENTWISE) else None
    if every is None or not np.array_equal(variant.codes(every), every.truth):
        return None
    return f"equal for all {combinations(trial.unit):,} combinations of codes (enumerated)"


def combinations(unit: IntGraph) -> int:
    """Return the number of combinations of codes that activations of one element can have."""
    return prod(1 << unit.tensors[name].code_type.bits for name in unit.inputs)


def every_operand(unit: IntGraph) -> Trial | None:
    """Return a trial on every combination of codes, None where there are too many."""
    if not unit.inputs or combinations(unit) > MOST_OPERANDS:
        return None
    size = max(unit.tensors[name].size for name in unit.inputs)
    if combinations(unit) * size > MOST_ELEMENTS:
        return None
    kinds = [unit.tensors[name].code_type for name in unit.inputs]
    grids = np.meshgrid(*(np.arange(kind.low, kind.high + 1) for kind in kinds), indexing="ij")
    activations = {}
    for name, grid in zip(unit.inputs, grids, strict=True):
        tensor = unit.tensors[name]
        column = grid.reshape(-1, *(1,) * len(tensor.shape))
        whole = np.broadcast_to(column, (len(column), *tensor.shape))
        activations[name] = whole.astype(tensor.type.dtype)
    return Trial.of(unit, activations)


def exponentials(trial: Trial, variant: Variant) -> str | None:
    """Compare the exponentials of all differences, where nothing else depends on the change."""
    beside = BY_EXPONENTIALS.get(type(trial.op))
    if beside is None or variant.unit is None or variant.family is Family.SIGN:
        return None
    (other,) = variant.unit.ops
    if any(getattr(trial.op, field) != getattr(other, field) for field in beside):
        return None
    for field in beside:
        name = getattr(trial.op, field)
        same = variant.unit.constants.get(name) is trial.unit.constants.get(name)
        if isinstance(name, str) and not same:
            return None
    first, second = (_exponentials(unit) for unit in (trial.unit, variant.unit))
    if np.array_equal(first, second):
        return "every exponential of a difference is the same (enumerated)"
    return None


def _exponentials(unit: IntGraph) -> Array:
    """Return the exponential of every difference of two codes, by rows of two scores."""
    (op,) = unit.ops
    source = unit.tensors[op.operands[0]]
    kind = source.code_type
    pairs = np.full((1 << kind.bits, 2), kind.high, np.int64)
    pairs[:, 1] = np.arange(kind.low, kind.high + 1)
    of_two = with_tensor(with_tensor(unit, source.name, shape=(2,)), op.name, shape=(2,))
    return trace(op, of_two, [pairs.astype(source.type.dtype)])["exponentials"]


def sums(trial: Trial, variant: Variant) -> str | None:
    """Compare the last step on all sums between the bounds."""
    if variant.unit is None or requantization_of(trial.op) is None:
        return None
    if getattr(trial.op, "residual", None) is not None or not trial.same_sums(variant.unit):
        return None
    found, channels = sums_interval(trial.unit), trial.result.shape[-1]
    if found is None or (found[1] - found[0] + 1) * channels > MOST_SUMS:
        return None
    every = np.arange(found[0], found[1] + 1)[:, None] + np.zeros(channels, np.int64)
    first, second = (finished(unit, every, ()) for unit in (trial.unit, variant.unit))
    if np.array_equal(first, second):
        return f"equal for all sums from {found[0]:,} to {found[1]:,} (enumerated)"
    return None


PROOFS = (operands, exponentials, sums)
