# SPDX-License-Identifier: Apache-2.0
"""Persistent and transient overflow and headroom in the reports of one run."""

from __future__ import annotations

import pytest
from parsed_page import ParsedPage

from aocq.records.layers import LayerRow
from aocq.records.run import ProductRecord, RunResult
from reports.markdown import markdown
from reports.ops import tightest
from reports.page import html
from reports.tables import facts, in_accumulator, overflow_sentence

Run = tuple[RunResult, list[LayerRow]]


@pytest.fixture(scope="module")
def counted(run: Run) -> Run:
    """The run as a newer record has it: every accumulator with what happened in it."""
    result, rows = run
    told = []
    for row in rows:
        if row.accumulator_bits is None:
            told.append(row)
            continue
        needed = 20 + row.index % 3
        sums = {"sum_bits": needed, "headroom_bits": 21 - needed}
        sums |= {"persistent": 1, "transient": 2, "changed": 1} if row.overflowed else {}
        zero = {"persistent": 0, "transient": 0, "changed": 0}
        told.append(row.model_copy(update={**zero, **sums}))
    overflow = result.overflow.model_copy(
        update={"persistent": 1, "transient": 2, "changed": 1, "least_headroom_bits": -1}
    )
    return result.model_copy(update={"overflow": overflow}), told


def test_the_summary_tells_overflow_apart(counted: Run, run: Run) -> None:
    assert overflow_sentence(counted[0]).startswith("3 events (1 persistent, 2 transient); acc")
    assert overflow_sentence(run[0]).startswith("3 events; acc"), "an older record"


def test_a_run_that_only_counts_says_so_wherever_overflow_is_told(counted: Run) -> None:
    result, rows = counted[0], counted[1][-12:]
    note = "policy report: counted only, sums stay exact"

    def texts(policy: str | None, events: int = 3) -> tuple[str, str]:
        overflow = result.overflow.model_copy(update={"policy": policy, "events": events})
        found = result.model_copy(update={"overflow": overflow})
        return overflow_sentence(found) + markdown(found, rows), ParsedPage(html(found, rows)).text

    reported = texts("report")
    for text in reported:
        assert note in text
    assert reported[0].startswith(f"3 events (1 persistent, 2 transient); {note}; acc")
    assert "Policy report: overflow is counted only" in reported[1]
    for text in texts("apply, report"):
        assert note.replace(":", " in some ops:") in text
    for silent in (texts(None), texts("apply"), texts("error"), texts("report", 0)):
        for text in silent:
            assert "counted only" not in text


def test_markdown_has_the_sums_of_every_op_that_overflowed(counted: Run, run: Run) -> None:
    text = markdown(*counted)
    head = "| op | overflowed | persistent | transient | changed | headroom | saturated |"
    assert head in text
    worst = counted[0].overflow.per_op[0]
    [row] = [row for row in counted[1] if row.op == worst.op]
    assert f"| `{worst.op}` | 3 | 1 | 2 | 1 | {row.headroom_bits} |" in text
    assert "| least headroom | # | bits left |" in text
    old = markdown(*run)
    assert "| op | overflowed | saturated |" in old
    assert "least headroom" not in old


def test_the_page_has_the_sums_of_every_op(counted: Run) -> None:
    result, rows = counted
    page = ParsedPage(html(result, rows))
    head, first, *_ = page.tables["overflows"]
    assert head[:6] == ["Op", "Overflowed", "Persistent", "Transient", "Changed", "Headroom"]
    assert first[1:5] == ["3", "1", "2", "1"]
    head, *body = page.tables["ops"]
    for row, cells in zip(rows, body, strict=True):
        shown = dict(zip(head, cells, strict=True))
        for heading, value in (
            ("Persistent", row.persistent),
            ("Transient", row.transient),
            ("Changed", row.changed),
            ("Sum bits", row.sum_bits),
            ("Headroom", row.headroom_bits),
        ):
            assert shown[heading] == ("—" if value is None else str(value))
    assert [cells[2] for cells in page.tables["headroom"][1:]] == [
        str(row.headroom_bits) for row in tightest(rows)
    ]
    assert "1 persistently, 2 transiently" in page.text


def test_the_page_of_an_older_record_has_dashes_and_no_empty_table(run: Run) -> None:
    page = ParsedPage(html(*run))
    assert "headroom" not in page.tables
    assert page.tables["overflows"][0][:3] == ["Op", "Overflowed", "Saturated"]
    head, first, *_ = page.tables["ops"]
    assert len(first) == len(head)
    assert not {"Headroom", "Persistent", "Sum bits", "Mismatches"} & {*head}, (
        "of which it has none"
    )
    assert "persistently" not in page.text


def test_the_tightest_accumulators_come_first(counted: Run, run: Run) -> None:
    found = tightest(counted[1], 100)
    assert [row.headroom_bits for row in found] == sorted(
        row.headroom_bits for row in counted[1] if row.headroom_bits is not None
    )
    assert len(tightest(counted[1])) == 10
    assert tightest(run[1]) == []
    assert in_accumulator("nothing of that name", counted[1]) == ["—"] * 4


def test_products_are_told_with_their_reasons(run: Run) -> None:
    result, _ = run
    told = {
        "products": [
            ProductRecord(
                product_class="layer, 8-bit weights, 1576 x 192 x 768",
                ops=["blocks.0.mlp.fc1", "blocks.1.mlp.fc1"],
                backend="avx2",
                reason="1.50 times as fast as torch",
                gops={"avx2": 300.1, "blas": 93.0, "torch": 200.0},
                at_most=["blas"],
            ),
            ProductRecord(ops=["head"], backend="blas", reason="too small to measure"),
        ]
    }
    newer = result.model_copy(update={"emulation": result.emulation.model_copy(update=told)})
    found = dict(facts(newer))
    assert found["products: layer, 8-bit weights, 1576 x 192 x 768"] == (
        "avx2, 2 ops: 1.50 times as fast as torch "
        "(avx2 300, blas at most 93, torch 200 Gop/s on one core)"
    )
    assert found["products: others"] == "blas, 1 op: too small to measure"
    again = RunResult.model_validate_json(newer.to_json())
    assert again.emulation.products == told["products"]


def test_the_product_its_probe_and_sums_accumulated_in_order_are_told(run: Run) -> None:
    result, _ = run
    assert {"sums accumulated in order", "GEMM avx2"}.isdisjoint(dict(facts(result))), (
        "an older record"
    )
    told = {"gemm_probe": {"avx2": "exact", "torch": "not tried"}, "walked": 50, "sums": 4000}
    newer = result.model_copy(update={"emulation": result.emulation.model_copy(update=told)})
    found = dict(facts(newer))
    assert found["sums accumulated in order"] == "50 of 4,000 (1.25%)"
    assert (found["GEMM avx2"], found["GEMM torch"]) == ("exact", "not tried")
