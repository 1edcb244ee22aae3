# SPDX-License-Identifier: Apache-2.0
"""Network, data, classes and number of images: in titles, and in tables where rows differ."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from built_run import build_with_costs
from parsed_page import ParsedPage

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult, WidthsRecord
from reports.alike import (
    DIFFERENT_DATA,
    DIFFERENT_NETWORKS,
    DIFFERENT_WEIGHTS,
    UNKNOWN_DATA,
    warnings,
)
from reports.chip_figures import chips
from reports.markdown import markdown as report
from reports.page import html
from reports.rows import TableRow, run_row
from reports.sweep_table import csv_text, in_common, markdown, terminal, write_table
from reports.tables import heading, summary_rows

Run = tuple[RunResult, list[LayerRow]]
CIFAR = {"name": "cifar100", "classes": 100, "images": 401, "digest": "c1fa" * 16}
MICRO = {"img_size": 32, "depths": [2, 2, 2]}
TYPED = "img_size=32 depths=2,2,2"


def of(run: Run, data: dict[str, Any] | None = None, **model: Any) -> RunResult:
    plain = run[0].model_dump() | {"data": data}
    plain["model"] |= model
    return RunResult.model_validate(plain)


def row(run: Run, data: dict[str, Any] | None = None, **model: Any) -> TableRow:
    return run_row(of(run, data, **model), {}, "")


def test_a_page_is_titled_by_network_arguments_chip_data_classes_and_images(run: Run) -> None:
    result = of(run, CIFAR, name="swin", arguments=MICRO)
    title = f"swin ({TYPED}) on edge_npu_int8, 400 images of cifar100, 100 classes"
    assert heading(result) == title
    page = html(result, run[1])
    assert f"<title>NO: {title}</title>" in page
    assert f"<h1>{title}</h1>" in page
    assert CIFAR["digest"] in ParsedPage(page).text
    text = report(result, run[1])
    code = f"# `swin` (`{TYPED}`) on `edge_npu_int8`, 400 images of `cifar100`, 100 classes: NO\n"
    assert text.startswith(code)
    summary = dict(summary_rows(result))
    assert (summary["built with"], summary["data"]) == (TYPED, "cifar100, 100 classes")


def test_titles_of_older_records_say_what_is_known(run: Run) -> None:
    assert heading(of(run, name="vit")) == "vit on edge_npu_int8, 400 images"
    assert "data" not in dict(summary_rows(run[0]))


def test_names_of_data_stay_text(run: Run) -> None:
    hostile = "<script>`|*"
    result = of(run, CIFAR | {"name": hostile}, arguments={"a": hostile})
    page = html(result, run[1])
    assert hostile not in page
    assert hostile in ParsedPage(page).text
    assert report(result, run[1]).count("``<script>`\\|*``") == 1


def test_what_a_reader_should_know_is_on_the_page(run: Run) -> None:
    result = run[0].model_copy(update={"notes": ["EMA weights were taken <b>"]})
    assert "EMA weights were taken <b>" in ParsedPage(html(result, run[1])).text
    assert "- note: EMA weights were taken &lt;b&gt;\n" in report(result, run[1])


def test_what_rows_have_in_common_is_said_once(run: Run) -> None:
    rows = [row(run, CIFAR, arguments=MICRO)] * 2
    common = {"built with": TYPED, "data": "cifar100", "classes": "100", "images": "400"}
    assert in_common(rows) == common
    assert not {*common} & {*terminal(rows)[0]}
    text = markdown("T", rows)
    assert f"In all rows: built with {TYPED}, data cifar100, classes 100, images 400." in text
    assert DIFFERENT_DATA not in text


def test_networks_of_one_name_and_other_arguments_are_told_apart(run: Run) -> None:
    rows = [row(run, CIFAR), row(run, CIFAR, arguments=MICRO), row(run, CIFAR, arguments={"a": 1})]
    head, lines = terminal(rows)
    assert [line[head.index("built with")] for line in lines] == ["", TYPED, "a=1"]
    assert head.index("built with") == head.index("model") + 1
    assert not {"data", "classes", "images"} & {*head}
    assert in_common(rows) == {"data": "cifar100", "classes": "100", "images": "400"}
    found = csv.DictReader(io.StringIO(csv_text(rows)))
    assert [line["arguments"] for line in found] == ["", TYPED, "a=1"]


def test_runs_on_different_data_say_so_above_the_table(run: Run, tmp_path: Path) -> None:
    digits = CIFAR | {"name": "digits", "classes": 10, "digest": "d191" * 16}
    rows = [row(run, CIFAR), row(run, digits)]
    head, lines = terminal(rows)
    shown = [[line[head.index(name)] for name in ("data", "classes")] for line in lines]
    assert shown == [["cifar100", "100"], ["digits", "10"]]
    text = markdown("T", rows)
    assert text.index(DIFFERENT_DATA) < text.index("| model |")
    sets = "400 images of cifar100, 100 classes; 400 images of digits, 10 classes. "
    assert f"{DIFFERENT_DATA}: {sets}" in text
    write_table("t", "T", rows, tmp_path)
    plain = json.loads((tmp_path / "t.json").read_text("utf-8"))["rows"]
    assert [(r["data"], r["classes"], r["data_digest"]) for r in plain] == [
        ("cifar100", 100, "c1fa" * 16),
        ("digits", 10, "d191" * 16),
    ]


def test_data_of_one_name_are_told_apart_by_their_digests(run: Run) -> None:
    rows = [row(run, CIFAR), row(run, CIFAR | {"digest": "beef" * 16}), row(run, CIFAR)]
    head, lines = terminal(rows)
    shown = [line[head.index("data")] for line in lines]
    assert shown == ["cifar100 c1fac1fa", "cifar100 beefbeef", "cifar100 c1fac1fa"]
    assert DIFFERENT_DATA in markdown("T", rows)


def test_an_older_record_beside_a_new_one_has_a_dash(run: Run) -> None:
    rows = [row(run), row(run, CIFAR)]
    head, lines = terminal(rows)
    assert [line[head.index("data")] for line in lines] == ["—", "cifar100"]
    assert warnings(rows) == [f"Of 1 of 2 runs it is {UNKNOWN_DATA}: their records are older."]
    assert warnings([row(run), row(run)]) == [], "nothing is said to be known of any"


def test_rows_of_different_networks_are_named_above_the_table(run: Run) -> None:
    swin, micro = row(run, CIFAR, name="swin"), row(run, CIFAR, name="swin", arguments=MICRO)
    assert warnings([swin, swin]) == []
    (found,) = warnings([swin, micro, swin])
    assert found.startswith(f"{DIFFERENT_NETWORKS}: swin; swin ({TYPED}). ")
    assert found in markdown("T", [swin, micro])
    sized = TableRow(model="vit", method="sizes only", w_bits=8, a_bits=8)
    assert warnings([swin, sized])[0].startswith(f"{DIFFERENT_NETWORKS}: swin; vit. ")
    many = [row(run, CIFAR, name=f"vit{number}") for number in range(6)]
    assert ": vit0; vit1; vit2; vit3; and 2 more. " in warnings(many)[0]


def test_runs_of_one_network_with_other_weights_are_told_apart(run: Run) -> None:
    rows = [row(run, CIFAR), row(run, CIFAR, checkpoint_sha256="beef" * 16)]
    head, lines = terminal(rows)
    assert [line[head.index("weights")] for line in lines] == ["c0ffeec0", "beefbeef"]
    (found,) = warnings(rows)
    assert found.startswith(f"{DIFFERENT_WEIGHTS}, {rows[0].model}: sha256 beefbeef…; c0ffeec0…")
    other = row(run, CIFAR, name="vit", checkpoint_sha256="beef" * 16)
    assert not any(DIFFERENT_WEIGHTS in warning for warning in warnings([rows[0], other]))
    assert "weights" not in terminal([rows[0], other])[0]


def test_a_cell_without_a_run_sets_no_data_apart(run: Run) -> None:
    failed = TableRow(model="m", method="x", w_bits=4, a_bits=6, note="no run: 4 has no 6")
    rows = [row(run, CIFAR), failed]
    assert not {"data", "classes", "images"} & {*terminal(rows)[0]}
    assert in_common(rows)["data"] == "cifar100"


@pytest.mark.parametrize("arguments", [{}, MICRO])
def test_the_figure_of_chips_says_what_it_is_of(run: Run, arguments: dict[str, Any]) -> None:
    drawn = chips([row(run, CIFAR, name="swin", arguments=arguments)])
    assert drawn is not None
    built = f" ({TYPED})" if arguments else ""
    assert f"swin{built}, minmax W8A8, 400 images of cifar100" in drawn.svg


# --- widths of activations ------------------------------------------------------------------------


def test_a_run_says_its_widths_and_an_older_record_has_none(run: Run) -> None:
    plain = build_with_costs()[0]
    assert dict(summary_rows(plain))["widths"] == (
        "operands 8 bits, vector unit 8 bits, stream 16 bits"
    )
    assert "widths" not in dict(summary_rows(run[0]))
    found: dict[str, int | None] = {
        **{"operands": 4, "probabilities": 8, "vector": 8},
        **{"stream": 8, "ends": 8},
    }
    result = of_widths(plain, **found)
    said = "operands 4 bits, probabilities 8 bits, vector unit 8 bits, stream 8 bits, ends 8 bits"
    assert dict(summary_rows(result))["widths"] == said
    wide = of_widths(plain, **found, result=16)
    assert dict(summary_rows(wide))["widths"] == f"{said}, result 16 bits"
    like: dict[str, int | None] = {**found, "operands": 8, "ends": None}
    row = run_row(of_widths(plain, **like, result=16), {}, "a")
    assert row.widths == "operands 8 bits, vector unit 8 bits, stream 8 bits, result 16 bits"
    assert said in report(result, run[1])


def test_rows_of_one_table_are_told_apart_by_their_widths() -> None:
    plain = build_with_costs()[0]
    found = {"operands": 8, "probabilities": 8, "vector": 16, "stream": 16, "ends": None}
    rows = [run_row(of_widths(plain, **found), {}, "a"), run_row(plain, {}, "b")]
    assert [row.widths for row in rows] == [
        "operands 8 bits, vector unit 16 bits, stream 16 bits",
        "",
    ]
    assert "widths" in terminal(rows)[0]
    assert "widths" not in terminal(rows[1:])[0]
    assert in_common(rows[:1])["widths"] == rows[0].widths


def of_widths(result: RunResult, /, **widths: int | None) -> RunResult:
    method = result.method.model_copy(update={"widths": WidthsRecord.model_validate(widths)})
    return result.model_copy(update={"method": method})
