# SPDX-License-Identifier: Apache-2.0
"""Columns of a table of runs on several chips: overflow, time, memory, feasible or not."""

from __future__ import annotations

from collections.abc import Sequence

from reports.format import MISSING, PERSISTENT, TRANSIENT, brief
from reports.limits import capital
from reports.rows import TableRow, score_titles

CHIP_COLUMNS = (
    *("float", "integer", "Δ", "agreement", "float ops"),
    *("persistent", "transient", "headroom", "cycles", "ms", "SRAM KiB", "mJ", "feasible"),
)
SIZE_COLUMNS = ("cycles", "ms", "SRAM KiB")


def scores_in_words(rows: Sequence[TableRow]) -> str:
    """Return what the columns of scores have, to begin a legend."""
    return f"{capital(score_titles(rows))} in percent, Δ: integer minus float, in points"


def chip_legend(rows: Sequence[TableRow]) -> str:
    """Return what the columns mean."""
    return (
        f"{scores_in_words(rows)}; float ops: of all ops of the graph; persistent: {PERSISTENT}; "
        f"transient: {TRANSIENT}; headroom: register bits that no completed sum used, in the op "
        "with the fewest. Cycles, ms, peak SRAM (of what the chip has) and energy are ESTIMATED, "
        "for one image. Feasible: activations fit the SRAM, gates passed if any were set, and "
        "overflow is not merely reported."
    )


def energy_cell(row: TableRow) -> str:
    """Return the energy of an image and the process that it is of: ``0.72 at 7 nm``."""
    if row.energy_mj is None:
        return MISSING
    process = "" if row.energy_nm is None else f" at {row.energy_nm:g} nm"
    return f"{row.energy_mj:,.3g}{process}"


def chip_cells(row: TableRow) -> dict[str, str]:
    """Return the cells of the columns of chips."""
    cells = {
        "persistent": brief(row.persistent),
        "transient": brief(row.transient),
        "headroom": MISSING if row.least_headroom_bits is None else str(row.least_headroom_bits),
        "cycles": brief(row.cycles),
        "ms": MISSING if row.latency_ms is None else f"{row.latency_ms:,.3f}",
        "feasible": MISSING if row.feasible is None else row.answer.lower(),
        "SRAM KiB": MISSING,
        "mJ": energy_cell(row),
    }
    if row.peak_sram_bytes is not None and row.sram_bytes is not None:
        cells["SRAM KiB"] = f"{row.peak_sram_bytes / 1024:,.1f} of {row.sram_bytes / 1024:,.0f}"
    return cells
