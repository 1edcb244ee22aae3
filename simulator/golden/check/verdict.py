# SPDX-License-Identifier: Apache-2.0
"""The verdict on a dump: of every compared array whether it is right, and if not, what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from simulator.golden.check.patterns import Finding
from simulator.numerics.integer_type import IntType


class Status(StrEnum):
    """Verdict on one array of a dump."""

    EQUAL = "equal"
    FAULT = "fault"  # not what its op makes of its operands
    FOLLOWS = "follows"  # not the golden values, but what its op makes of the dump's own operands
    UNJUDGED = "unjudged"  # not the golden values, and its operands may be wrong already
    MISSING = "missing"  # asked for, and not in the dump


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One differing value.

    Attributes
    ----------
    index
        [image, ...] in the golden array
    expected, got
        codes; ``got`` is text where a value cannot be read
    """

    index: tuple[int, ...]
    expected: int
    got: int | str

    def told(self, kind: IntType) -> str:
        """Return both values in decimal and in hex, two's complement."""
        got = self.got if isinstance(self.got, str) else _number(self.got, kind)
        return f"expected {_number(self.expected, kind)}, got {got}"


def _number(value: int, kind: IntType) -> str:
    bits = kind.bits if kind.low <= value <= kind.high else 64
    return f"{value} (0x{value & ((1 << bits) - 1):0{-(-bits // 4)}x})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayVerdict:
    """Verdict on one array of a dump.

    Attributes
    ----------
    op, array
        of the manifest: the op's name, and ``result``, an intermediate, or an operand's field
    path, place
        file of the golden folder; file, and signal, of the dump
    values, differing, unknown
        how many values there are, differ, and have unknown bits (x, z) or a word with bits of no
        element
    problem
        what is wrong with type, shape or number of values; None where nothing is
    mismatches
        the first differing values
    operands
        what made the first differing value, name to numbers, in order of computation
    where
        the differing values by dimension, a line each
    findings
        candidates that make exactly the dump's values
    diagnosed
        whether candidates were tried
    notes
        what else was noticed
    """

    op: str
    op_type: str
    array: str
    path: str
    place: str
    kind: IntType
    status: Status
    values: int = 0
    differing: int = 0
    unknown: int = 0
    problem: str | None = None
    mismatches: tuple[Mismatch, ...] = ()
    operands: Mapping[str, str] | None = None
    where: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    diagnosed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpVerdict:
    """Verdict on a dump.

    Attributes
    ----------
    arrays
        in order of execution
    not_compared
        results of the golden folder that the dump has not
    unknown_files
        files of the dump that are of no array
    """

    golden: str
    dump: str
    arrays: tuple[ArrayVerdict, ...]
    not_compared: tuple[str, ...] = ()
    unknown_files: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """True if every array that was compared is equal."""
        return all(array.status is Status.EQUAL for array in self.arrays)

    @property
    def first_fault(self) -> ArrayVerdict | None:
        """The first array, in order of execution, that its own op made wrong."""
        return next((a for a in self.arrays if a.status is Status.FAULT), None)
