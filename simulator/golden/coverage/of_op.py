# SPDX-License-Identifier: Apache-2.0
"""What vectors tell apart: for each op, which mistakes its operands and result would show.

A variant is *told apart* if one code of the vectors differs, *proven equal* if no operands
whatever make a difference (:mod:`simulator.golden.coverage.equal`), and else *not told apart*: RTL
that has this mistake passes these vectors. Of tables whose entries are computed with before they
become codes it is only said that all entries were *read*: a wrong one may round to the same codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from simulator.golden.coverage.equal import proven_equal
from simulator.golden.coverage.ties import count_ties
from simulator.golden.variants.all_of import variants
from simulator.golden.variants.constants import tables_of
from simulator.golden.variants.trial import Trial, is_fixed_point, requantization_of
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.op import Op
from simulator.graph.ops import (
    InterpolatedLookup,
    Lookup,
    NormalizedMatMul,
    Softmax,
    op_name,
)
from simulator.numerics.integer_type import IntArray, limits

# What a chip's arithmetic is made of, as opposed to the values of one network's constants.
MODES = (
    Family.ROUNDING,
    Family.DOUBLE_ROUNDING,
    Family.OVERFLOW,
    Family.ZERO_POINT_STAGE,
    Family.LEFT_SHIFT,
    Family.ARITHMETIC,
    Family.ACCUMULATOR_WIDTH,
    Family.ACCUMULATOR_OVERFLOW,
    Family.ACCUMULATOR_ORDER,
    Family.REGISTER,
    Family.SIGN,
    Family.TABLE,
)


class Verdict(StrEnum):
    """What vectors say of a variant."""

    TOLD_APART = "told apart"
    EQUAL = "proven equal"
    READ = "entries read"
    NOT_TOLD = "not told apart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One variant of an op.

    Attributes
    ----------
    differing
        codes of the vectors that the variant would have made otherwise; of a wrong table entry,
        how many entries would be seen
    reason
        of ``proven equal``: why; of a wrong table entry: how many were read
    """

    variant: str
    family: Family
    sentence: str
    verdict: Verdict
    differing: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What the vectors reach.

    Attributes
    ----------
    codes
        results
    negative_ties, positive_ties
        what was shifted was an exact tie, below zero and from zero on; none of ops without a shift
    saturated_low, saturated_high
        results outside the result's type, before its overflow rule
    operand_ends
        by operand, whether its lowest and its highest code occur
    shifts
        the different shifts
    entries
        by table, entries that were read, and all
    """

    codes: int
    negative_ties: int | None = None
    positive_ties: int | None = None
    saturated_low: int | None = None
    saturated_high: int | None = None
    operand_ends: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    shifts: tuple[int, ...] = ()
    entries: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCoverage:
    """Coverage of one op, or of one unit with several sets of vectors.

    Attributes
    ----------
    stands_for
        of a directed unit of a graph: the names of the graph's ops that it is made for
    """

    op: str
    kind: str
    reached: Reached
    rows: tuple[Row, ...]
    stands_for: tuple[str, ...] = ()

    def of(self, verdict: Verdict, families: Sequence[Family] = tuple(Family)) -> list[Row]:
        """Return the rows of a verdict, of some families."""
        return [row for row in self.rows if row.verdict is verdict and row.family in families]

    @property
    def missing(self) -> list[Row]:
        """Return the modes and widths that are not told apart, and tables not read in full."""
        return self.of(Verdict.NOT_TOLD, MODES)


def op_coverage(trial: Trial) -> OpCoverage:
    """Return what the operands of a trial tell apart."""
    return unit_coverage(trial.op.name, [trial])


def unit_coverage(
    name: str, trials: Sequence[Trial], stands_for: tuple[str, ...] = ()
) -> OpCoverage:
    """Return what several sets of vectors for one unit tell apart together.

    A variant is told apart if any set does so: the codes that differ are those of the first one.
    It is proven equal if it is for the constants of every set.
    """
    tried: dict[str, list[tuple[Trial, Variant]]] = {}
    for trial in trials:
        for variant in variants(trial.unit):
            tried.setdefault(variant.name, []).append((trial, variant))
    rows = [_row(pairs) for pairs in tried.values()]
    return OpCoverage(
        op=name,
        kind=op_name(trials[0].op),
        reached=_together([_reached(trial) for trial in trials]),
        rows=(*rows, *_entry_rows(trials)),
        stands_for=stands_for,
    )


def _row(pairs: Sequence[tuple[Trial, Variant]]) -> Row:
    """Return the verdict on one variant, tried on several sets of vectors."""
    variant = pairs[0][1]
    for trial, tried in pairs:
        differing = int((tried.codes(trial) != trial.truth).sum())
        if differing:
            return _of(variant, Verdict.TOLD_APART, differing=differing)
    reasons = []
    for trial, tried in pairs:
        reason = proven_equal(trial, tried)
        if reason is None:
            return _of(variant, Verdict.NOT_TOLD)
        reasons.append(reason)
    return _of(variant, Verdict.EQUAL, reason="; ".join(dict.fromkeys(reasons)))


def _of(variant: Variant, verdict: Verdict, *, differing: int = 0, reason: str = "") -> Row:
    return Row(
        variant=variant.name,
        family=variant.family,
        sentence=variant.sentence,
        verdict=verdict,
        differing=differing,
        reason=reason,
    )


def _reached(trial: Trial) -> Reached:
    """Return what a trial's operands reach."""
    ends = {}
    for operand, codes in zip(trial.op.operands, trial.operands, strict=True):
        tensor = trial.unit.tensors[operand]
        if not tensor.is_float and not trial.unit.is_constant(operand) and codes.size:
            kind = tensor.code_type
            ends[operand] = bool(codes.min() == kind.low), bool(codes.max() == kind.high)
    known: dict[str, Any] = {"codes": trial.truth.size, "operand_ends": ends}
    if is_fixed_point(trial.op) and getattr(trial.op, "normalisation", "reciprocal") != "division":
        known |= _shift_reached(trial)
    for table in tables_of(trial.op):
        used = entries_read(trial)
        if used is not None:
            entries = trial.unit.constants[getattr(trial.op, table)].size
            known.setdefault("entries", {})[table] = (len(used), entries)
    return Reached(**known)


