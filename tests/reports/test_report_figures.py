# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import matplotlib
import pytest

from reports import palette
from reports.figures import cycles_by_block, saturation, sqnr_along_depth
from reports.looks import kind_group, looks
from reports.ops import sums_of_stream

FIGURES = [sqnr_along_depth, cycles_by_block, saturation]
XLINK = "{http://www.w3.org/1999/xlink}"


def _texts(svg: str) -> list[str]:
    return [
        element.text or "" for element in ElementTree.fromstring(svg).iter() if _is_text(element)
    ]


def _is_text(element: ElementTree.Element) -> bool:
    return element.tag.endswith("}text")


@pytest.mark.parametrize("figure", FIGURES)
def test_figure_is_a_deterministic_svg_element(run, figure):
    svg = figure(run[1])

    assert svg == figure(run[1])
    assert svg.startswith('<svg role="img" aria-label="')
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "<style" not in svg
    assert "<metadata" not in svg


@pytest.mark.parametrize("figure", FIGURES)
def test_style_of_the_user_does_not_reach_a_figure(run, figure):
    expected = figure(run[1])
    with matplotlib.rc_context({"svg.hashsalt": "mine", "font.size": 20, "axes.facecolor": "red"}):
        assert figure(run[1]) == expected


def test_figure_is_the_same_in_another_process(run, build_run):
    code = (
        "import sys, runpy; from reports.figures import *; from reports.figures import saturation;"
    )
    code += "run = runpy.run_path(sys.argv[1])['build'](2);"
    code += "sys.stdout.write(sqnr_along_depth(run[1]))"
    built_run = __file__.replace("test_report_figures.py", "built_run.py")
    done = subprocess.run(
        [sys.executable, "-c", code, built_run], capture_output=True, text=True, check=True
    )

    assert done.stdout == sqnr_along_depth(run[1])


def _stream_line(rows):
    """Points of the line that joins sums: the one path in their colour that is not filled."""
    paths = re.findall(r"<path[^>]+>", sqnr_along_depth(rows))
    colour = looks(["add"])["add"].color
    return [
        re.findall(r"[ML] [-.\d]+ [-.\d]+", path) for path in paths if f"stroke: {colour}" in path
    ]


def test_layers_that_end_on_the_stream_are_on_its_line(run):
    """Where a layer and its addition are one op, no addition is left, and the line stays."""
    _, rows = run
    changes = {"kind": "matmul", "onto_residual": True}
    fused = [row.model_copy(update=changes) if row.kind == "add" else row for row in rows]
    sums = sum(row.sqnr_db is not None for row in sums_of_stream(fused))
    assert sums > 2
    assert _stream_line(fused) == _stream_line(rows)
    assert [len(points) for points in _stream_line(fused)] == [sums]
    plain = [row.model_copy(update={"onto_residual": False}) for row in fused]
    assert _stream_line(plain) == []


def test_depth_has_a_mark_per_measured_op_and_names_the_worst(run):
    _, rows = run
    svg = sqnr_along_depth(rows)
    with_sqnr = [row for row in rows if row.sqnr_db is not None]

    for row in with_sqnr:
        assert f'<a href="#op-{row.index}" tabindex="-1"><title>{row.op}: ' in svg
    assert svg.count('href="#op-') == len(with_sqnr)
    assert "norm" in _texts(svg)
    assert "blocks.1" in _texts(svg)
    assert "Lowest: norm, 4.25 dB." in svg


def test_text_takes_the_colour_of_the_page(run):
    svg = sqnr_along_depth(run[1])

    assert "currentColor" in svg
    assert "#767779" not in svg


@pytest.mark.parametrize("figure", FIGURES)
def test_hostile_names_stay_text(run, figure):
    hostile = "<b>$\\frac{x}{0}$</b>&\n\t\x00 日本"
    rows = [row.model_copy(update={"op": f"{hostile}{row.index}"}) for row in run[1]]

    assert "<b>" not in figure(rows)


