# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
import re

import pytest
from built_run import build_with_costs
from parsed_page import ParsedPage

from aocq.records.layers import layers_csv
from reports.columns import columns
from reports.page import html
from reports.tables import summary_rows

LATER_COLUMNS = {
    **{"persistent": 1, "transient": 2, "changed": 3, "sum_bits": 20, "headroom_bits": -1},
    **{"differing_codes": 1.25, "passes": 3, "a_bits": 16, "b_bits": 4},
}
HOSTILE = "<script>alert('1')</script>\"&$x_1$|`"


@pytest.fixture(scope="module")
def text(run):
    return html(*run)


@pytest.fixture(scope="module")
def page(text):
    return ParsedPage(text)


def _hostile(run):
    """Return the run with markup in every text that comes from outside."""
    result, rows = run
    rows = [
        row.model_copy(update={"op": f"{HOSTILE}.{row.index}", "kind": HOSTILE, "shape": HOSTILE})
        for row in rows
    ]
    first = result.overflow.per_op[0].model_copy(update={"op": HOSTILE})
    return (
        result.model_copy(
            update={
                "command": [HOSTILE],
                "versions": {HOSTILE: HOSTILE},
                "model": result.model.model_copy(update={"name": HOSTILE}),
                "method": result.method.model_copy(update={"recipe": {HOSTILE: HOSTILE}}),
                "profile": result.profile.model_copy(
                    update={"title": HOSTILE, "sources": {"default": HOSTILE}}
                ),
                "overflow": result.overflow.model_copy(update={"per_op": [first]}),
                "verdict": result.verdict.model_copy(update={"failed": [HOSTILE]}),
            }
        ),
        rows,
    )


def _without_sqnr(run):
    result, rows = run
    return result, [row.model_copy(update={"sqnr_db": None}) for row in rows]


def test_same_run_gives_same_bytes(text, build_run):
    assert html(*build_run(2)) == text


def test_page_is_balanced_and_needs_nothing_from_outside(page, text):
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert not {"link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_links_lead_somewhere(page):
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references} <= set(page.ids)


def test_hostile_texts_stay_text(run):
    page = ParsedPage(html(*_hostile(run)))

    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert HOSTILE in page.tables["ops"][1][0]
    assert HOSTILE in page.text


def test_every_op_is_in_the_full_table_with_the_exact_figures(run, page):
    _, rows = run
    head, *body = page.tables["ops"]

    assert len(body) == len(rows)
    for row, cells in zip(rows, body, strict=True):
        shown = dict(zip(head, cells, strict=True))
        accumulator = row.accumulator_bits
        assert shown["Op"] == row.op
        assert (shown["Kind"], shown["Shape"], shown["Type"]) == (row.kind, row.shape, row.type)
        assert shown["Arithmetic"] == row.arithmetic
        assert shown["Bound by"] == row.bound_by
        assert shown["Accumulator bits"] == ("—" if accumulator is None else str(accumulator))
    exact = [row.sqnr_db for row in rows if row.sqnr_db is not None]
    assert [float(value) for value in page.exact["ops"]] == exact


def test_the_full_table_has_the_numbers_of_layers_csv(costed):
    """Column by column: none is left out, whatever columns come to be."""
    result, rows = costed
    rows = [row.model_copy(update=LATER_COLUMNS) for row in rows]
    page = ParsedPage(html(result, rows))
    head, *body = page.tables["ops"]
    written = [*csv.DictReader(io.StringIO(layers_csv(rows)))]
    names = [column.name for column in columns(rows)]
    assert {*names} == {*written[0]}
    assert len(head) == len(names) == len({*head})
    exact = iter(page.exact["ops"])
    for line, cells in zip(written, body, strict=True):
        for name, shown in zip(names, cells, strict=True):
            value = line[name]
            if value and name in ("sqnr_db", "differing_codes"):
                assert next(exact) == value
            elif name == "proven_free" and not line["accumulator_bits"]:
                assert shown == "—"
            else:
                plain = {"True": "yes", "False": "no", "": "—"}.get(value, value)
                assert shown.replace(",", "") == plain
    assert next(exact, None) is None


def test_worst_ops_come_worst_first(run, page):
    _, rows = run
    _, *body = page.tables["worst"]
    expected = sorted(
        (row for row in rows if row.sqnr_db is not None), key=lambda row: row.sqnr_db
    )[:10]

    assert [cells[0] for cells in body] == [row.op for row in expected]
    assert body[0][5] == "4.25 dB"


def test_verdict_names_the_failed_gates(run, page):
    assert "NO 2 conditions not met" in page.text
    for gate in run[0].verdict.failed:
        assert gate in page.text


def test_verdict_yes(run):
    result, rows = run
    verdict = result.verdict.model_copy(update={"feasible": True, "failed": []})
    page = ParsedPage(html(result.model_copy(update={"verdict": verdict}), rows))

    assert "YES activations fit the SRAM, gates passed: none set" in page.text


def test_hashes_estimates_and_sources_are_stated(run, page):
    result, _ = run

    assert result.graph.sha256 in page.text
    assert result.profile.sha256 in page.text
    assert result.model.checkpoint_sha256 in page.text
    assert page.text.count("ESTIMATED") > 5
    assert ["assumed", "every other value"] in page.tables["sources"]
    assert "aocq verify vit_tiny_patch16_224 --data 'my images/val'" in page.text


def test_page_says_what_the_summary_says(run, page):
    summary = dict(summary_rows(run[0]))

    for key in ("float top-1", "fake-quantized top-1", "logit SQNR", "latency ESTIMATED"):
        assert summary[key] in page.text


def test_run_without_any_sqnr(run):
    page = ParsedPage(html(*_without_sqnr(run)))

    assert "No op has a finite SQNR" in page.text
    assert page.exact["ops"] == []
    assert "worst" not in page.tables


def test_run_without_overflow_ops_or_checkpoint(run):
    result, rows = run
    overflow = result.overflow.model_copy(update={"per_op": [], "events": 0, "overflowing": 0})
    model = result.model.model_copy(update={"checkpoint_sha256": None})
    rows = [row.model_copy(update={"saturated": 0, "overflowed": 0}) for row in rows]
    page = ParsedPage(html(result.model_copy(update={"overflow": overflow, "model": model}), rows))

    assert "No accumulator overflowed and no result left its type." in page.text


def test_run_without_rows(run):
    page = ParsedPage(html(run[0], []))

    assert page.tables["ops"][1:] == []


@pytest.mark.parametrize("blocks", [12, 31])
def test_page_stays_small(build_run, blocks):
    result, rows = build_run(blocks)

    assert len(html(result, rows).encode()) < 1_000_000
    assert len(rows) in {199, 503}


def test_the_page_of_a_run_with_everything_stays_small():
    """As many ops as DeiT-Tiny has before layout: figures of memory and distributions included."""
    assert len(html(*build_with_costs(12)).encode()) < 800_000
