# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest

from reports.format import count, decibel, kib, percent, plural, share, signed
from reports.markdown import markdown
from reports.page import html
from reports.sources import sources
from reports.tables import summary_rows


def _table(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first heading is ``heading``, without its head."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith(f"| {heading} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_a_network_that_is_not_what_its_name_says_is_shown_with_its_arguments(run):
    arguments = {"img_size": 32, "depths": [2, 2, 2]}
    model = run[0].model.model_copy(update={"arguments": arguments})
    rows = summary_rows(run[0].model_copy(update={"model": model}))
    assert rows[1] == ("built with", "img_size=32 depths=2,2,2")


def test_what_images_went_through_is_shown(run):
    preprocessing = {"input_size": [3, 32, 32], "mean": [0.5, 0.25, 0.5], "crop_mode": "center"}
    model = run[0].model.model_copy(update={"preprocessing": preprocessing})
    result = run[0].model_copy(update={"model": model})
    given = "input_size=3,32,32 mean=0.5,0.25,0.5 crop_mode=center"
    for written in (markdown(result, run[1]), html(result, run[1])):
        assert given in written


def test_figures_of_single_ops_say_on_how_many_images(run):
    accuracy = run[0].accuracy.model_copy(update={"sqnr_images": 32, "differing_images": 4})
    result = run[0].model_copy(update={"accuracy": accuracy})
    for written in (markdown(result, run[1]), html(result, run[1])):
        assert ", on 32 images." in written
        assert "no op has a mismatch, on 4 images." in written
    older = markdown(*run)
    assert "on 32 images" not in older
    assert "SQNR of each op's result." in older


def test_summary_is_what_is_printed_after_a_run(run):
    assert summary_rows(run[0]) == [
        ("model", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"),
        ("method", "minmax W8A8"),
        ("profile", "edge_npu_int8"),
        ("images", "400 images (1 skipped)"),
        ("float top-1", "82.75 %"),
        ("fake-quantized top-1", "0.50 %"),
        ("integer top-1", "0.25 % (-82.50 points)"),
        ("agreement with float", "0.25 %"),
        ("agreement with fake-quantized", "87.50 %"),
        ("logit SQNR", "-0.62 dB"),
        ("float ops", "0 of 39"),
        (
            "overflow",
            "3 events; accumulators: 12 proven free, 1 with none observed, 1 overflowing",
        ),
        ("peak SRAM ESTIMATED", "460.50 KiB (of 512.00 KiB, lower bound 443.25 KiB)"),
        ("cycles ESTIMATED", f"{run[0].cycles.total:,}"),
        ("latency ESTIMATED", f"{run[0].latency_ms:.3f} ms"),
        ("fps ESTIMATED", f"{run[0].fps:.2f}"),
        ("limit ESTIMATED", f"The MAC array, 91 % of cycles; {run[0].latency_ms:.3f} ms."),
        (
            "verdict",
            "NO: 2 conditions not met; "
            "integer top-1 0.25 % < 70.00 %; overflow: 3 events, 0 allowed",
        ),
    ]


def test_markdown_has_whole_tables(run):
    text = markdown(*run)
    widths = [
        len(re.split(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")
    ]

    assert text == markdown(*run)
    assert set(widths) >= {4, 5, 7}
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_markdown_names_the_worst_ops_in_order(run):
    worst = _table(markdown(*run), "worst ops")

    assert len(worst) == 10
    assert worst[0][:5] == ["`norm`", "36", "`layernorm`", "`s8`", "4.25 dB"]
    assert [float(cells[4].removesuffix(" dB")) for cells in worst] == sorted(
        float(cells[4].removesuffix(" dB")) for cells in worst
    )


def test_markdown_verdict(run):
    result, rows = run
    assert markdown(result, rows).startswith(
        "# `vit_tiny_patch16_224.augreg_in21k_ft_in1k` on `edge_npu_int8`, 400 images: NO\n\n"
        "**NO**: 2 conditions not met.\n\n- integer top-1 0.25 % &lt; 70.00 %\n"
    )
    yes = result.verdict.model_copy(update={"feasible": True, "failed": []})
    assert "**YES**: activations fit the SRAM, gates passed: none set." in markdown(
        result.model_copy(update={"verdict": yes}), rows
    )


def test_markdown_escapes_markup(run):
    result, rows = run
    hostile = "a|b`c``<script>"
    rows = [row.model_copy(update={"op": hostile}) for row in rows]
    verdict = result.verdict.model_copy(update={"failed": ["<script> *x* _y_ a_b | c"]})
    text = markdown(result.model_copy(update={"verdict": verdict}), rows)

    assert _table(text, "worst ops")[0][0] == "```a\\|b`c``<script>```"
    assert "- &lt;script&gt; \\*x\\* \\_y\\_ a_b \\| c" in text


def test_markdown_without_sqnr_and_without_overflow(run):
    result, rows = run
    rows = [row.model_copy(update={"sqnr_db": None}) for row in rows]
    overflow = result.overflow.model_copy(update={"per_op": []})
    text = markdown(result.model_copy(update={"overflow": overflow}), rows)

    assert "No op has a float tensor to compare with." in text
    assert "No result left its type." in text


def test_sources_are_grouped_with_the_default_last(run):
    assert sources(run[0]) == [
        ("datasheet 2.1", ["compute.clock_mhz", "memory.sram_bytes"]),
        ("measured with a memory copy of 1 MiB", ["memory.dram_bytes_per_cycle"]),
        ("assumed", ["every other value"]),
    ]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (percent(81.25), "81.25 %"),
        (percent(100.0), "100.00 %"),
        (signed(0.25), "+0.25"),
        (signed(-82.5), "-82.50"),
        (signed(-0.001), "0.00"),
        (signed(None), "—"),
        (count(1234567), "1,234,567"),
        (kib(471552), "460.50 KiB"),
        (decibel(-0.6171875), "-0.62 dB"),
        (decibel(None), "—"),
        (decibel(None, "no noise"), "no noise"),
        (share(0, 10), "0.00 %"),
        (share(1, 1_000_000), "< 0.01 %"),
        (share(1, 3), "33.33 %"),
        (share(0, 0), "—"),
        (plural(1, "gate"), "1 gate"),
        (plural(0, "event"), "0 events"),
    ],
)
def test_numbers_are_written_one_way(written, expected):
    assert written == expected
