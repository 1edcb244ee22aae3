# SPDX-License-Identifier: Apache-2.0
"""The plots of a front: drawn by scripts, in step with each other and with the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser

Pages = Callable[[str], Path]
POINTS = "[...document.querySelectorAll('#scatter a')]"
LINES = "[...document.querySelectorAll('#parallel .line:not(.gone)')]"
ROWS = "[...document.querySelectorAll('#designs tbody tr')].filter((row) => !row.hidden)"


@pytest.fixture
def front(chromium: Browser, page_of: Pages) -> Browser:
    chromium.open(page_of("front"), 1280)
    return chromium


def chosen(front: Browser, name: str, value: str) -> None:
    front.ask(
        f"(() => {{ const box = document.getElementById('{name}'); box.value = '{value}'; "
        "box.dispatchEvent(new Event('change')); })()"
    )


def pressed(front: Browser, kind: str, x: float, y: float) -> None:
    front.call(
        "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1
    )


def dragged(front: Browser, axis: str, start: float, end: float) -> None:
    """Drag along an axis, from one part of its height to another."""
    box: dict[str, float] = front.ask(
        f"(() => {{ const grip = document.querySelector('[data-axis={axis}]'); "
        "grip.scrollIntoView({block: 'center'}); "
        "const {x, y, width, height} = grip.getBoundingClientRect(); "
        "return {x, y, width, height}; })()"
    )
    x = box["x"] + box["width"] / 2
    places = [box["y"] + part * box["height"] for part in (start, end)]
    pressed(front, "mousePressed", x, places[0])
    pressed(front, "mouseMoved", x, places[1])
    pressed(front, "mouseReleased", x, places[1])


def figures(front: Browser, elements: str, axis: int) -> list[Any]:
    """The figures of the designs that some marks or rows stand for, in order of their numbers."""
    found: list[Any] = front.ask(
        "(() => { const data = JSON.parse(document.getElementById('data').textContent); "
        f"const numbers = {elements}.map((e) => Number(e.dataset.number ?? e.id.slice(4))); "
        "return data.designs.filter((d) => numbers.includes(d.number))"
        f".map((d) => d.figures[{axis}]); }})()"
    )
    return found


def test_a_point_is_drawn_for_every_design_of_a_set_and_leads_to_its_report(front: Browser) -> None:
    assert front.ask(f"{POINTS}.length") == 20
    assert front.ask(f"{LINES}.length") == 20
    assert front.ask(f"{ROWS}.length") == 24
    addresses = front.ask(f"{POINTS}.map((a) => [a.dataset.number, a.getAttribute('href')])")
    cell = "document.querySelector('#run-{} .name a')?.getAttribute('href')"
    for number, address in addresses:
        assert address == (front.ask(cell.format(number)) or f"#run-{number}")
    chosen(front, "set", "1")
    assert front.ask(f"{POINTS}.length") == 3
    assert front.complaints == []


def test_figures_that_differ_in_their_last_digits_alone_are_drawn(
    chromium: Browser, page_of: Pages
) -> None:
    chromium.open(page_of("close"), 1280)
    assert chromium.ask(f"{POINTS}.length") == 2
    assert chromium.ask("document.querySelectorAll('#scatter text').length") < 40
    assert chromium.complaints == []


def test_points_lie_as_their_figures_do_on_whatever_axes_are_chosen(front: Browser) -> None:
    for across, up in (("1", "0"), ("2", "1"), ("4", "2")):
        chosen(front, "across", across)
        chosen(front, "up", up)
        for axis, place, falls in ((across, "cx", False), (up, "cy", True)):
            pairs = front.ask(
                "(() => { const data = JSON.parse(document.getElementById('data').textContent); "
                f"return {POINTS}.map((a) => [data.designs.find((d) => d.number == "
                f"a.dataset.number).figures[{axis}], "
                f"Number(a.querySelector('circle').getAttribute('{place}'))]); }})()"
            )
            assert len(pairs) >= 19
            ordered = sorted(pairs)
            places = [at for _, at in ordered]
            assert places == sorted(places, reverse=falls)
            assert (ordered[0][1] > ordered[-1][1]) == falls
    assert front.complaints == []


def test_a_point_under_the_pointer_names_its_design_everywhere(front: Browser) -> None:
    box = front.ask(
        f"(() => {{ const mark = {POINTS}.at(-1).querySelector('circle'); "
        "mark.scrollIntoView({block: 'center'}); "
        "const {x, y, width, height} = mark.getBoundingClientRect(); "
        f"return [x + width / 2, y + height / 2, {POINTS}.at(-1).dataset.number]; }})()"
    )
    front.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    assert front.ask("document.getElementById('named').textContent").startswith(f"{box[2]}: ")
    over = "[...document.querySelectorAll('#parallel .over')].map((line) => line.dataset.number)"
    assert front.ask(over) == [box[2]]


def test_a_drag_along_an_axis_keeps_its_part_in_plots_and_table(front: Browser) -> None:
    before = sorted(value for value in figures(front, POINTS, 1) if value is not None)
    dragged(front, "latency_ms", 0.0, 0.5)
    kept = figures(front, POINTS, 1)
    assert 0 < len(kept) < len(before)
    assert sorted(kept) == before[: len(kept)], "the better end is at the top"
    assert sorted(figures(front, LINES, 1)) == sorted(kept)
    assert sorted(figures(front, ROWS, 1)) == sorted(kept)
    said = front.ask("document.getElementById('kept').textContent")
    assert said == f"{len(kept)} of 20 designs"
    front.ask("document.getElementById('clear').click()")
    assert front.ask(f"{POINTS}.length") == 20
    assert front.ask(f"{ROWS}.length") == 24
    assert front.complaints == []


def test_a_click_on_an_axis_takes_its_part_away(front: Browser) -> None:
    dragged(front, "drop", 0.0, 0.4)
    assert front.ask(f"{POINTS}.length") < 20
    dragged(front, "drop", 0.5, 0.5)
    assert front.ask(f"{POINTS}.length") == 20


def test_a_link_to_what_beats_a_design_shows_its_row(front: Browser) -> None:
    dragged(front, "drop", 0.9, 1.0)
    front.ask("location.hash = '#run-1'")
    assert front.ask("document.getElementById('run-1').hidden") is False
    assert front.complaints == []


def test_a_sorted_table_keeps_what_is_missing_last(front: Browser) -> None:
    heads = front.ask("[...document.querySelectorAll('#designs thead th')].map((h) => h.innerText)")
    place = next(i for i, head in enumerate(heads) if head.strip().startswith("sqnr_db"))
    front.ask(f"document.querySelectorAll('#designs thead button')[{place}].click()")
    cells = f"[...document.querySelectorAll('#designs tbody tr')].map((r) => r.cells[{place}]"
    column = front.ask(f"{cells}.innerText)")
    assert column[-2:] == ["no noise", "—"]
    numbers = [float(text) for text in column[:-2]]
    assert len(numbers) == 22
    assert numbers == sorted(numbers)
