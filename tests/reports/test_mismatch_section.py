# SPDX-License-Identifier: Apache-2.0
"""Mismatches with fake quantization: in the sentence, the page and Markdown."""

from __future__ import annotations

from parsed_page import ParsedPage

from reports.markdown import markdown
from reports.ops import most_mismatches
from reports.page import html
from reports.tables import ENOUGH_AGREEMENT, mismatch_sentence


def _with_counts(rows, counts):
    return [
        row.model_copy(update={"differing_codes": counts.get(row.op, 0.0 if row.macs else None)})
        for row in rows
    ]


def _agreeing(result, percent):
    agreement = result.accuracy.agreement.model_copy(update={"integer_simulated": percent})
    accuracy = result.accuracy.model_copy(update={"agreement": agreement})
    return result.model_copy(update={"accuracy": accuracy})


COUNTS = {"blocks.0.norm1": 2.5, "blocks.1.attn.probs": 181.0, "blocks.0.attn.probs": 181.0}


def test_ops_with_most_mismatches_come_first_and_equal_ones_in_graph_order(run):
    rows = _with_counts(run[1], COUNTS)
    names = ["blocks.0.attn.probs", "blocks.1.attn.probs", "blocks.0.norm1"]
    assert [row.op for row in most_mismatches(rows)] == names
    assert [row.op for row in most_mismatches(rows, 1)] == names[:1]
    assert most_mismatches(_with_counts(run[1], {})) == []


def test_ops_are_called_responsible_where_too_few_images_agree(run):
    rows = _with_counts(run[1], COUNTS)
    few = mismatch_sentence(_agreeing(run[0], ENOUGH_AGREEMENT - 0.01), rows)
    assert "Responsible are blocks.0.attn.probs (181.00)" in few
    assert "364.50 mismatches per image" in few
    enough = mismatch_sentence(_agreeing(run[0], ENOUGH_AGREEMENT), rows)
    assert "Responsible" not in enough
    assert "blocks.0.norm1 (2.50)" in enough
    none = mismatch_sentence(_agreeing(run[0], 90.0), _with_counts(run[1], {}))
    assert "no op has a mismatch" in none


def test_page_and_markdown_say_it(run):
    rows = _with_counts(run[1], COUNTS)
    result = _agreeing(run[0], 90.0)
    page, text = html(result, rows), markdown(result, rows)
    ParsedPage(page)
    for written in (page, text):
        assert "Mismatches with fake quantization" in written
        assert "Responsible are" in written
    assert "| `blocks.0.attn.probs` |" in text
    section = page[page.index('id="mismatches"') : page.index('id="time"')]
    assert section.count("<tr>") == 1 + len(COUNTS)
    bare = markdown(result, _with_counts(run[1], {}))
    assert "mismatches per image" not in bare
