# SPDX-License-Identifier: Apache-2.0
"""Figures of costs and of distributions: what they draw, and when there is nothing to draw."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from aocq.records.layers import LayerRow
from aocq.records.run import DistributionRecord, RunResult
from reports import palette
from reports.distribution_figure import distributions, in_range, narrowest
from reports.memory_figure import memory_timeline
from reports.roofline import roofline

Run = tuple[RunResult, list[LayerRow]]
FIGURES = [memory_timeline, roofline, distributions]


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("text")]


def lines(svg: str, color: str) -> list[list[tuple[float, float]]]:
    """Return the points of every path in a colour that is not filled."""
    paths = [path for path in re.findall(r"<path[^>]+>", svg) if f"stroke: {color}" in path]
    return [
        [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-.\d]+) ([-.\d]+)", path)]
        for path in paths
    ]


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_the_same_bytes_and_its_marks_lead_to_ops(costed: Run, figure) -> None:
    svg = figure(*costed)
    assert svg == figure(*costed)
    assert svg.startswith('<svg role="img" aria-label="')
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    linked = {int(number) for number in re.findall(r'href="#op-(\d+)"', svg)}
    assert linked <= {row.index for row in costed[1]}
    assert len(linked) > 5


@pytest.mark.parametrize("figure", FIGURES)
def test_hostile_names_stay_text(costed: Run, figure) -> None:
    result, rows = costed
    names = {row.op: f"<b>$x$</b>&{row.index}" for row in rows}
    rows = [row.model_copy(update={"op": names[row.op]}) for row in rows]
    parts = {
        "buffers": [
            b.model_copy(update={"op": names[b.op], "name": "<b>"}) for b in result.buffers
        ],
        "distributions": [
            each.model_copy(update={"op": names[each.op]}) for each in result.distributions
        ],
    }
    assert "<b>" not in figure(result.model_copy(update=parts), rows)


def test_older_records_and_empty_ones_have_no_such_figures(run: Run, costed: Run) -> None:
    assert memory_timeline(*run) is None
    assert distributions(*run) is None
    assert [figure(costed[0], []) for figure in FIGURES] == [None, None, None]
    resting = [row.model_copy(update={"macs": 0}) for row in costed[1]]
    assert roofline(costed[0], resting) is None


# --- memory ---------------------------------------------------------------------------------------


def test_the_budget_is_a_line_at_the_profiles_sram(costed: Run) -> None:
    result, rows = costed
    svg = memory_timeline(result, rows)
    assert svg is not None
    assert "SRAM of the profile: 512.00 KiB" in texts(svg)
    budgets = [line for line in lines(svg, palette.RED[0]) if len(line) == 2]
    assert len(budgets) == 2, "one in each panel"
    assert all(first[1] == second[1] for first, second in budgets)
    far = result.memory.model_copy(update={"sram_bytes": 2**30})
    above = memory_timeline(result.model_copy(update={"memory": far}), rows)
    assert above is not None
    assert "SRAM of the profile: 1,048,576.00 KiB, above" in texts(above)
    assert [line for line in lines(above, palette.RED[0]) if len(line) == 2] == []


def test_the_tensors_of_the_peak_bear_their_names(costed: Run) -> None:
    svg = memory_timeline(*costed)
    assert svg is not None
    assert "blocks.0.attn.probs.sums" in texts(svg)
    assert "blocks.0.attn.probs.sums (s32, 454.79 KiB)" in svg, "and so does pointing at one"


# --- roofline -------------------------------------------------------------------------------------


def test_no_product_is_above_the_roof(costed: Run) -> None:
    result, rows = costed
    arrays = result.profile.model_copy(update={"macs_per_cycle": 256.0})
    svg = roofline(result.model_copy(update={"profile": arrays}), rows)
    assert svg is not None
    found = texts(svg)
    assert {"256 MACs per cycle", "DRAM port, 3.2 GB/s", "by the MAC array"} <= {*found}
    assert "no weights from DRAM" in found
    plain = roofline(result.model_copy(update={"ports": {}}), rows)
    assert plain is not None
    assert not any("GB/s" in text or text[4:] == "MACs per cycle" for text in texts(plain))


# --- distributions --------------------------------------------------------------------------------


def test_values_are_parts_of_the_range_of_their_codes() -> None:
    found = DistributionRecord(
        op="x", least=-3.0, most=2.0, quantiles=[-2.0, -1.0, -0.5, 0, 0.5, 1, 2], low=-2.0, high=2.0
    )
    assert in_range(found) == [-0.25, 0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.0]
    assert in_range(found.model_copy(update={"low": None, "high": None})) is None
    assert in_range(found.model_copy(update={"low": 2.0})) is None


def test_the_least_filled_ranges_come_first(costed: Run) -> None:
    result, _ = costed
    wide, narrow = result.distributions[:2]
    quantiles = [value / 100 for value in narrow.quantiles]
    narrow = narrow.model_copy(update={"quantiles": quantiles})
    found = narrowest(result.model_copy(update={"distributions": [wide, narrow]}))
    assert [op for op, _ in found] == [narrow.op, wide.op]
    assert found[0][1] == pytest.approx(0.005)


def test_clipped_ends_are_told_from_others(costed: Run) -> None:
    svg = distributions(*costed)
    assert svg is not None
    assert {"the same, clipped", "codes", "25 to 75 %"} <= {*texts(svg)}
    assert "have clipped values, most of all head." in svg
