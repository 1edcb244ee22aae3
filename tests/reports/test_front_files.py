# SPDX-License-Identifier: Apache-2.0
"""A front as files: the same figures in all of them, with their types, and none lost."""

from __future__ import annotations

import importlib.util
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from built_front import design
from built_run import build

from reports.alike import DIFFERENT_DATA
from reports.front import Front, front_of
from reports.front_figure import drawn
from reports.front_files import (
    columns,
    frame,
    json_text,
    markdown,
    said_of,
    volume_in_words,
    with_unit,
    write_tables,
)
from reports.rows import TableRow, run_row
from reports.sweep_table import write_table
from reports.table_file import read_table
from simulator.errors import InputError

AXES = ("drop", "latency_ms")
THIRD = 1 / 3
CHIP = {"profile": "chip"}


@pytest.fixture
def front() -> Front:
    return front_of(
        [
            design("dear", 1.0, 9.0, variant=CHIP | {"rows": "16"}, accumulator_bits=24),
            design("cheap|<b>", 2.0, THIRD, variant=CHIP, feasible=True),
            design("beaten", 2.5, 9.5),
            design("costs alone", None, 0.25),
        ],
        AXES,
    )


def test_csv_and_parquet_have_the_same_table(front: Front, tmp_path: Path) -> None:
    assert write_tables(front, tmp_path)
    parquet = pd.read_parquet(tmp_path / "front.parquet", dtype_backend="numpy_nullable")
    pd.testing.assert_frame_equal(parquet, frame(front))
    text = (tmp_path / "front.csv").read_text("utf-8")
    csv = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    assert csv["design"].tolist() == ["dear", "cheap|<b>", "beaten", "costs alone"]
    assert csv["rank"].tolist() == ["1", "1", "2", ""], "whole numbers stay whole beside a gap"
    assert csv["beaten_by"].tolist() == ["", "", "dear", ""]
    assert csv["rows"].tolist() == ["16", "", "", ""]
    assert csv["accumulator_bits"].tolist() == ["24", "", "", ""]
    assert [float(text) for text in csv["latency_ms"]] == [9.0, THIRD, 9.5, 0.25]
    assert csv["drop"].tolist() == ["1.0", "2.0", "2.5", ""]
    assert str(parquet["rank"].dtype) == "Int64"
    assert str(parquet["feasible"].dtype) == "boolean"


def test_json_has_the_rows_and_what_the_hypervolume_is_of(front: Front) -> None:
    found = json.loads(json_text(front))
    assert found["rows"] == columns(front)
    assert [axis["name"] for axis in found["axes"]] == [*AXES]
    (only,) = found["sets"]
    assert only["front"] == ["dear", "cheap|<b>"]
    assert only["reference"] == {"drop": 2.5, "latency_ms": 9.5}
    assert only["hypervolume"] == front.sets[0].volume
    assert found["notes"] == said_of(front)


def test_a_table_without_pyarrow_is_written_but_for_parquet(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "reports.front_files.find_spec", lambda name: None if name == "pyarrow" else real(name)
    )
    assert not write_tables(front, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("front.csv", "front.json", "front.md")
    ]


def test_markdown_has_ranks_reference_and_what_is_left_out(front: Front) -> None:
    text = markdown(front)
    assert text.startswith("# 4 designs of vit: drop, float to integer, latency of one image\n")
    assert "| 1 | `cheap\\|<b>` | 2.00 | 0.3333 |  |" in text
    assert "| 2 | `beaten` | 2.50 | 9.500 | `dear` |".replace("9.500", "9.5") in text
    assert "| — | `costs alone` | — | 0.25 |  |" in text
    assert "1 of 4 designs without a rank: no figure of drop." in text
    assert volume_in_words(front, 0) in text
    assert "to the reference: drop 2.50 points, latency_ms 9.5 ms" in text


def test_a_long_table_says_where_the_rest_is() -> None:
    many = front_of([design(str(i), 1.0 + i, 9.0 - i / 100) for i in range(203)], AXES)
    assert "The other 3 designs are in front.csv." in markdown(many)


