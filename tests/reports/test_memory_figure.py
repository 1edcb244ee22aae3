# SPDX-License-Identifier: Apache-2.0
"""The memory timeline: what is alive at each pass, the peak, the budget, what lives in DRAM."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from aocq.records.costs import BufferRecord, PeakRecord
from reports.memory_figure import IN_DRAM, live_bytes, memory_timeline, spans


def buffer(name: str, size: int, first: str, last: str, offset: int | None = 0) -> BufferRecord:
    """A buffer from one moment to another, each written as ``op.pass``."""
    (begin, begin_pass), (end, end_pass) = (map(int, each.split(".")) for each in (first, last))
    return BufferRecord(
        name=name,
        op=name.partition("/")[0],
        type="s8",
        bytes=size,
        offset=offset,
        first=begin,
        first_pass=begin_pass,
        last=end,
        last_pass=end_pass,
        storage="temporary" if "/" in name else "activation",
    )


@pytest.fixture
def softmax_run(costed):
    """Three ops, of which the second takes three passes: two temporaries, never at once."""
    result, rows = costed
    rows = [row.model_copy(update={"passes": 3 if row.index == 1 else 1}) for row in rows[:3]]
    names = [row.op for row in rows]
    buffers = [
        buffer(names[0], 100, "0.0", "1.1"),
        buffer(f"{names[1]}/exponentials", 400, "1.0", "1.1", 112),
        buffer(f"{names[1]}/quotients", 500, "1.2", "1.2", 0),
        buffer(names[1], 100, "1.2", "2.0", 512),
    ]
    peak = PeakRecord(op=names[1], bytes=600, buffers=[buffers[2].name, buffers[3].name])
    memory = result.memory.model_copy(update={"peak_sram_bytes": 612, "sram_bytes": 512})
    changes = {"buffers": buffers, "peak": peak, "memory": memory}
    return result.model_copy(update=changes), rows


def texts(svg: str) -> list[str]:
    return [
        each.text or "" for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("}text")
    ]


def test_bytes_are_those_of_each_pass(softmax_run):
    result, rows = softmax_run
    lives = spans(result.buffers, rows)
    begins, finishes = zip(*lives, strict=True)
    assert begins == pytest.approx([-0.5, 0.5, 0.5 + 2 / 3, 0.5 + 2 / 3])
    assert finishes == pytest.approx([0.5 + 2 / 3, 0.5 + 2 / 3, 1.5, 2.5])
    edges, live = live_bytes(result.buffers, lives, len(rows))
    assert edges.tolist() == pytest.approx([-0.5, 0.5, 0.5 + 2 / 3, 1.5, 2.5])
    assert live["activation"].tolist() == [100, 100, 100, 100]
    assert live["temporary"].tolist() == [0, 400, 500, 0]
    assert sum(live.values()).max() == result.peak.bytes
    assert not live["weights"].any()


def test_passes_of_rows_that_do_not_count_them_are_those_that_buffers_name(softmax_run):
    result, rows = softmax_run
    older = [row.model_copy(update={"passes": None}) for row in rows]
    assert spans(result.buffers, older) == spans(result.buffers, rows)


def test_passes_without_number_take_no_memory(softmax_run):
    result, rows = softmax_run
    rows = [row.model_copy(update={"passes": 10**15}) for row in rows]
    assert memory_timeline(result, rows) is not None


def test_the_figure_names_the_peak_and_the_budget(softmax_run):
    result, rows = softmax_run
    svg = memory_timeline(result, rows)
    assert svg == memory_timeline(result, rows)
    words = " ".join(texts(svg))
    assert f"0.59 KiB during {result.peak.op}" in words
    assert "SRAM of the profile: 0.50 KiB" in words
    assert "in DRAM" not in words
    label = ElementTree.fromstring(svg).get("aria-label")
    assert "peak 0.60 KiB of 0.50 KiB" in label


def test_buffers_in_dram_are_alive_and_have_no_place(softmax_run):
    result, rows = softmax_run
    spilled = [
        each.model_copy(update={"offset": None}) if each.bytes == 500 else each
        for each in result.buffers
    ]
    result = result.model_copy(update={"buffers": spilled})
    _, live = live_bytes(result.buffers, spans(result.buffers, rows), len(rows))
    assert live[IN_DRAM].tolist() == [0, 0, 500, 0]
    assert live["temporary"].tolist() == [0, 400, 0, 0]
    words = " ".join(texts(memory_timeline(result, rows)))
    assert "in DRAM" in words
    assert f"{rows[1].op}/quotients" not in words  # the label of a place
    assert f"0.59 KiB during {result.peak.op}" in words


def test_a_budget_far_above_is_named_and_not_drawn(softmax_run):
    result, rows = softmax_run
    memory = result.memory.model_copy(update={"sram_bytes": 1 << 20})
    words = " ".join(texts(memory_timeline(result.model_copy(update={"memory": memory}), rows)))
    assert "SRAM of the profile: 1,024.00 KiB, above" in words


def test_older_records_have_no_timeline(run):
    result, rows = run
    assert memory_timeline(result, rows) is None
