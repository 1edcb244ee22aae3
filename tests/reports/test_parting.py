# SPDX-License-Identifier: Apache-2.0
"""Where the integers leave simulated quantization: named in the sentence, the page and Markdown."""

from __future__ import annotations

from parsed_page import ParsedPage

from reports.markdown import markdown
from reports.ops import parting_ops
from reports.page import html
from reports.tables import FOLLOWS_SIMULATION, parting_sentence


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


def test_most_differing_ops_come_first_and_equal_ones_in_graph_order(run):
    rows = _with_counts(run[1], COUNTS)
    names = ["blocks.0.attn.probs", "blocks.1.attn.probs", "blocks.0.norm1"]
    assert [row.op for row in parting_ops(rows)] == names
    assert [row.op for row in parting_ops(rows, 1)] == names[:1]
    assert parting_ops(_with_counts(run[1], {})) == []


def test_ops_are_called_responsible_where_too_few_images_agree(run):
    rows = _with_counts(run[1], COUNTS)
    few = parting_sentence(_agreeing(run[0], FOLLOWS_SIMULATION - 0.01), rows)
    assert "Responsible are blocks.0.attn.probs (181.00)" in few
    assert "364.50 codes per image differ" in few
    enough = parting_sentence(_agreeing(run[0], FOLLOWS_SIMULATION), rows)
    assert "Responsible" not in enough
    assert "blocks.0.norm1 (2.50)" in enough
    none = parting_sentence(_agreeing(run[0], 90.0), _with_counts(run[1], {}))
    assert "no op computes other codes" in none


def test_page_and_markdown_say_it(run):
    rows = _with_counts(run[1], COUNTS)
    result = _agreeing(run[0], 90.0)
    page, text = html(result, rows), markdown(result, rows)
    ParsedPage(page)
    for written in (page, text):
        assert "Where integers leave the simulation" in written
        assert "Responsible are" in written
    assert "| `blocks.0.attn.probs` |" in text
    section = page[page.index('id="parting"') : page.index('id="cost"')]
    assert section.count("<tr>") == 1 + len(COUNTS)
    bare = markdown(result, _with_counts(run[1], {}))
    assert "ops that differ" not in bare
