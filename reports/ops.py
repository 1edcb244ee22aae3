# SPDX-License-Identifier: Apache-2.0
"""Rankings and sums of a run's ops: lowest SQNR, most mismatches, least headroom, cost by block."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from aocq.records.costs import HostStepRecord
from aocq.records.layers import SUMS, LayerRow

HOST = "host"  # in place of a kind of op, of what stands behind the graph
_COUNTED = re.compile(r"[^.]+\.\d+(\.(blocks|layers)\.\d+)?(?=\.|$)")  # and blocks of a stage
_SOFTMAX = re.compile("softmax|shiftmax")
THRESHOLDS_DB = (20.0, 10.0, 0.0)  # good, poor, noise as strong as the signal


@dataclass(frozen=True, slots=True)
class Measured:
    """An op whose SQNR is a number.

    change : SQNR minus that of the measured op before it in graph order; None for the first
    """

    row: LayerRow
    sqnr_db: float
    change: float | None


@dataclass(slots=True)
class BlockTotal:
    """Sums over the ops of one block."""

    name: str
    ops: int = 0
    macs: int = 0
    weight_bytes: int = 0
    cycles: int = 0
    cycles_by_kind: Counter[str] = field(default_factory=Counter)


def measured(rows: Iterable[LayerRow]) -> list[Measured]:
    """Return the ops with a finite SQNR, in graph order."""
    found: list[Measured] = []
    for row in rows:
        if row.sqnr_db is not None and math.isfinite(row.sqnr_db):
            change = row.sqnr_db - found[-1].sqnr_db if found else None
            found.append(Measured(row, row.sqnr_db, change))
    return found


def worst_ops(rows: Iterable[LayerRow], count: int = 10) -> list[Measured]:
    """Return the ops of lowest SQNR, worst first; of equals, the earlier one first."""
    return sorted(measured(rows), key=lambda op: (op.sqnr_db, op.row.index))[:count]


def first_below(rows: Iterable[LayerRow]) -> list[tuple[float, Measured]]:
    """Return, for every threshold that is crossed, the first op in graph order below it."""
    ops = measured(rows)
    firsts = [
        (level, next((op for op in ops if op.sqnr_db < level), None)) for level in THRESHOLDS_DB
    ]
    return [(level, op) for level, op in firsts if op is not None]


def steepest_fall(rows: Iterable[LayerRow]) -> Measured | None:
    """Return the op that loses most against the measured op before it; None if none loses."""
    falls = [op for op in measured(rows) if op.change is not None and op.change < 0]
    return min(falls, key=lambda op: op.change or 0.0, default=None)


def most_mismatches(rows: Iterable[LayerRow], count: int = 10) -> list[LayerRow]:
    """Return the ops that have mismatches with fake quantization, most first."""
    found = [row for row in rows if row.differing_codes]
    return sorted(found, key=lambda row: (-(row.differing_codes or 0.0), row.index))[:count]


def tightest(rows: Iterable[LayerRow], count: int = 10) -> list[LayerRow]:
    """Return the ops whose accumulators have the least headroom, the least first.

    Older records have no headroom: none.
    """
    found = [row for row in rows if row.headroom_bits is not None]
    return sorted(found, key=lambda row: (row.headroom_bits or 0, row.index))[:count]


def block_of(name: str) -> str:
    """Return the block of an op: ``blocks.3`` of ``blocks.3.attn.qkv``, ``head`` of ``head.fc``.

    A part after the first belongs to it only where it counts blocks, of a stage too:
    ``layers.0.blocks.1``; elsewhere it is a layer's own name.
    """
    counted = _COUNTED.match(name)
    return counted[0] if counted else name.partition(".")[0]


def sums_of_stream(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """Return the sums of the residual stream, in graph order: additions, layers that end on it.

    Older records do not mark additions; there all are taken but those into a softmax, which add
    positions or masks to scores.
    """
    marked = any(row.onto_residual for row in rows if row.kind in SUMS)
    found = [
        row for row in rows if row.onto_residual or (not marked and _may_be_on_stream(row, rows))
    ]
    return sorted(found, key=lambda row: row.index)


def _may_be_on_stream(row: LayerRow, rows: Sequence[LayerRow]) -> bool:
    if row.kind not in SUMS:
        return False
    later = (other for other in rows[row.index + 1 :] if other.kind not in SUMS)
    return not _SOFTMAX.search(next((other.kind for other in later), ""))


def by_block(rows: Sequence[LayerRow], host: Sequence[HostStepRecord] = ()) -> list[BlockTotal]:
    """Return the sums of every block, in order of first appearance, and the host's steps last."""
    blocks: dict[str, BlockTotal] = {}
    for row in rows:
        name = block_of(row.op)
        block = blocks.setdefault(name, BlockTotal(name))
        block.ops += 1
        block.macs += row.macs
        block.weight_bytes += row.weight_bytes
        block.cycles += row.cycles
        block.cycles_by_kind[row.kind] += row.cycles
    behind = [
        BlockTotal(step.name, cycles=step.cycles, cycles_by_kind=Counter({HOST: step.cycles}))
        for step in host
    ]
    return [*blocks.values(), *behind]
