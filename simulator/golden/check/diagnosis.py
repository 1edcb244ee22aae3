# SPDX-License-Identifier: Apache-2.0
"""What makes the values of a dump: candidates are computed, and named where they make all of them.

First what can happen to any array on its way (:mod:`simulator.golden.check.patterns`), then what
a team could have built instead of the op (:mod:`simulator.golden.variants.all_of`). Where no
candidate makes the whole array, one that makes all values of the images or channels that differ
is named with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.golden.check.patterns import Compared, Finding, Values, patterns
from simulator.golden.dump.values import as_integers
from simulator.golden.one_op import OneOp, Operands
from simulator.golden.variants.all_of import variants
from simulator.golden.variants.constants import entry_variants, tables_of
from simulator.golden.variants.trial import Trial, accumulating, requantization_of
from simulator.golden.variants.variant import Variant
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Lookup

_FEW = 1 << 18  # values of the images that candidates are tried on first
_LISTED = 6  # wrong entries of a table


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The op that should have made the values, and its operands [images, ...] by name."""

    one: OneOp
    operands: Operands


def diagnose(compared: Compared, made: Made | None, array: str) -> tuple[Finding, ...]:
    """Return every candidate that makes the values of a dump.

    Parameters
    ----------
    made
        what made them; none of arrays that no op makes
    array
        ``result`` or ``accumulator``; of other arrays nothing is tried but what needs no op
    """
    found = [*patterns(compared)]
    if made is not None and compared.got.size == compared.expected.size:
        unit = _unit(made.one, array)
        if unit is not None:
            found += _of_op(compared, unit, made)
    return _without_doubles(found)


def _unit(one: OneOp, array: str) -> IntGraph | None:
    """Return the one-op graph whose result an array is."""
    if array == "result":
        return one.graph
    if array == "accumulator" and requantization_of(one.op) is not None:
        return accumulating(one.graph)
    return None


def _without_doubles(found: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple({finding.sentence: finding for finding in found}.values())


def _of_op(compared: Compared, unit: IntGraph, made: Made) -> Iterator[Finding]:
    got = compared.got.reshape(compared.expected.shape)
    attempt = _Attempt(unit, made.operands, compared.expected, got)
    if isinstance(made.one.op, Lookup):
        yield from _entries_of_a_lookup(made.one.op, unit, made.operands, compared)
        return
    whole = [*attempt.findings(variants(unit))]
    if not whole:
        whole = [*attempt.findings(_entries_of_tables(unit))]
    yield from whole or attempt.partial


def _entries_of_tables(unit: IntGraph) -> Iterator[Variant]:
    """Yield variants with one wrong entry of a table each."""
    (op,) = unit.ops
    for field in tables_of(op):
        entries = unit.constants[getattr(op, field)].size
        yield from entry_variants(unit, field, iter(range(entries)))


class _Attempt:
    """Variants tried on a few images first, then on all.

    Attributes
    ----------
    partial
        findings that hold of the images or channels that differ, and of no others
    """

    def __init__(self, unit: IntGraph, operands: Operands, expected: Values, got: Values) -> None:
        self.partial: list[Finding] = []
        self._expected, self._got = expected, got
        unequal = expected != got
        axes = tuple(range(1, unequal.ndim))
        images = np.flatnonzero(unequal.any(axis=axes))
        number = max(1, _FEW // max(1, expected[0].size))
        self._few = images[:number]
        self._scopes = dict(_scopes(unequal))
        self._all = Trial.of(unit, operands)
        self._some = Trial.of(unit, {name: codes[self._few] for name, codes in operands.items()})

    def findings(self, tried: Iterable[Variant]) -> Iterator[Finding]:
        """Yield variants that make the whole dump; others may be added to :attr:`partial`."""
        for variant in tried:
            codes = as_integers(variant.codes(self._some))
            held = [
                scope
                for scope, mask in self._scopes.items()
                if np.array_equal(codes[mask[self._few]], self._got[self._few][mask[self._few]])
            ]
            if not held:
                continue
            codes = as_integers(variant.codes(self._all))
            kind = str(variant.family)
            if np.array_equal(codes, self._got):
                yield Finding(kind=kind, sentence=variant.sentence)
                continue
            for scope in held:
                mask = self._scopes[scope]
                if np.array_equal(codes[mask], self._got[mask]):
                    self.partial.append(
                        Finding(kind=kind, sentence=f"{variant.sentence}, {scope} alone")
                    )
                    break


def _scopes(unequal: NDArray[np.bool_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield what to hold a candidate to: everything, or the images or channels that differ."""
    yield "", np.ones(unequal.shape, np.bool_)
    for axis, name in ((0, "image"), (unequal.ndim - 1, "channel")):
        others = tuple(i for i in range(unequal.ndim) if i != axis)
        touched = unequal.any(axis=others)
        if unequal.ndim > 1 and not touched.all():
            shape = [1] * unequal.ndim
            shape[axis] = -1
            mask = np.broadcast_to(touched.reshape(shape), unequal.shape)
            places = np.flatnonzero(touched).tolist()
            listed = ", ".join(map(str, places[:_LISTED])) + ", …" * (len(places) > _LISTED)
            yield f"in {name}{'s' * (len(places) > 1)} {listed}", mask


def _entries_of_a_lookup(
    op: Lookup, unit: IntGraph, operands: Operands, compared: Compared
) -> Iterator[Finding]:
    """Entries of a table, if the dump's values are a function of the operand's codes."""
    codes = as_integers(operands[op.a]).ravel() - unit.tensors[op.a].code_type.low
    got, table = compared.got.ravel(), as_integers(unit.constants[op.table])
    entries: NDArray[np.int64] = np.zeros(table.size, np.int64)
    entries[codes] = got
    if not np.array_equal(entries[codes], got):
        return
    used = np.unique(codes)
    wrong = used[entries[used] != table[used]]
    listed = ", ".join(
        f"entry {entry} is {entries[entry]}, not {table[entry]}" for entry in wrong[:_LISTED]
    )
    if len(wrong) > _LISTED:
        listed = f"{len(wrong)} of the {used.size} entries that were read differ: {listed}, …"
    yield Finding(kind="table entry", sentence=f"another table: {listed}")
    for step, name in ((1, "next"), (-1, "previous")):
        shifted = np.clip(used + step, 0, table.size - 1)
        if np.array_equal(entries[used], table[shifted]):
            yield Finding(kind="table entry", sentence=f"reads the table at the {name} index")
