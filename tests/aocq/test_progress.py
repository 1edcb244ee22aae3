# SPDX-License-Identifier: Apache-2.0
"""Progress away from a terminal: lines, and what is said beside of kernels that are compiled."""

from __future__ import annotations

import pytest

from aocq import progress
from simulator import compilation


@pytest.fixture(autouse=True)
def nothing_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_between", progress._Lines("", 0))


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    return capfd.readouterr().err.splitlines()


def test_kernels_that_take_a_moment_are_not_worth_a_line(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with progress.show("simulate", 2) as advance:
        for _ in range(5):
            progress.compiling((1, 51))
        advance(2)
    assert lines(capfd) == ["simulate: 2/2, 0 s"]


def test_kernels_that_take_longer_are_told_now_and_then(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_IN_SILENCE", 0.0)
    with progress.show("simulate", 2):
        for op in (1, 6, 7):
            progress.compiling((op, 51))
    assert lines(capfd) == [f"simulate: {progress.COMPILING}: op 6 of 51"]
    with progress.show("simulate", 2):
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
        for op in (1, 6, 7):
            progress.compiling((op, 51))
    assert lines(capfd)[-1] == f"simulate: {progress.COMPILING}: op 7 of 51"


def test_kernels_outside_of_what_is_shown_are_told_too(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that prove a matrix product exact, before anything is run."""
    monkeypatch.setattr(progress, "SECONDS_IN_SILENCE", 0.0)
    with compilation.watched(progress.compiling):
        for name in ("a", "b"):
            with compilation.turn(None, name):
                pass
    assert lines(capfd) == [progress.COMPILING]


def test_a_bar_says_it_beside_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with progress._saying(lambda text: said.append(f"outer {text}")):
        with progress._saying(said.append):
            progress.compiling(None)
        progress.compiling((2, 9))
    assert said == [progress.COMPILING, f"outer {progress.COMPILING}: op 2 of 9"]


def test_a_note_of_many_runs_is_said_once() -> None:
    said: list[str] = []
    note = progress.once_each(said.append)
    for text in ("candidate 1", "the chip can rotate", "candidate 2", "the chip can rotate"):
        note(text)
    assert said == ["candidate 1", "the chip can rotate", "candidate 2"]
