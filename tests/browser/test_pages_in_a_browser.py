# SPDX-License-Identifier: Apache-2.0
"""Pages as a reader has them: on a desk, on a phone, on paper; sorted, filtered, followed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser

Pages = Callable[[str], Path]
PAGES = (
    *("whole", "older", "hostile", "two_compared", "many_compared", "explained", "boxes"),
    "front",
)
DESK, PHONE, PAPER = 1280, 390, 703  # CSS pixels; A4 is 210 mm wide, without margins of 12 mm

# Elements that reach beyond the window and are in no box that scrolls by itself.
BEYOND = """[...document.querySelectorAll("body *")].filter((element) => {
  if (element.closest(".skip, svg")) return false;
  const box = element.getBoundingClientRect();
  if (box.width === 0 || box.right <= innerWidth + 1) return false;
  for (let at = element; at !== document.body; at = at.parentElement) {
    if (at !== element && /auto|scroll/.test(getComputedStyle(at).overflowX)) return false;
  }
  return true;
}).map((element) => `${element.tagName} ${element.textContent.slice(0, 40)}`)"""
# What is cut off on paper: tables and figures wider than the sheet, where nothing can scroll.
CUT = """[...document.querySelectorAll(".scroll, pre")].filter(
  (box) => !box.closest("#all-ops") &&
    [...box.children].some((child) => child.getBoundingClientRect().right > innerWidth + 1)
).map((box) => box.getAttribute("aria-label"))"""
COLUMN = """(table, heading) => {
  const place = [...table.tHead.rows[0].cells].findIndex((th) => th.innerText.trim() === heading);
  return [...table.tBodies[0].rows].map((row) => row.cells[place].innerText);
}"""


def column(chromium: Browser, table: str, heading: str) -> list[str]:
    text = f"({COLUMN})(document.getElementById('{table}'), '{heading}')"
    found: list[str] = chromium.ask(text)
    return found


def click(chromium: Browser, table: str, heading: str) -> None:
    chromium.ask(
        f"[...document.querySelectorAll('#{table} thead button')]"
        f".find((button) => button.innerText.trim() === '{heading}').click()"
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace(",", "")) for text in texts if text != "—"]


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_the_window_and_no_script_complains(
    chromium: Browser, page_of: Pages, name: str, width: int
) -> None:
    page = page_of(name)
    chromium.open(page, width)
    assert chromium.ask("document.documentElement.scrollWidth") <= width
    assert chromium.ask(BEYOND) == []
    assert chromium.complaints == []
    asked = [address for address in chromium.requests if not address.startswith("data:")]
    assert asked == [page.as_uri()], "the page needs something beside itself"
    assert chromium.ask("document.querySelector('h1').innerText") != ""


# Texts of pictures that reach beyond their figure, and pairs of one panel that overlap.
CLIPPED = """[...document.querySelectorAll("svg.boxes .found")].filter((text) => {
  const box = text.getBoundingClientRect();
  const whole = text.closest("svg").getBoundingClientRect();
  return box.left < whole.left - 1 || box.right > whole.right + 1;
}).map((text) => text.textContent)"""
OVERPRINTED = """[...document.querySelectorAll("svg.boxes g")].flatMap((panel) => {
  const found = [...panel.querySelectorAll(".found")].map((text) =>
    [text.textContent, text.getBoundingClientRect()]);
  return found.flatMap(([name, box], place) => found.slice(place + 1).filter(([, other]) =>
    box.left < other.right - 1 && other.left < box.right - 1 &&
    Math.abs(box.top - other.top) < 0.8 * box.height).map(([other]) => `${name}, ${other}`));
})"""


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_labels_of_boxes_are_in_their_picture_and_apart(
    chromium: Browser, page_of: Pages, width: int
) -> None:
    chromium.open(page_of("crowded"), width)
    assert chromium.ask("document.querySelectorAll('.found').length") > 6
    assert chromium.ask(CLIPPED) == []
    assert chromium.ask(OVERPRINTED) == []


def test_the_sections_and_the_sources_of_noise_fit_a_desk(
    chromium: Browser, page_of: Pages
) -> None:
    chromium.open(page_of("crowded"), DESK)
    wide = "((box) => box.scrollWidth - box.clientWidth)"
    assert chromium.ask(f"{wide}(document.querySelector('nav ul'))") == 0
    assert chromium.ask(f"{wide}(document.querySelector('#noise').parentElement)") == 0


@pytest.mark.parametrize("name", PAGES)
def test_tables_and_figures_scroll_in_their_own_boxes_on_a_phone(
    chromium: Browser, page_of: Pages, name: str
) -> None:
    chromium.open(page_of(name), PHONE)
    tables = chromium.ask("document.querySelectorAll('table').length")
    in_boxes = chromium.ask("document.querySelectorAll('.scroll > table').length")
    assert tables == in_boxes > 0
    wide = "[...document.querySelectorAll('.scroll')].filter((b) => b.scrollWidth > b.clientWidth)"
    moved = chromium.ask(f"{wide}.map((box) => {{ box.scrollLeft = 50; return box.scrollLeft; }})")
    assert len(moved) > 1
    assert set(moved) <= {*range(1, 51)}
    assert chromium.ask("scrollX") == 0


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_nothing_is_cut_off(chromium: Browser, page_of: Pages, name: str) -> None:
    chromium.open(page_of(name), PAPER)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert chromium.ask(CUT) == []
    assert chromium.ask("getComputedStyle(document.body).backgroundColor") in {
        *("rgb(255, 255, 255)", "rgba(0, 0, 0, 0)"),
    }
    printed = chromium.printed()
    assert printed.startswith(b"%PDF-")
    pages = len(re.findall(rb"/Type\s*/Page[^s]", printed))
    assert 1 <= pages <= 40


def test_the_table_of_ops_has_room_on_paper(chromium: Browser, page_of: Pages) -> None:
    """Columns that a sheet has no room for are left out there, and only there."""
    headings = (
        "[...document.querySelectorAll('#ops th button')].filter((b) => b.offsetWidth).length"
    )
    chromium.open(page_of("whole"), PAPER)
    on_screen = chromium.ask(headings)
    chromium.call("Emulation.setEmulatedMedia", media="print")
    assert 8 <= chromium.ask(headings) < on_screen
    right = chromium.ask("document.getElementById('ops').getBoundingClientRect().right")
    assert right <= PAPER + 1


@pytest.mark.parametrize("heading", ["Cycles", "SQNR dB", "MACs"])
def test_a_heading_sorts_by_number_and_again_the_other_way(
    chromium: Browser, page_of: Pages, heading: str
) -> None:
    chromium.open(page_of("whole"), DESK)
    before = column(chromium, "ops", heading)
    click(chromium, "ops", heading)
    rising = column(chromium, "ops", heading)
    assert numbers(rising) == sorted(numbers(before))
    click(chromium, "ops", heading)
    falling = column(chromium, "ops", heading)
    assert numbers(falling) == sorted(numbers(before), reverse=True)
    missing = before.count("—")
    for order in (rising, falling):
        assert order[len(order) - missing :] == ["—"] * missing, "nothing: always last"
    sort = f"[...document.querySelectorAll('#ops th')].find((th) => th.innerText === '{heading}')"
    assert chromium.ask(f"{sort}.getAttribute('aria-sort')") == "descending"


def test_words_are_sorted_as_words_and_numbers_in_them_as_numbers(
    chromium: Browser, page_of: Pages
) -> None:
    chromium.open(page_of("whole"), DESK)
    click(chromium, "ops", "Op")
    ops = [op for op in column(chromium, "ops", "Op") if op.endswith("mlp.fc1")]
    assert ops == [f"blocks.{number}.mlp.fc1" for number in range(12)]


def test_the_runs_of_a_comparison_are_sorted_by_any_column(
    chromium: Browser, page_of: Pages
) -> None:
    chromium.open(page_of("many_compared"), DESK)
    click(chromium, "runs", "Integer")
    assert numbers(column(chromium, "runs", "Integer")) == sorted(60.0 + n % 7 for n in range(20))
    assert column(chromium, "runs", "#")[:3] == ["1", "8", "15"], "equal ones stay in order"


def test_ops_are_filtered_by_name_and_by_kind(chromium: Browser, page_of: Pages) -> None:
    chromium.open(page_of("whole"), DESK)
    shown = "[...document.querySelectorAll('#ops tbody tr')].filter((row) => !row.hidden).length"
    rows = chromium.ask(shown)
    typed: dict[str, Any] = {"filter-text": "attn", "filter-kind": "softmax"}
    left = []
    for field, value in typed.items():
        event = "input" if field == "filter-text" else "change"
        chromium.ask(
            f"{{ const at = document.getElementById('{field}'); at.value = '{value}';"
            f" at.dispatchEvent(new Event('{event}')); }}"
        )
        left.append(chromium.ask(shown))
    assert rows > left[0] > left[1] == 12
    assert chromium.ask("document.getElementById('shown').innerText") == f"12 of {rows} ops"


def test_a_mark_leads_to_its_row_even_if_that_was_filtered_away(
    chromium: Browser, page_of: Pages
) -> None:
    chromium.open(page_of("whole"), PHONE)
    chromium.ask(
        "{ const at = document.getElementById('filter-text'); at.value = 'nothing has this name';"
        " at.dispatchEvent(new Event('input')); }"
    )
    chromium.ask(
        "document.querySelector('figure a[href=\"#op-10\"]')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    chromium.ask("new Promise((done) => setTimeout(done, 50))")
    row = "document.getElementById('op-10')"
    assert chromium.ask("location.hash") == "#op-10"
    assert chromium.ask(f"{row}.hidden") is False
    box = chromium.ask(f"(({{top, bottom}}) => [top, bottom])({row}.getBoundingClientRect())")
    assert 0 <= box[0] < box[1] <= 900
    assert chromium.complaints == []


def test_only_lines_that_differ_are_shown_on_demand(chromium: Browser, page_of: Pages) -> None:
    chromium.open(page_of("two_compared"), DESK)
    alike = "[...document.querySelectorAll('.alike')].filter((row) => row.offsetHeight).length"
    assert chromium.ask(alike) > 5
    chromium.ask("document.getElementById('only').click()")
    assert chromium.ask(alike) == 0
    assert chromium.ask("document.querySelectorAll('.beside tbody tr:not(.alike)').length") > 5


def test_a_dark_page_has_light_text_on_a_dark_ground(chromium: Browser, page_of: Pages) -> None:
    def light(part: str) -> float:
        color = chromium.ask(f"getComputedStyle(document.body).{part}")
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    chromium.open(page_of("whole"), DESK, dark=True)
    assert light("backgroundColor") < 60
    assert light("color") > 190
    chromium.open(page_of("whole"), DESK)
    assert light("backgroundColor") > 230
