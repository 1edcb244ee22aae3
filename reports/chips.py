# SPDX-License-Identifier: Apache-2.0
"""Columns of a table of runs on several chips: overflow, time, memory, feasible or not."""

from __future__ import annotations

from collections.abc import Sequence

from reports.format import MISSING, PERSISTENT, TRANSIENT, brief
from reports.limits import capital
from reports.rows import TableRow, processes, score_titles

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
        "with the fewest. Cycles, ms, peak SRAM (of what the chip has) and energy"
        f"{of_process(rows)} are ESTIMATED, for one image. Feasible: activations fit the SRAM, "
        "gates passed if any were set, and overflow is not merely reported."
    )


def energy_cell(row: TableRow, rows: Sequence[TableRow]) -> str:
    """Return the energy of an image, with its process where rows are of several: ``0.72 at 7 nm``.

    Where all rows are of one, :func:`of_process` says it once.
    """
    if row.energy_mj is None:
        return MISSING
    process = f" at {row.energy_nm:g} nm" if len(processes(rows)) > 1 and row.energy_nm else ""
    return f"{row.energy_mj:,.3g}{process}"


def of_process(rows: Sequence[TableRow]) -> str:
    """Return the one process that all energies are of, to follow the word; else nothing."""
    found = processes(rows)
    return f" at {found[0]}" if len(found) == 1 else ""


def chip_cells(row: TableRow, rows: Sequence[TableRow]) -> dict[str, str]:
    """Return the cells of the columns of chips, for a row among others."""
    cells = {
        "persistent": brief(row.persistent),
        "transient": brief(row.transient),
        "headroom": MISSING if row.least_headroom_bits is None else str(row.least_headroom_bits),
        "cycles": brief(row.cycles),
        "ms": MISSING if row.latency_ms is None else f"{row.latency_ms:,.3f}",
        "feasible": MISSING if row.feasible is None else row.answer.lower(),
        "SRAM KiB": MISSING,
        "mJ": energy_cell(row, rows),
    }
    if row.peak_sram_bytes is not None and row.sram_bytes is not None:
        cells["SRAM KiB"] = f"{row.peak_sram_bytes / 1024:,.1f} of {row.sram_bytes / 1024:,.0f}"
    return cells
