# SPDX-License-Identifier: Apache-2.0
"""What fills the SRAM, in words and rows: figures that add up, and by how much it does not fit."""

from __future__ import annotations

import pytest

from aocq.records.costs import BufferRecord, MemoryRecord, PeakRecord
from reports.memory_plan import LISTED, fit, fullest, peak_in_words, peak_rows, too_many_bytes


def memory(**changes: int) -> MemoryRecord:
    values = {
        "sram_bytes": 262_144,
        "weight_bytes": 1,
        "model_size_bytes": 1,
        "peak_sram_bytes": 491_712,
        "peak_lower_bound_bytes": 491_712,
        "dram_bytes": 1,
    }
    return MemoryRecord(**(values | changes))


def buffer(name: str, kind: str, size: int, storage: str = "activation") -> BufferRecord:
    places = {"op": name, "offset": 0, "first": 0, "last": 1}
    return BufferRecord(name=name, type=kind, bytes=size, storage=storage, **places)


BUFFERS = [
    buffer("blocks.0.add", "s8", 37_824),
    buffer("blocks.0.mlp.fc1", "s8", 151_296),
    buffer("blocks.0.norm2", "s8", 37_824),
    buffer("blocks.0.mlp.act.wide", "s16", 302_592),
]
PEAK = PeakRecord(
    op="blocks.0.mlp.act.wide",
    bytes=491_712,
    buffers=["blocks.0.mlp.act.wide", "blocks.0.mlp.fc1", "blocks.0.add"],
)


def test_a_no_says_by_how_much():
    assert too_many_bytes(memory()) == 229_568
    assert fit(memory()) == (
        "No: 480.19 KiB at the peak, the profile has 256.00 KiB, 224.19 KiB too little."
    )
    assert too_many_bytes(memory(sram_bytes=491_712)) == 0
    assert fit(memory(sram_bytes=491_712)).startswith("Yes: 480.19 KiB at the peak")


def test_the_peak_is_told_by_what_fills_it_the_largest_first():
    assert peak_in_words(PEAK, BUFFERS) == (
        "Most at blocks.0.mlp.act.wide: 480.19 KiB = blocks.0.mlp.act.wide (s16, 295.50 KiB) + "
        "blocks.0.mlp.fc1 (s8, 147.75 KiB) + blocks.0.add (s8, 36.94 KiB)."
    )
    assert peak_rows(memory(), PEAK, BUFFERS) == [
        ("blocks.0.mlp.act.wide, s16", 302_592),
        ("blocks.0.mlp.fc1, s8", 151_296),
        ("blocks.0.add, s8", 37_824),
    ]


@pytest.mark.parametrize("number", [1, LISTED, LISTED + 1, LISTED + 3])
def test_rows_add_up_to_what_the_plan_needs(number):
    buffers = [buffer(f"t{i}", "s8", 100 + i, "temporary") for i in range(number)]
    total = sum(each.bytes for each in buffers)
    peak = PeakRecord(op="t0", bytes=total, buffers=[each.name for each in buffers])
    rows = peak_rows(memory(peak_sram_bytes=total + 7), peak, buffers)
    assert sum(size for _, size in rows) == total + 7
    assert rows[0] == (f"t{number - 1}, s8, temporary", 99 + number)
    assert rows[-1] == ("gaps between tensors", 7)
    assert len(rows) == min(number, LISTED) + (number > LISTED) + 1


def test_older_records_say_nothing_of_the_peak():
    assert fullest(None, BUFFERS) == []
    assert peak_in_words(None, []) == ""
    assert peak_rows(memory(), None, []) == []