def _shift_reached(trial: Trial) -> dict[str, Any]:
    """Return ties, shifts and what did not fit, of an op that ends in a right shift."""
    scaled, shifts = trial.scaled, trial.shifts
    negative, positive = count_ties(scaled, shifts)
    holder: Any = requantization_of(trial.op) or trial.op
    low, high = limits(trial.result.code_type, holder.overflow)
    # Between the two neighbours of what is shifted, whatever the mode: both ends are exact enough.
    zero_point = 0 if isinstance(trial.op, InterpolatedLookup) else trial.result.zero_point
    below = (scaled >> shifts) + zero_point
    return {
        "negative_ties": negative,
        "positive_ties": positive,
        "saturated_low": int((below < low).sum()),
        "saturated_high": int((below > high).sum()),
        "shifts": tuple(np.unique(shifts).tolist()),
    }


def entries_read(trial: Trial) -> IntArray | None:
    """Return the entries of its table that the operands read; None where it is not known here."""
    op: Op = trial.op
    codes = trial.operands[0].astype(np.int64)
    low = trial.unit.tensors[op.operands[0]].code_type.low
    if isinstance(op, Lookup):
        return np.unique(codes - low)
    if isinstance(op, InterpolatedLookup):
        first = np.unique((codes - low) >> op.fraction_bits)
        between = np.unique(((codes - low) >> op.fraction_bits)[_inside(codes - low, op)])
        return np.union1d(first, between + 1)
    if isinstance(op, NormalizedMatMul):
        return np.unique(codes)
    if isinstance(op, Softmax):
        return np.unique(codes.max(axis=-1, keepdims=True) - codes)
    return None


def _inside(distance: IntArray, op: InterpolatedLookup) -> Any:
    return (distance & ((1 << op.fraction_bits) - 1)) != 0


def _entry_rows(trials: Sequence[Trial]) -> Iterator[Row]:
    """Say of each table whether all its entries were read, by the fullest set of vectors.

    Where the result is the entry itself, any wrong entry that was read is seen, too.
    """
    for table in tables_of(trials[0].op):
        used = [entries_read(trial) for trial in trials]
        read = max((len(found) for found in used if found is not None), default=None)
        if read is None:
            continue
        entries = trials[0].unit.constants[getattr(trials[0].op, table)].size
        seen = Verdict.TOLD_APART if isinstance(trials[0].op, Lookup) else Verdict.READ
        yield Row(
            variant=f"{table}[any]",
            family=Family.TABLE,
            sentence=f"has one wrong entry in {table}, of {entries}",
            verdict=seen if read == entries else Verdict.NOT_TOLD,
            differing=read if seen is Verdict.TOLD_APART else 0,
            reason=f"table entries read: {read} of {entries}",
        )


def _together(parts: Sequence[Reached]) -> Reached:
    """Return what all sets reach; tables and operands by the set that has most of them."""

    def total(name: str) -> int | None:
        values = [getattr(part, name) for part in parts]
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    ends: dict[str, tuple[bool, bool]] = {}
    entries: dict[str, tuple[int, int]] = {}
    for part in parts:
        for operand, (low, high) in part.operand_ends.items():
            before = ends.get(operand, (False, False))
            ends[operand] = before[0] or low, before[1] or high
        for table, used in part.entries.items():
            entries[table] = max(entries.get(table, (0, 0)), used)
    return Reached(
        codes=sum(part.codes for part in parts),
        negative_ties=total("negative_ties"),
        positive_ties=total("positive_ties"),
        saturated_low=total("saturated_low"),
        saturated_high=total("saturated_high"),
        operand_ends=ends,
        shifts=tuple(sorted({shift for part in parts for shift in part.shifts})),
        entries=entries,
    )


def as_record(coverage: Iterable[OpCoverage]) -> list[dict[str, Any]]:
    """Return coverage as plain values for JSON."""
    return [asdict(one) for one in coverage]
