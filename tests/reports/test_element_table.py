# SPDX-License-Identifier: Apache-2.0
"""What each element gains and costs: differences, their signs, and all forms of the table."""

from __future__ import annotations

import csv
import io

import pytest
from built_run import Run
from parsed_page import ParsedPage

from reports.element_table import (
    COLUMNS,
    FILES,
    FREE,
    ElementRow,
    csv_text,
    decibels_per_percent,
    differences,
    figures_of,
    files,
    html,
    markdown,
    text_cells,
)
from reports.format import MISSING
from simulator.cost.work import Work

HOSTILE = "<script>alert(1)</script>"


def row(role: str, element: str = "", against: str | None = None, **figures: float) -> ElementRow:
    title = f"what {element} is" if element else ""
    run = f"net/{role}-{element or 'all'}"
    return ElementRow(
        role=role, element=element, title=title, against=against, figures=figures, run=run
    )


ROWS = (
    row("full", score=70.0, sqnr_db=20.0, cycles=120_000, energy_mj=0.5),
    row("bare", score=50.0, sqnr_db=10.0, cycles=100_000),
    row("without", "heads", "full", score=65.0, sqnr_db=18.0, cycles=120_000, energy_mj=0.5),
    row("alone", "heads", "bare", score=58.0, sqnr_db=13.0, cycles=110_000),
    row("instead", "stream", "full", score=69.0, sqnr_db=19.0, cycles=126_000, energy_mj=0.6),
    ElementRow(
        role="instead",
        element="softmax",
        title=HOSTILE,
        against="full",
        figures={},
        note="no run: torch minds",
    ),
)


def changes_of(number: int) -> dict[str, float | None]:
    return differences(ROWS[number], ROWS)


def test_a_difference_is_with_the_element_less_without_it() -> None:
    """Where the row is the one without it, the full recipe's figure is the first of the two."""
    assert changes_of(2)["score"] == 5.0
    assert changes_of(3)["score"] == 8.0
    assert changes_of(4)["score"] == -1.0


def test_cycles_differ_by_percent_of_what_is_without_the_element() -> None:
    assert changes_of(2)["cycles"] == 0.0
    assert changes_of(3)["cycles"] == 10.0
    assert changes_of(4)["cycles"] == pytest.approx(5.0)


def test_what_has_no_figure_has_no_difference() -> None:
    assert set(changes_of(0).values()) == {None}
    assert set(changes_of(5).values()) == {None}
    assert changes_of(3)["energy_mj"] is None
    assert differences(ROWS[3], ROWS[3:])["score"] is None  # nothing to compare with


def test_a_percent_of_cycles_buys_decibels_or_they_are_free() -> None:
    assert decibels_per_percent(changes_of(3)) == pytest.approx(0.3)
    assert decibels_per_percent(changes_of(2)) is None
    prices = [cells[-1] for cells in text_cells(ROWS)[1]]
    assert prices == [MISSING, MISSING, FREE, "0.30", MISSING, MISSING]


def test_columns_without_a_figure_are_left_out() -> None:
    head, body = text_cells(ROWS)
    assert head == ["row", "element", "top-1", "SQNR dB", "cycles, thousand", "mJ", "dB/%"]
    assert body[3] == [
        *("alone", "what heads is", "58.0 (+8.0)", "13.00 (+3.00)", "110 (+10.0 %)"),
        *(MISSING, "0.30"),
    ]
    assert body[4][2] == "69.0 (-1.0)"


def test_markdown_has_every_row_and_says_why_there_is_no_run() -> None:
    text = markdown("Elements", ROWS)
    assert text.startswith("# Elements\n")
    assert "| without | what heads is | 65.0 (+5.0) | 18.00 (+2.00) | 120 (+0.0 %) |" in text
    assert text.endswith(f"- instead {HOSTILE}: no run: torch minds\n")
    assert "no run" not in markdown("Elements", ROWS[:5])


def test_csv_has_full_precision_and_every_column() -> None:
    lines = list(csv.DictReader(io.StringIO(csv_text(ROWS))))
    assert [line["row"] for line in lines] == [row.role for row in ROWS]
    assert float(lines[3]["cycles_percent_more"]) == 10.0
    assert float(lines[3]["top1_difference"]) == 8.0
    assert float(lines[3]["db_per_percent_of_cycles"]) == pytest.approx(0.3)
    assert lines[3]["energy_mj"] == lines[3]["energy_mj_percent_more"] == ""
    assert (lines[5]["run"], lines[5]["note"]) == ("", "no run: torch minds")
    assert lines[0].keys() >= {*COLUMNS, "top1"} - {"score"}


def test_the_page_is_self_contained_and_links_to_runs() -> None:
    page = ParsedPage(html("Elements of W4A4", ROWS))
    assert page.references == [f"{row.run}/report.html" for row in ROWS if row.run]
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert "no run: torch minds" in page.text
    assert "13.00 (+3.00)" in page.text


def test_all_files_are_written_whatever_is_there() -> None:
    assert tuple(files("Elements", ROWS)) == tuple(files("Elements", ())) == FILES


def test_figures_are_those_of_the_record(costed: Run) -> None:
    result, _ = costed
    work = Work(macs=10, narrow_macs=40, rotation_additions=7, vector_elements=5)
    found = figures_of(result, work)
    assert found.keys() == COLUMNS.keys()
    assert found["drop"] == result.accuracy.drop
    assert found["sqnr_db"] == result.accuracy.logit_sqnr_db.integer_float
    assert (found["narrow_macs"], found["rotation_additions"], found["vector_elements"]) == (
        *(40, 7),
        5,
    )
    assert found["cycles"] == result.cycles.total
    assert result.energy_record is not None
    assert found["energy_mj"] == result.energy_record.total_mj
