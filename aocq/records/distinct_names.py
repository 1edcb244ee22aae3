# SPDX-License-Identifier: Apache-2.0
"""Names that tell apart what is listed side by side."""

from __future__ import annotations

from collections.abc import Iterable


def distinct(names: Iterable[str]) -> list[str]:
    """Return the names in their order, with a number behind each that came before: ``w4a8 (2)``."""
    times: dict[str, int] = {}
    found = []
    for name in names:
        times[name] = number = times.get(name, 0) + 1
        found.append(f"{name} ({number})" if number > 1 else name)
    return found
