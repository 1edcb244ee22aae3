# SPDX-License-Identifier: Apache-2.0
"""Figures with their units as text, for sentences and tables of gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from simulator.sizes import kib

_WRITTEN: Mapping[str, Callable[[float], str]] = MappingProxyType(
    {
        "points": lambda value: f"{value:.2f} points",
        "%": lambda value: f"{value:.2f} %",
        "ms": lambda value: f"{value:,.3f} ms",
        "images/s": lambda value: f"{value:,.2f} images/s",
        "bytes": kib,
        "mJ": lambda value: f"{value:,.4g} mJ",
    }
)
_COUNTED = frozenset({"bytes", "points", "ops", "sums", "registers"})


def quantity(value: float, unit: str) -> str:
    """Write a figure with its unit: ``460.50 KiB``, ``2.500 ms``, ``3 sums``."""
    written = _WRITTEN.get(unit)
    if written is not None:
        return written(value)
    return bound(value, unit)


def bound(limit: float, unit: str) -> str:
    """Write a limit as it was asked for: ``2.5 ms``, ``384.00 KiB``."""
    if unit == "bytes":
        return kib(limit)
    return _exact(limit, unit)


def _exact(value: float, unit: str) -> str:
    noun = unit.removesuffix("s") if value == 1 and unit in _COUNTED else unit
    return f"{value:,} {noun}" if isinstance(value, int) else f"{value:,.12g} {noun}"


def compared(value: float, limit: float, unit: str) -> tuple[str, str]:
    """Write a figure and its limit, with as many digits as tell them apart."""
    if unit == "bytes":
        if kib(value) != kib(limit) or value == limit:
            return kib(value), kib(limit)
        return _exact(value, unit), _exact(limit, unit)
    written = quantity(value, unit)
    if value != limit and float(written.partition(" ")[0].replace(",", "")) == limit:
        written = bound(value, unit)
    return written, bound(limit, unit)
