# SPDX-License-Identifier: Apache-2.0
"""What a report says of the host's steps behind the graph, and of those that are in no figure."""

from __future__ import annotations

import pytest
from parsed_page import ParsedPage

from aocq.records.gates import Gates, judged
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.costs import estimate_rows, host_rows, host_sentence
from reports.markdown import markdown
from reports.ops import by_block
from reports.page import html
from reports.tables import summary_rows

Run = tuple[RunResult, list[LayerRow]]
STEPS = [
    {
        **{"name": "decode boxes", "operations": 66928, "functions": 11020},
        **{"bytes": 3332, "handover": 100, "cycles": 30_000},
    },
    {
        **{"name": "suppress overlaps", "operations": 33630, "functions": 1770},
        **{"bytes": 0, "handover": 0, "cycles": 10_000},
    },
]


def with_cycles(result: RunResult, **more: object) -> RunResult:
    plain = result.model_dump()
    plain["cycles"] |= more
    return RunResult.model_validate(plain)


def cycles_rows(result: RunResult) -> list[tuple[str, str, str]]:
    return estimate_rows(
        result.graph, result.memory, 8, result.cycles, result.latency_ms, result.fps, None, []
    )


@pytest.fixture
def behind(costed: Run) -> Run:
    """A run of which 40,000 more cycles are the host's."""
    result, rows = costed
    cycles = result.cycles
    kinds = {step["name"]: step["cycles"] for step in STEPS}
    total = cycles.total + 40_000
    by_kind = {**cycles.by_kind, **kinds}
    return with_cycles(result, total=total, by_kind=by_kind, host_steps=STEPS), rows


def test_the_hosts_steps_stand_in_every_form_of_a_report(behind: Run) -> None:
    result, rows = behind
    part = f"{100 * 40_000 / result.cycles.total:.2f} %"
    sentence = (
        f"Behind the graph the host takes {part} of the cycles to decode boxes and suppress "
        "overlaps, in the worst case."
    )
    assert host_sentence(result.cycles) == sentence
    page, text = ParsedPage(html(result, rows)), markdown(result, rows)
    assert sentence in text
    assert sentence in " ".join(page.text.split())
    assert ("host ESTIMATED", sentence) in summary_rows(result)
    assert host_rows(result.cycles)[0][:6] == (
        *("decode boxes", "66,928", "11,020", "3,332", "100", "30,000"),
    )
    assert "| decode boxes | 66,928 | 11,020 | 3,332 | 100 | 30,000 |" in text


def test_cycles_that_the_host_bounds_are_not_called_those_of_ops(behind: Run) -> None:
    result, _ = behind
    bounds = {**result.cycles.bound_by, "host": 40_000}
    rows = cycles_rows(with_cycles(result, bound_by=bounds))
    assert ("  bound by host", "40,000") in [row[:2] for row in rows]
    assert not any("ops bound" in what for what, *_ in rows)


def test_blocks_and_the_host_are_all_of_the_cycles(behind: Run) -> None:
    result, rows = behind
    blocks = by_block(rows, result.cycles.host_steps)
    assert [block.name for block in blocks[-2:]] == ["decode boxes", "suppress overlaps"]
    assert sum(block.cycles for block in blocks) == result.cycles.total
    assert ">host<" in html(result, rows), "the legend of cycles by block"


def test_work_that_is_in_no_figure_is_told_wherever_a_figure_is_judged(costed: Run) -> None:
    result, rows = costed
    left_out = with_cycles(result, left_out=["decode boxes", "suppress overlaps"])
    said = "without the host's work (decode boxes and suppress overlaps): the profile has no"
    limits = Gates(max_latency_ms=1000.0, min_fps=1.0, max_dram_bytes=10**9)
    gates = {gate.name: gate.reason for gate in judged(left_out, limits).verdict.results}
    assert said in gates["max_latency_ms"]
    assert said in gates["min_fps"]
    assert said not in gates["max_dram_bytes"]
    for text in (html(left_out, rows), markdown(left_out, rows), str(summary_rows(left_out))):
        assert said in text.replace("&#39;", "'")


def test_a_run_without_such_work_says_nothing_of_it(costed: Run) -> None:
    result, rows = costed
    assert host_sentence(result.cycles) == ""
    assert "Behind the graph" not in html(result, rows)
    assert "host ESTIMATED" not in dict(summary_rows(result))
