# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of accumulator widths, from records made up here."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from aocq.records.accumulator_widths import SweepRecord, SweepRow, load_sweep, save_sweep
from reports.accumulators import csv_text, figure, head, lines, markdown, summary, write_sweep
from reports.picture import Picture, picture

OUTPUTS = 1_000_000


def row(bits: int, overflow: str, persistent: int, transient: int, **more: Any) -> SweepRow:
    return SweepRow.model_validate(
        {
            "bits": bits,
            "overflow": overflow,
            "graph_sha256": "ab" * 32,
            "main_score": 50.0 + bits,
            "agreement": 60.0 + bits,
            "outputs": OUTPUTS,
            "persistent": persistent,
            "transient": transient,
            "changed": persistent + (transient if overflow == "saturate" else 0),
            "overflowing": 5 if persistent else 0,
            "least_headroom_bits": bits - 20,
            "first_persistent": 1,
            "first_transient": 2,
            "seconds": 1.5,
            **more,
        }
    )


def record(rows: list[SweepRow]) -> SweepRecord:
    return SweepRecord(
        command=["aocq", "accumulators"],
        key="k",
        model="vit_nano",
        method="base_ptq",
        weight_bits=8,
        activation_bits=8,
        profile="edge_npu_int8",
        graph_sha256="cd" * 32,
        accumulators=14,
        images=4,
        skipped_images=1,
        exact_score=75.0,
        exact_classes=[1, 2, 3, 4],
        rows=rows,
    )


def test_older_records_are_read(tmp_path: Path) -> None:
    """They name every task's score as that of classification."""
    wanted = record([row(12, "wrap", 250_000, 40)])
    save_sweep(wanted, tmp_path)
    path = tmp_path / "accumulators.json"
    text = path.read_text("utf-8")
    assert '"top1":' not in text
    older = text.replace('"main_score":', '"top1":').replace('"exact_score":', '"exact_top1":')
    assert older.count("top1") == text.count("top1") + 2
    path.write_text(older, encoding="utf-8")
    assert load_sweep(tmp_path) == wanted


@pytest.fixture(scope="module")
def found() -> SweepRecord:
    copied = {"graph_sha256": None, "same_as": (20, "wrap")}
    return record(
        [
            row(12, "wrap", 250_000, 40),
            row(12, "saturate", 260_000, 30),
            row(16, "wrap", 0, 7),
            row(16, "saturate", 0, 7),
            row(20, "wrap", 0, 0),
            row(20, "saturate", 0, 0, **copied),
            row(32, "wrap", 0, 0, **copied),
        ]
    )


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("text")]


def test_a_width_is_exact_only_without_any_event(found: SweepRecord) -> None:
    assert [row.exact for row in found.rows] == [False] * 4 + [True] * 3
    assert found.exact_from == 20
    assert record(found.rows[:4]).exact_from is None


def test_the_table_has_shares_and_says_what_was_not_run(found: SweepRecord) -> None:
    table = [dict(zip(head(found), line, strict=True)) for line in lines(found)]
    assert table[0]["persistent"] == "25.00 %"
    assert table[0]["transient"] == "< 0.01 %"
    assert table[1]["changed"] == "26.00 %"
    assert table[0]["overflowing"] == "5/14"
    assert [cells["run"] for cells in table] == [
        *["—"] * 4,
        *("exact", "exact, as 20 wrap", "exact, as 20 wrap"),
    ]
    assert [line[0] for line in lines(found, proven=False)] == ["12", "12", "16", "16", "20"]
    text = markdown(found)
    assert "At 20 bits nothing overflows" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "4 images (1 skipped)" in summary(found)
    assert "Every width that was run overflows." in summary(record(found.rows[:2]))


def test_the_csv_has_all_fields(found: SweepRecord) -> None:
    table = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [line["exact"] for line in table] == ["no"] * 4 + ["yes"] * 3
    assert (table[0]["same_as"], table[6]["same_as"]) == ("", "20 wrap")
    assert (table[0]["persistent"], table[0]["outputs"]) == ("250000", "1000000")


def test_the_figure_draws_both_rules_and_both_kinds_of_overflow(found: SweepRecord) -> None:
    drawn = figure(found)
    labels = texts(drawn.svg)
    assert {"wrap", "saturate", "exact sums", "integer top-1 (%)"} <= {*labels}
    for rule in ("wrap", "saturate"):
        assert {f"{rule}, persistent", f"{rule}, transient"} <= {*labels}
    assert "bits of the outermost accumulator register" in labels
    assert figure(found) == drawn
    one = figure(record([row for row in found.rows if row.overflow == "wrap"]))
    assert "saturate" not in texts(one.svg)


def test_legends_cover_no_data(found: SweepRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []

    def keep(drawing: Figure, name: str, words: str) -> Picture:
        kept.append(drawing)
        return picture(drawing, name, words)

    monkeypatch.setattr("reports.accumulators.picture", keep)
    figure(found)
    kept[0].draw_without_rendering()
    for axes in kept[0].axes:
        legend = axes.get_legend()
        assert legend is not None
        assert legend.get_window_extent().x0 >= axes.get_window_extent().x1
        assert legend.get_window_extent().x1 <= kept[0].bbox.x1


def test_a_figure_without_overflow_says_so(found: SweepRecord) -> None:
    assert "no overflow at any width" in texts(figure(record(found.rows[4:])).svg)


def test_a_record_comes_back_as_it_was_written(found: SweepRecord, tmp_path: Path) -> None:
    assert load_sweep(tmp_path) is None
    write_sweep(found, tmp_path)
    assert load_sweep(tmp_path) == found
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"accumulators.{ending}" for ending in ("csv", "json", "md", "png", "svg")
    ]
    (tmp_path / "accumulators.json").write_text('{"format": 2}', "utf-8")
    assert load_sweep(tmp_path) is None
    many = found.model_copy(update={"exact_classes": list(range(1000))})
    save_sweep(many, tmp_path)
    assert load_sweep(tmp_path) == many
    assert len((tmp_path / "accumulators.json").read_text("utf-8").splitlines()) < 300