def test_no_figure_where_there_is_nothing_to_see(run):
    nothing = {"sqnr_db": None, "cycles": 0, "saturated": 0}
    rows = [row.model_copy(update=nothing) for row in run[1]]

    assert [figure(rows) for figure in FIGURES] == [None, None, None]
    assert [figure([]) for figure in FIGURES] == [None, None, None]


@pytest.mark.parametrize("sqnr", [-70.5, 0.0, 35.0])
def test_single_op(run, sqnr):
    row = run[1][1].model_copy(update={"sqnr_db": sqnr, "saturated": 1})

    assert [figure([row]) is not None for figure in FIGURES] == [True, True, True]


def test_blocks_are_bars_in_order(run):
    texts = _texts(cycles_by_block(run[1]))

    assert [text for text in texts if text.startswith("blocks.")] == ["blocks.0", "blocks.1"]
    assert texts.index("patch_embed") < texts.index("blocks.0") < texts.index("head")


def test_positions_and_masks_added_to_scores_are_not_on_the_line(run):
    """As in Swin: they stand before a softmax, and their SQNR is not that of the stream."""
    _, rows = run
    swin = [
        row.model_copy(update={"kind": "add"}) if row.op.endswith("attn.scores") else row
        for row in rows
    ]
    assert [row.op for row in sums_of_stream(swin)] == [row.op for row in sums_of_stream(rows)]
    marked = [row.model_copy(update={"onto_residual": row.op.endswith("add2")}) for row in rows]
    assert [row.op for row in sums_of_stream(marked)] == ["blocks.0.add2", "blocks.1.add2"]
    (line,) = _stream_line(marked)
    assert len(line) == 2


def test_kinds_that_only_move_data_look_alike():
    assert kind_group("slice") == kind_group("concat") == "layout"
    assert kind_group("float_gelu") == kind_group("dequantize") == kind_group("quantize") == "float"
    assert list(looks(["slice", "matmul", "reshape"])) == ["matmul", "layout"]


def test_no_two_kinds_of_a_graph_look_alike():
    """Kinds of all sorts: common ones look as in every graph, others take what is free."""
    others = ["mul", "l2norm", "shift_gelu", "gelu_polynomial", "interpolated_lookup", "lookup"]
    others += [
        "softmax_ita",
        "softmax_lut513",
        "layernorm_bisection",
        *map("new_{}".format, range(20)),
    ]
    common = ["matmul", "add", "layernorm", "transpose", "float_mul"]
    found = looks([*others, *common])
    assert len(found) == len(others) + len(common)
    assert len({*found.values()}) == len(found)
    alone = looks(common)
    assert all(found[group] == look for group, look in alone.items())
    assert len({look.color for look in looks(common + others[:7]).values()}) == 12
    assert looks(["softmax_ita"])["softmax_ita"].color == looks(["softmax"])["softmax"].color


def test_bars_of_many_kinds_are_hatched_where_colours_repeat(run):
    rows = [row.model_copy(update={"kind": f"kind{row.index}", "cycles": 10}) for row in run[1]]
    svg = cycles_by_block(rows)
    assert svg.count("<pattern") >= 2
    assert {row.kind for row in rows} <= set(_texts(svg))


def test_every_colour_can_be_seen_on_white_and_on_near_black():
    """At least 3 : 1, as WCAG 2.1 has it for graphics; the formula is its relative luminance."""

    def luminance(color):
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color, _ in palette.SERIES:
        assert 1.05 / (luminance(color) + 0.05) >= 3, color
        assert (luminance(color) + 0.05) / (luminance("#14171a") + 0.05) >= 3, color
    assert len({color for color, _ in palette.SERIES}) == len({m for _, m in palette.SERIES}) == 12


def test_coordinates_are_short_and_numbers_in_texts_are_whole(run):
    """A tick of 0.001 % must not become one of 0.00 %."""
    svg = saturation(run[1])
    places = re.findall(r'(?:\bd|points|transform)="([^"]*)"', svg)
    assert places
    assert not [place for place in places if re.search(r"\.\d{3}", place)]
    assert any(re.fullmatch(r"0\.0+1 %", text) for text in _texts(svg))
