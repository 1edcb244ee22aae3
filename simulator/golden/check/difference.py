# SPDX-License-Identifier: Apache-2.0
"""Where two arrays differ, told in decimal and hex: type, shape and every value, no tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.float_type import Array

_SHOWN = 3  # mismatches that a message lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two arrays of one shape and type that differ.

    where : index arrays of the differing values, one per dimension, in row-major order
    """

    expected: Array
    got: Array
    where: tuple[NDArray[np.intp], ...]

    @property
    def count(self) -> int:
        """How many values differ."""
        return len(self.where[0]) if self.where else 1

    def index(self, number: int = 0) -> tuple[int, ...]:
        """Return the index of one of the differing values."""
        return tuple(int(places[number]) for places in self.where)


def type_problem(expected: Array, got: Array) -> str | None:
    """Return in what type and shape of two arrays differ; None where they do not.

    The byte order in memory is no part of the type.
    """
    kinds = [str(array.dtype.newbyteorder("=")) for array in (expected, got)]
    found = []
    if kinds[0] != kinds[1]:
        found.append(f"type is {kinds[1]}, wanted {kinds[0]}")
    if expected.shape != got.shape:
        found.append(f"shape is {[*got.shape]}, wanted {[*expected.shape]}")
    return "; ".join(found) or None


def difference(expected: Array, got: Array) -> Difference | None:
    """Return where two arrays of one shape and type differ; None where every value is equal.

    Floats are equal where their bits are: NaN equals the same NaN, and -0.0 is not 0.0.
    """
    unequal = bits_of(expected) != bits_of(got)
    if not unequal.any():
        return None
    return Difference(expected=expected, got=got, where=np.nonzero(unequal))


def bits_of(array: Array) -> Array:
    """Return the bits of floats as unsigned integers; other arrays as they are."""
    if array.dtype.kind != "f":
        return array
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return plain.view(f"u{array.dtype.itemsize}").reshape(array.shape)


def hex_of(value: Any) -> str:
    """Return a numpy number in hex, two's complement at the width of its type."""
    bits = int(np.asarray(bits_of(np.asarray(value))).item())
    width = 8 * np.asarray(value).dtype.itemsize
    return f"0x{bits & ((1 << width) - 1):0{width // 4}x}"


def told(found: Difference, most: int = _SHOWN) -> list[str]:
    """Return lines for people: how many values differ, and the first of them."""
    lines = [f"{found.count} of {found.expected.size} values differ"]
    for number in range(min(most, found.count)):
        index = found.index(number)
        expected, got = found.expected[index], found.got[index]
        lines.append(
            f"{'first at' if number == 0 else 'then at'} {[*index]}: "
            f"expected {expected} ({hex_of(expected)}), got {got} ({hex_of(got)})"
        )
    if found.count > most:
        lines.append(f"and {found.count - most} more")
    return lines
