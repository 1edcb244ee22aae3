# SPDX-License-Identifier: Apache-2.0
"""A running Chromium, and pages for it; without Chromium the tests are skipped.

With ``AOCQ_REQUIRE_ORACLES=1`` they fail instead: see ``tests/oracles/environments.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import Browser, browser

for folder in ("oracles", "reports"):
    sys.path.append(str(Path(__file__).parent.parent / folder))

HOSTILE = "<script>alert(1)</script>&'\"" + "verylongnamewithoutanyspace" * 8


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return the browser of all tests."""
    from presence import need

    need("chromium")
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the page of a name as a file: see :data:`PAGES`."""
    folder = tmp_path_factory.mktemp("pages")

    def written(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(PAGES[name](), encoding="utf-8")
        return path

    return written


def _whole() -> str:
    """Return the report of a run with everything that a record can hold."""
    from built_run import build_with_costs

    from reports.page import html

    return html(*build_with_costs(12))


def _older() -> str:
    from built_run import build

    from reports.page import html

    return html(*build(2))


def _hostile() -> str:
    """Return the report of a run whose every name is markup, and too long for a phone."""
    from built_run import build_with_costs, shown_image

    from aocq.records.shown_images import ShownImages
    from reports.page import html

    result, rows = build_with_costs(2)
    rows = [row.model_copy(update={"op": f"{HOSTILE}.{row.index}"}) for row in rows]
    parts: dict[str, Any] = {
        "command": [HOSTILE],
        "notes": [HOSTILE],
        "model": result.model.model_copy(update={"name": HOSTILE}),
        "data": result.data and result.data.model_copy(update={"name": HOSTILE}),
        "profile": result.profile.model_copy(
            update={"title": HOSTILE, "sources": {"default": HOSTILE, HOSTILE: HOSTILE}}
        ),
        "verdict": result.verdict.model_copy(update={"failed": [HOSTILE]}),
        "caveats": [caveat.model_copy(update={"text": HOSTILE}) for caveat in result.caveats],
        "shown": ShownImages.model_validate(
            {"least_score": 0.3, "among": 9, "images": [shown_image(name=HOSTILE)]}
        ),
    }
    return html(result.model_copy(update=parts), rows)


def _crowded() -> str:
    """Return the report of a run with many boxes, some at one place and some with long names."""
    from built_run import build_with_costs, shown_image

    from aocq.records.shown_images import ShownImages
    from reports.page import html

    names = ("1", "one long name", "MMMMMMMMMMMM", "8", "a name that is longer than a picture")
    boxes = [
        {
            **{"name": names[number % len(names)], "score": 0.9 - number / 100},
            **{"left": left, "top": top, "right": left + 9.0, "bottom": top + 8.0},
        }
        for number, (left, top) in enumerate(
            [(23.0, 0.0), (23.0, 0.0), (1.0, 1.0), (12.0, 7.0), (12.0, 7.0), (2.0, 8.0)] * 2
        )
    ]
    image = shown_image(float_boxes=boxes, integer_boxes=boxes[::-1])
    shown = ShownImages.model_validate({"least_score": 0.3, "among": 9, "images": [image]})
    result, rows = build_with_costs(2)
    return html(result.model_copy(update={"shown": shown}), rows)


def _compared(runs: int) -> str:
    """Return a comparison of runs of two networks on two sets of images."""
    from built_run import build_with_costs

    from reports.comparison import Compared, html

    result, _ = build_with_costs(2)
    found = []
    for number in range(runs):
        data = result.data and result.data.model_copy(update={"digest": "ab" * 32})
        top1 = {**result.accuracy.integer, "top1": 60.0 + number % 7}
        parts: dict[str, Any] = {
            "latency_ms": 1.5 + number,
            "accuracy": result.accuracy.model_copy(update={"integer": top1}),
            "data": data if number % 3 else result.data,
            "model": result.model.model_copy(update={"name": f"network_{number % 2}"}),
        }
        found.append(Compared(result=result.model_copy(update=parts), name=f"runs/{number}"))
    return html(found)


def _explained() -> str:
    """Return the page of an image whose names are markup, and too long for a phone."""
    from built_explanation import build_explanation

    from reports.explanation import html

    return html(build_explanation(HOSTILE))


def _boxes() -> str:
    from built_explanation import build_explanation_of_boxes

    from reports.explanation import html

    return html(build_explanation_of_boxes())


def _front() -> str:
    """Return a front of designs in two sets, some with markup in their names, some without drop."""
    from built_front import design

    from reports.front import front_of
    from reports.front_page import html

    chips = [{"profile": f"chip_{number}", "rows": str(8 << number)} for number in range(4)]
    designs = [
        design(
            HOSTILE if number == 5 else f"runs/table/network/method-{number}",
            None if number == 7 else number % 9 / 2,
            0.5 + (number * 7 % 24) ** 2 / 10,
            variant=chips[number % 4],
            page=f"../runs/{number}/report.html" if number % 2 else "",
            weight_bytes=1000 + 37 * (number * 5 % 11),
            data_digest="ab" * 32 if number > 20 else "50ff" * 16,
            logit_sqnr_db=None if number in (3, 7) else 30.0 - number,
        )
        for number in range(24)
    ]
    return html(front_of(designs, ("drop", "latency_ms", "weight_bytes")))


def _close() -> str:
    """Return a front of designs whose figures differ in their last digits alone."""
    from built_front import design

    from reports.front import front_of
    from reports.front_page import html

    designs = [design("a", 0.1 + 0.2, 0.123), design("b", 0.3, 0.12300000000000001)]
    return html(front_of(designs, ("drop", "latency_ms", "weight_bytes")))


PAGES: dict[str, Callable[[], str]] = {
    "whole": _whole,
    "older": _older,
    "hostile": _hostile,
    "two_compared": lambda: _compared(2),
    "many_compared": lambda: _compared(20),
    "explained": _explained,
    "boxes": _boxes,
    "crowded": _crowded,
    "front": _front,
    "close": _close,
}
