# SPDX-License-Identifier: Apache-2.0
"""Memory files for ``$readmemh``: one word a line, two's complement at the stated width."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray, IntType


def digits(bits: int) -> int:
    """Return the hexadecimal digits of a word."""
    return -(-bits // 4)


def memory_text(codes: IntArray, kind: IntType) -> str:
    """Return the words of codes in row-major order.

    Raises
    ------
    ValueError
        If a code is outside its type.
    """
    flat = np.ascontiguousarray(codes).reshape(-1)
    if flat.size and not (kind.low <= int(flat.min()) and int(flat.max()) <= kind.high):
        raise ValueError(f"codes {flat.min()}..{flat.max()} do not fit {kind}")
    low_bits = flat.astype(np.int64).view(np.uint64) & np.uint64((1 << kind.bits) - 1)
    text = low_bits.astype(">u8").tobytes().hex()
    count = digits(kind.bits)
    return "".join(f"{text[end - count : end]}\n" for end in range(16, len(text) + 1, 16))


def memory_codes(text: str, kind: IntType) -> NDArray[np.int64]:
    """Read words back, int64 [words].

    Raises
    ------
    ValueError
        If a word is no hexadecimal number, as an undefined one (``x``) is not.
    """
    values = [int(word, 16) for word in text.split()]
    sign = 1 << (kind.bits - 1)
    if kind.signed:
        values = [value - 2 * sign if value & sign else value for value in values]
    return np.array(values, np.int64)
