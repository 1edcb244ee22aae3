# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of runs on several chips, and records that are older than their columns."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from aocq.records.run_folder import load_record
from reports.chip_figures import chips, most_latency
from reports.format import brief
from reports.rows import TableRow, run_row
from reports.sweep_table import csv_text, differ_in_profile, in_common, markdown, notes_on, terminal

Run = tuple[RunResult, list[LayerRow]]
SAMPLES = Path(__file__).parents[2] / "docs" / "samples"


def on(run: Run, profile: str, failed: tuple[str, ...] = (), **overflow: Any) -> TableRow:
    """Return the row of the run as if it had been on another chip."""
    plain = run[0].model_dump()
    plain["overflow"] |= overflow
    plain["verdict"] |= {"feasible": not failed, "failed": list(failed)}
    return run_row(RunResult.model_validate(plain), {"profile": profile}, profile)


@pytest.fixture(scope="module")
def rows(run: Run) -> list[TableRow]:
    counted = {"persistent": 1_234_567, "transient": 2, "changed": 3, "least_headroom_bits": -1}
    return [
        on(run, "wide", persistent=0, transient=0, changed=0, least_headroom_bits=7),
        on(run, "narrow", ("too slow", "too large"), **counted),
        on(run, "old"),
        TableRow(
            model=run[0].model.name,
            method="minmax",
            w_bits=8,
            a_bits=8,
            variant={"profile": "absent"},
            note="no run: cannot",
        ),
    ]


def test_a_row_says_what_a_chip_makes_of_the_network(run: Run, rows: list[TableRow]) -> None:
    wide, narrow, old, absent = rows
    result = run[0]
    assert (wide.cycles, wide.latency_ms) == (result.cycles.total, result.latency_ms)
    assert (wide.peak_sram_bytes, wide.sram_bytes) == (471_552, 524_288)
    assert (wide.feasible, wide.reason) == (True, "")
    assert (narrow.feasible, narrow.reason) == (False, "too slow")
    assert (narrow.persistent, narrow.transient, narrow.changed) == (1_234_567, 2, 3)
    assert (old.overflowed, old.persistent, old.least_headroom_bits) == (3, None, None)
    assert (absent.cycles, absent.feasible) == (None, None)


def test_chips_that_differ_in_a_key_alone_are_compared_as_chips(rows: list[TableRow]) -> None:
    sizes = [
        replace(row, variant={"recipe": "mixed", "profile": "one", "memory.sram_bytes": size})
        for row, size in zip(rows[:2], ("4096", "8192"), strict=True)
    ]
    assert differ_in_profile(sizes)
    head, _ = terminal(sizes)
    assert {"memory.sram_bytes", "cycles", "ms", "SRAM KiB", "persistent", "feasible"} <= {*head}
    assert "SQNR" not in head
    assert notes_on(sizes) == ["one memory.sram_bytes 8192: too slow"]
    text = markdown("Chips", sizes)
    assert "| feasible |" in text
    assert "too slow" in text
    recipes = [
        replace(row, variant=row.variant | {"recipe": str(place), "profile": "one"})
        for place, row in enumerate(rows[:2])
    ]
    assert not differ_in_profile(recipes), "another recipe is no other chip"


def test_columns_are_those_of_chips_only_where_rows_differ_in_profile(
    rows: list[TableRow],
) -> None:
    assert differ_in_profile(rows)
    assert not differ_in_profile(rows[:1])
    assert "SQNR" in terminal(rows[:1])[0]
    head, lines = terminal(rows)
    assert head[0] == "profile"
    assert {"integer", "agreement", "float ops", "persistent", "cycles", "feasible"} <= {*head}
    shown = [dict(zip(head, line, strict=True)) for line in lines]
    wanted = ("profile", "persistent", "transient", "headroom", "SRAM KiB", "feasible")
    assert [[cells[name] for name in wanted] for cells in shown] == [
        ["wide", "0", "0", "7", "460.5 of 512", "yes"],
        ["narrow", "1.23 M", "2", "-1", "460.5 of 512", "no"],
        ["old", "—", "—", "—", "460.5 of 512", "yes"],
        ["absent", *["—"] * 5],
    ]
    assert in_common(rows) == {
        **{"model": rows[0].model, "method": "minmax", "W/A": "8/8"},
        **{"images": "400"},
    }
    assert in_common(rows[:1]) == {"images": "400"}
    assert in_common(rows[3:]) == {}


def test_the_first_reason_against_a_chip_is_a_note(rows: list[TableRow]) -> None:
    assert notes_on(rows) == ["narrow: too slow", "absent: no run: cannot"]
    text = markdown("Chips", rows)
    assert "- narrow: too slow" in text
    assert "too large" not in text
    assert "ESTIMATED" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_row_whose_overflow_was_only_counted_says_so(run: Run) -> None:
    note = "policy report: counted only, sums stay exact"
    told = '3 sums would overflow; accumulator.policy = "report" only counts them'
    found = [
        on(run, "counts", policy="report"),
        on(run, "large", ("too large",), policy="report"),
        on(run, "told", (told,), policy="report"),
        on(run, "free", policy="report", events=0),
        on(run, "applies", policy="apply"),
    ]
    assert notes_on(found) == [f"counts: {note}", f"large: too large; {note}", f"told: {told}"]
    policies = [line["policy"] for line in csv.DictReader(io.StringIO(csv_text(found)))]
    assert policies == [*["report"] * 4, "apply"]


