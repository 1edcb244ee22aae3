# SPDX-License-Identifier: Apache-2.0
"""A traffic plan as rows of text, from its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports.format import MISSING, count, kib

PLAN_HEAD = ("step", "cycles", "tiles m × n × k", "copied into SRAM", "in DRAM", "SRAM", "DRAM")


def plan_rows(plan: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return one row for every step: its cycles, its tiles, its tensors in DRAM, its traffic."""
    return [
        (
            step["name"],
            count(step["cycles"]),
            *_tiling(step["tiling"]),
            ", ".join(_outside(step)) or MISSING,
            kib(step["sram_bytes"]),
            kib(step["dram_bytes"]),
        )
        for step in plan["steps"]
    ]


def _tiling(tiling: Mapping[str, Any] | None) -> tuple[str, str]:
    if tiling is None:
        return MISSING, MISSING
    extents = " × ".join(str(tiling[name]) for name in ("m", "n", "k"))
    tiles = f"{count(tiling['tiles'])} of {extents}"
    if not tiling["copied"]:
        return tiles, MISSING
    how = [
        "sums stay" if tiling["stays"] == "sums" else f"{tiling['stays']} stays",
        "two buffers" if tiling["buffers"] == 2 else "one buffer",
        kib(tiling["sram_bytes"]),
    ]
    if tiling["partial_sums"] != "array":
        how.append(f"partial sums in {tiling['partial_sums'].upper()}")
    return tiles, f"{' and '.join(tiling['copied'])} ({', '.join(how)})"


def _outside(step: Mapping[str, Any]) -> Iterator[str]:
    yield from step["in_dram"]
    if step["weights_since"] is not None:
        yield f"(weights since {step['weights_since']})"
