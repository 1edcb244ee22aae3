# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from reports.plan_table import PLAN_HEAD, plan_rows

STEP = {
    "name": "layer",
    "cycles": 1234,
    "sram_bytes": 2048,
    "dram_bytes": 1024,
    "in_dram": [],
    "tiling": None,
    "weights_since": None,
}
TILING = {
    "m": 197,
    "n": 96,
    "k": 192,
    "tiles": 6,
    "copied": ["B"],
    "stays": "B",
    "buffers": 2,
    "partial_sums": "array",
    "sram_bytes": 36_864,
}


def row(**changes):
    (found,) = plan_rows({"steps": [STEP | changes]})
    assert len(found) == len(PLAN_HEAD)
    return found


def test_a_step_without_tiles():
    assert row() == ("layer", "1,234", "—", "—", "—", "2.00 KiB", "1.00 KiB")


def test_what_lies_in_dram_and_what_comes_early():
    assert row(in_dram=["a", "b"])[4] == "a, b"
    assert row(in_dram=["a"], weights_since="softmax")[4] == "a, (weights since softmax)"


def test_tiles():
    assert row(tiling=TILING)[2:4] == (
        "6 of 197 × 96 × 192",
        "B (B stays, two buffers, 36.00 KiB)",
    )
    whole = TILING | {"copied": [], "stays": None, "buffers": None}
    assert row(tiling=whole)[2:4] == ("6 of 197 × 96 × 192", "—")
    split = {"copied": ["A", "B"], "stays": "sums", "buffers": 1, "partial_sums": "sram"}
    assert row(tiling=TILING | split)[3] == (
        "A and B (sums stay, one buffer, 36.00 KiB, partial sums in SRAM)"
    )
