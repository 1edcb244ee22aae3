# SPDX-License-Identifier: Apache-2.0
"""A mistake of the program itself has an exit code of its own: 1 means that a verdict is no."""

from __future__ import annotations

import pytest

import aocq.cli.app
from aocq.cli import INTERNAL_ERROR, main


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'timm'"), "error: No module named 'timm'; install"),
        (MemoryError(), "error: not enough memory"),
    ],
)
def test_what_the_machine_lacks_is_no_mistake_of_the_program(
    error: Exception,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def lacking() -> None:
        raise error

    monkeypatch.setattr(aocq.cli.app, "app", lacking)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 4
    assert capsys.readouterr().err.startswith(told)


def test_a_mistake_of_the_program_is_no_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("of nobody's doing")

    monkeypatch.setattr(aocq.cli.app, "app", broken)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == INTERNAL_ERROR == 70
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "ZeroDivisionError: of nobody's doing" in told
    assert told.endswith("error: this is a mistake of aocq's own; please report it\n")