def test_other_images_are_told_once() -> None:
    other = design("c", 1.0, 1.0, data_digest="ab" * 32)
    said = said_of(front_of([design("a", 1.0, 9.0), other], AXES))
    assert len(said) == 1
    assert "cannot be compared" in said[0]
    over_costs = said_of(front_of([design("a", 1.0, 9.0), other], ("latency_ms", "weight_bytes")))
    assert any(text.startswith(DIFFERENT_DATA) for text in over_costs)


def test_figures_are_written_with_their_unit() -> None:
    assert with_unit(66_635.0, "weight_bytes") == "66,635 bytes"
    assert with_unit(float("inf"), "sqnr_db") == "no noise"
    assert with_unit(None, "drop") == "—"
    assert with_unit(0.000123456, "energy_mj") == "0.0001235 mJ"


def test_the_picture_is_the_same_bytes_and_numbers_the_front(front: Front) -> None:
    found = drawn(front)
    assert found is not None
    assert found == drawn(front)
    assert found.png.startswith(b"\x89PNG")
    assert ">1</text>" in found.svg
    assert "latency of one image, ms, ESTIMATED" in found.svg
    assert "costs alone" not in found.svg
    assert drawn(front_of([design("a", None, 1.0)], AXES)) is None


def test_marks_of_the_front_that_touch_share_a_label() -> None:
    found = drawn(front_of([design("a", 1.0, 9.0), design("b", 1.0, 9.0)], AXES))
    assert found is not None
    assert ">1, 2</text>" in found.svg


def test_a_sweeps_table_is_read_back_but_for_its_scores(tmp_path: Path) -> None:
    run = run_row(build(2)[0], {"profile": "chip", "rows": "16"}, "runs/a")
    failed = TableRow(model="m", method="aocq", w_bits=8, a_bits=8, note="no run: it failed")
    write_table("sweep", "A sweep", [run, failed], tmp_path)
    found = read_table(tmp_path / "sweep.json")
    assert found[1] == failed
    left_out = {"float_score", "simulated_score", "integer_score", "judged_by"}
    for field in fields(TableRow):
        if field.name not in left_out:
            assert getattr(found[0], field.name) == getattr(run, field.name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "wanted an object with rows"),
        ('{"rows": [3]}', "row 0 is no object"),
        ('{"rows": [{"model": "m"}]}', "method: Field required"),
        ('{"rows": [{"model": 3, "method": "a", "w_bits": 8, "a_bits": 8}]}', "model"),
        ('{"rows": [{"model": "m", "method": "a", "w_bits": "8", "a_bits": 8}]}', "w_bits"),
        ('{"rows": [{"surprise": 3}]}', "'surprise' that is not known"),
        ('{"rows": ', "not a table of a sweep"),
    ],
)
def test_what_is_no_table_is_refused_with_its_name(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sweep\.json"):
        read_table(tmp_path / "sweep.json")


def test_columns_of_a_variant_do_not_take_those_of_the_table() -> None:
    odd: dict[str, Any] = {"variant": {"model": "other", "rank": "7"}}
    (row,) = columns(front_of([design("a", 1.0, 1.0, **odd)], AXES))
    assert (row["model"], row["rank"]) == ("vit", 1)


def test_what_does_not_fit_its_chip_is_marked_in_every_file() -> None:
    designs = [design("fits", 3.0, 9.0), design("large", 1.0, 1.0, misfit="needs more")]
    for infeasible, rank in ((False, None), (True, 1)):
        found = front_of(designs, AXES, infeasible=infeasible)
        (row,) = (row for row in columns(found) if row["design"] == "large")
        assert (row["rank"], row["misfit"]) == (rank, "needs more")
        assert "`large` (does not fit its chip) |" in markdown(found)
        assert "`fits` |" in markdown(found)
        assert "1 of 2 designs does not fit the chip" in json.loads(json_text(found))["notes"][0]
