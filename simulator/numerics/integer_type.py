# SPDX-License-Identifier: Apache-2.0
"""Integer types of any width from 1 to 64 bits, and what happens to values that do not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.integer]


class Overflow(StrEnum):
    """Treatment of a value outside the type it is stored in."""

    SATURATE = "saturate"
    SATURATE_SYMMETRIC = "saturate_symmetric"  # the most negative code is never produced
    WRAP = "wrap"  # the low bits are kept


@dataclass(frozen=True, slots=True, kw_only=True)
class IntType:
    """A two's-complement (signed) or plain binary (unsigned) integer of ``bits`` bits."""

    bits: int
    signed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64 or (self.bits == 64 and not self.signed):
            raise ValueError(f"{self}: an integer type has 1 to 64 bits (unsigned: to 63)")

    @property
    def low(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def dtype(self) -> np.dtype[np.integer]:
        """The smallest numpy type that holds every code."""
        for width in (8, 16, 32, 64):
            if self.bits <= width:
                return np.dtype(f"{'int' if self.signed else 'uint'}{width}")
        raise AssertionError(self)

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"

    @classmethod
    def parse(cls, text: str) -> IntType:
        """Read the form that ``str`` writes: ``s8``, ``u4``, ``s32``."""
        match = re.fullmatch(r"([su])(\d{1,2})", text)
        if match is None:
            raise ValueError(f"{text!r}: an integer type is written s8, u4, s32 …")
        return cls(bits=int(match[2]), signed=match[1] == "s")


INT32 = IntType(bits=32)


def limits(kind: IntType, overflow: Overflow) -> tuple[int, int]:
    """Return the smallest and largest code that ``overflow`` lets through."""
    if overflow is Overflow.SATURATE_SYMMETRIC and kind.signed:
        return -kind.high, kind.high
    return kind.low, kind.high


def fit(value: int, kind: IntType, overflow: Overflow) -> int:
    """Store ``value`` in ``kind``: the plain-Python meaning of every :class:`Overflow`."""
    low, high = limits(kind, overflow)
    if overflow is Overflow.WRAP:
        return (value - low) % (1 << kind.bits) + low
    return min(max(value, low), high)
