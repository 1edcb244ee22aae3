# SPDX-License-Identifier: Apache-2.0
"""One array of a dump beside what it should be: whether it is, and if not, how it differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.golden.check.diagnosis import Made, diagnose
from simulator.golden.check.made_of import made_of
from simulator.golden.check.patterns import Compared, Values
from simulator.golden.check.places import places
from simulator.golden.check.verdict import ArrayVerdict, Mismatch, Status
from simulator.golden.dump.folder import Dump
from simulator.golden.dump.values import DumpedArray, as_integers, code_type
from simulator.golden.files import load_array
from simulator.golden.manifest import RESULT, ArrayFile, OpEntry

_TOLD = 5  # mismatches of an array


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One array of a dump beside the golden one, or beside what should have come out instead."""

    dump: Dump
    entry: OpEntry
    key: str
    expected: Values
    dumped: DumpedArray

    @classmethod
    def read(cls, folder: Path, dump: Dump, entry: OpEntry, key: str) -> Subject:
        """Read an array of an op from the golden folder and from the dump.

        Raises
        ------
        InputError
            If a file is damaged.
        """
        path = entry.arrays[key]
        golden = load_array(folder, path, dump.manifest.files[path])
        return cls(
            dump=dump,
            entry=entry,
            key=key,
            expected=as_integers(golden),
            dumped=dump.read(path),
        )

    @property
    def file(self) -> ArrayFile:
        """What the manifest says of the array."""
        return self.dump.manifest.files[self.entry.arrays[self.key]]

    @property
    def same_number(self) -> bool:
        """Tell whether the dump has as many values as it should."""
        return self.dumped.values.size == self.expected.size

    @property
    def same_values(self) -> bool:
        """Tell whether all values are equal, whatever type and shape say."""
        return (
            self.same_number
            and not self.dumped.unknown
            and np.array_equal(self.dumped.values.ravel(), self.expected.ravel())
        )

    @property
    def equal(self) -> bool:
        """Tell whether type, shape and all values are equal."""
        return self.same_values and self.dumped.shape_problem is None

    def verdict(self, made: Made | None) -> ArrayVerdict:
        """Return equal, or a fault with its diagnosis."""
        verdict = self._described()
        if self.equal:
            return replace(verdict, status=Status.EQUAL)
        if self.same_values or self.dumped.unknown:
            return verdict
        compared = Compared(
            expected=self.expected,
            got=self.dumped.values,
            kind=code_type(self.file),
            itemsize=self.dumped.itemsize,
        )
        operands = None
        if made is not None and verdict.mismatches and self.key == RESULT:
            operands = made_of(made.one, made.operands, verdict.mismatches[0].index)
        return replace(
            verdict,
            findings=diagnose(compared, made, self.key),
            diagnosed=True,
            operands=operands,
        )

    def without_diagnosis(self, status: Status, note: str) -> ArrayVerdict:
        """Return that values differ, and why nothing else is said of it."""
        described = self._described()
        return replace(described, status=status, notes=(*described.notes, note))

    def _described(self) -> ArrayVerdict:
        verdict = undecided(self.dump, self.entry, self.key, Status.FAULT)
        problem, notes = self.dumped.shape_problem, self.dumped.notes
        if problem is not None and self.same_values:
            notes = (*notes, "all values are equal, in the order of the file")
        verdict = replace(
            verdict, values=self.expected.size, unknown=len(self.dumped.unknown), notes=notes
        )
        if not self.same_number:
            problem = problem or (
                f"has {self.dumped.values.size} values, wanted {self.expected.size}"
            )
            return replace(verdict, problem=problem)
        unequal = self._unequal()
        return replace(
            verdict,
            problem=problem,
            differing=int(unequal.sum()),
            mismatches=tuple(self._mismatches(unequal)),
            where=tuple(places(unequal)) if unequal.any() else (),
        )

    def _unequal(self) -> NDArray[np.bool_]:
        unequal: NDArray[np.bool_] = np.not_equal(
            self.dumped.values.reshape(self.expected.shape), self.expected
        )
        unequal.reshape(-1)[[*self.dumped.unknown]] = True
        return unequal

    def _mismatches(self, unequal: NDArray[np.bool_]) -> Iterator[Mismatch]:
        got = self.dumped.values.reshape(-1)
        for place in np.flatnonzero(unequal)[:_TOLD]:
            yield Mismatch(
                index=tuple(map(int, np.unravel_index(place, self.expected.shape))),
                expected=int(self.expected.reshape(-1)[place]),
                got=self.dumped.unknown.get(int(place), int(got[place])),
            )


def undecided(dump: Dump, entry: OpEntry, key: str, status: Status) -> ArrayVerdict:
    """Return the verdict on an array before anything is said of its values."""
    path = entry.arrays[key]
    return ArrayVerdict(
        op=entry.name,
        op_type=entry.op,
        array=key,
        path=path,
        place=dump.sources[path].file if dump.has(path) else "",
        kind=code_type(dump.manifest.files[path]),
        status=status,
    )
