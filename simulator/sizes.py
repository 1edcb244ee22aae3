# SPDX-License-Identifier: Apache-2.0
"""Sizes of memory as text: written in KiB, read with or without a unit."""

from __future__ import annotations

import re

# IEC 80000-13 for powers of 1024, SI for powers of 1000; lower case is the same unit.
UNITS = {
    "": 1,
    "b": 1,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
}
_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?) ?([a-z]*)", re.ASCII | re.IGNORECASE)
LARGEST = 2**63 - 1


def kib(size: float) -> str:
    """Write bytes as KiB: ``460.50 KiB``."""
    return f"{size / 1024:,.2f} KiB"


def parse_size(text: str) -> int:
    """Return the bytes that ``393216``, ``384KiB``, ``1.5 MiB`` or ``2MB`` stand for.

    Raises
    ------
    ValueError
        If the text is no size, is no whole number of bytes, or is above 2^63 - 1.
    """
    found = _SIZE.fullmatch(text.strip())
    unit = UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        raise ValueError(f"{text!r} is no size: wanted bytes, or a number with KiB, MiB or GiB")
    whole, _, part = found[1].partition(".")
    digits = int("1" + "0" * len(part))
    size, rest = divmod(int(whole + part) * unit, digits)
    if rest:
        raise ValueError(f"{text!r} is no whole number of bytes")
    if size > LARGEST:
        raise ValueError(f"{text!r} is more than {LARGEST} bytes")
    return size