def test_images_are_a_column_where_runs_differ_in_them(rows: list[TableRow]) -> None:
    fewer = replace(rows[1], images=1200)
    head, lines = terminal([rows[0], fewer, rows[3]])
    assert [line[head.index("images")] for line in lines] == ["400", "1,200", "—"]
    alike = [replace(row, variant={"profile": "wide"}) for row in (rows[0], fewer)]
    head, lines = terminal(alike)
    assert "SQNR" in head
    assert [line[head.index("images")] for line in lines] == ["400", "1,200"]
    assert "images" not in terminal(rows)[0]


def test_notes_on_rows_of_one_name_say_which_run(rows: list[TableRow]) -> None:
    again = replace(rows[1], run="other/narrow", reason="too hot")
    assert notes_on([rows[0], rows[1], again]) == [
        "narrow (narrow): too slow",
        "narrow (other/narrow): too hot",
    ]


def test_the_csv_has_every_figure_of_a_chip(rows: list[TableRow]) -> None:
    wide, narrow, old, absent = csv.DictReader(io.StringIO(csv_text(rows)))
    assert narrow["persistent"] == "1234567"
    assert (narrow["feasible"], narrow["reason"]) == ("False", "too slow")
    assert float(wide["latency_ms"]) == rows[0].latency_ms
    assert (old["overflowed"], old["persistent"]) == ("3", "")
    assert absent["feasible"] == ""


def test_records_that_are_older_than_the_columns_load_and_show_dashes() -> None:
    found = []
    for path in sorted(SAMPLES.rglob("run.json")):
        assert load_record(path.parent).overflow.events >= 0
        plain = json.loads(path.read_text("utf-8"))
        for name in ("persistent", "transient", "changed", "least_headroom_bits"):
            plain["overflow"].pop(name, None)
        for op in plain["overflow"]["per_op"]:
            op.pop("persistent", None)
        found.append(RunResult.model_validate(plain))
    assert found
    rows = [run_row(record, {"profile": f"chip_{n}"}, "") for n, record in enumerate(found)]
    head, lines = terminal(rows)
    for record, line in zip(found, lines, strict=True):
        cells = dict(zip(head, line, strict=True))
        assert [cells[name] for name in ("persistent", "transient", "headroom")] == ["—"] * 3
        assert cells["feasible"] == ("yes" if record.verdict.feasible else "no")
        assert cells["cycles"] != "—"


def test_the_figure_has_a_mark_for_every_chip_that_was_run(rows: list[TableRow]) -> None:
    drawn = chips(rows)
    assert drawn is not None
    root = ElementTree.fromstring(drawn.svg)
    texts = ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("text")]
    assert {"wide", "narrow", "old", "absent (no run)"} <= {*texts}
    assert {"feasible", "not feasible", "float top-1", "integer top-1"} <= {*texts}
    assert f"{rows[0].model}, minmax W8A8, 400 images" in texts
    assert sum("ms, not feasible" in text for text in texts) == 1
    assert "4 chips, 3 of them run, feasible on 2." in drawn.svg
    assert chips(rows) == drawn, "the same bytes each time"
    assert chips(rows[3:]) is None


def test_limits_of_gates_and_the_srams_are_lines_of_the_figure(rows: list[TableRow]) -> None:
    gates = {"max_drop": 2.0, "min_agreement": 90.0, "max_latency_ms": 12.0, "min_fps": 100.0}
    drawn = chips(rows, gates)
    assert drawn is not None
    labels = {"least top-1", "least agreement", "most latency"}
    assert all(f">{label}</text>" in drawn.svg for label in labels)
    assert most_latency(gates) == 10.0
    assert most_latency({"max_latency_ms": 5.0, "max_drop": 1.0}) == 5.0
    assert most_latency({}) is None
    plain = chips(rows)
    assert plain is not None
    assert not any(label in plain.svg for label in labels)
    assert ">SRAM that the chip has</text>" in plain.svg
    assert ">460.50 KiB</text>" in plain.svg


def test_the_figure_is_written_in_two_forms(rows: list[TableRow], tmp_path: Path) -> None:
    drawn = chips(rows[:1])
    assert drawn is not None
    assert drawn.write(tmp_path, "targets") == tmp_path / "targets.png"
    assert (tmp_path / "targets.svg").read_text("utf-8") == drawn.svg
    assert (tmp_path / "targets.png").read_bytes() == drawn.png
    assert drawn.png.startswith(b"\x89PNG")
    assert b"Software" not in drawn.png


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (0, "0"),
        (-3, "-3"),
        (99_999, "99,999"),
        (123_456, "123 k"),
        (999_600, "1 M"),
        (1_234_567, "1.23 M"),
        (45_600_000_000, "45.6 G"),
        (10**15, "1e+03 T"),
    ],
)
def test_large_counts_are_written_briefly(value: int | None, text: str) -> None:
    assert brief(value) == text


def test_a_table_is_data_too(rows: list[TableRow], tmp_path: Path) -> None:
    from reports.sweep_table import write_table

    write_table("targets", "T", rows, tmp_path)
    plain = json.loads((tmp_path / "targets.json").read_text("utf-8"))
    assert [row["feasible"] for row in plain["rows"]] == [True, False, True, None]
