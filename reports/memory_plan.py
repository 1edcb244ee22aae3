# SPDX-License-Identifier: Apache-2.0
"""What fills the SRAM at its fullest, and by how much it does not fit: as rows and as sentences."""

from __future__ import annotations

from collections.abc import Sequence

from aocq.records.costs import BufferRecord, MemoryRecord, PeakRecord
from reports.format import count, kib, plural

NAMED = 4  # buffers in a sentence
LISTED = 8  # buffers in a table


def fullest(peak: PeakRecord | None, buffers: Sequence[BufferRecord]) -> list[BufferRecord]:
    """Return the buffers that are alive at the peak, the largest first; none of older records."""
    if peak is None:
        return []
    by_name = {buffer.name: buffer for buffer in buffers}
    found = [by_name[name] for name in peak.buffers if name in by_name]
    return sorted(found, key=lambda buffer: -buffer.bytes)


def too_many_bytes(memory: MemoryRecord) -> int:
    """Return by how many bytes activations do not fit the SRAM; 0 where they do."""
    return max(0, memory.peak_sram_bytes - memory.sram_bytes)


def fit(memory: MemoryRecord) -> str:
    """Return whether activations fit the SRAM, and by how much they do or do not."""
    has = f"the profile has {kib(memory.sram_bytes)}"
    needs = f"{kib(memory.peak_sram_bytes)} at the peak, {has}"
    over = too_many_bytes(memory)
    return f"No: {needs}, {kib(over)} too little." if over else f"Yes: {needs}."


def peak_in_words(peak: PeakRecord | None, buffers: Sequence[BufferRecord]) -> str:
    """Return during which op the SRAM is fullest, and with what; empty for older records."""
    if peak is None:
        return ""
    found = fullest(peak, buffers)
    parts = [f"{each.name} ({each.type}, {kib(each.bytes)})" for each in found[:NAMED]]
    more = len(found) - NAMED
    rest = f" + {count(more)} smaller" if more > 0 else ""
    return f"Most at {peak.op}: {kib(peak.bytes)} = {' + '.join(parts)}{rest}."


def peak_rows(
    memory: MemoryRecord, peak: PeakRecord | None, buffers: Sequence[BufferRecord]
) -> list[tuple[str, int]]:
    """Return the peak's buffers as (what, bytes), the largest first; they add up to the peak.

    What the plan needs beyond them are gaps between buffers.
    """
    found = fullest(peak, buffers)
    shown, others = found[:LISTED], found[LISTED:]
    rows = [(f"{each.name}, {_kind(each)}", each.bytes) for each in shown]
    if others:
        rows.append((plural(len(others), "smaller tensor"), sum(each.bytes for each in others)))
    gaps = memory.peak_sram_bytes - (peak.bytes if peak else memory.peak_sram_bytes)
    return [*rows, ("gaps between tensors", gaps)] if gaps > 0 else rows


def _kind(buffer: BufferRecord) -> str:
    return buffer.type if buffer.storage == "activation" else f"{buffer.type}, {buffer.storage}"
