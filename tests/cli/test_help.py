# SPDX-License-Identifier: Apache-2.0
"""Help says the names of options whole, however narrow the terminal is."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from aocq.cli.app import app_of
from aocq.cli.group import NARROW


def options_of(words: tuple[str, ...]) -> set[str]:
    command = get_command(app_of(words))
    for word in words:
        assert isinstance(command, TyperGroup)
        command = command.commands[word]
    return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}


@pytest.mark.parametrize("columns", [40, 80, NARROW - 1, NARROW])
@pytest.mark.parametrize("command", ["verify", "ablate", "golden record"])
def test_no_name_of_an_option_is_cut(command: str, columns: int) -> None:
    words = tuple(command.split())
    done = subprocess.run(
        [sys.executable, "-m", "aocq", *words, "--help"],
        env={**os.environ, "COLUMNS": str(columns)},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    shown = {*re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout)}
    wanted = {name for name in options_of(words) if name.startswith("-")}
    assert len(wanted) > 10
    assert wanted <= shown


def test_an_argument_that_only_habit_asks_for_is_not_in_the_help() -> None:
    """``cost --json -`` works; the usage line has the network alone."""
    done = subprocess.run(
        [sys.executable, "-m", "aocq", "cost", "--help"],
        env={**os.environ, "COLUMNS": "120"},
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    usage = next(line for line in done.stdout.splitlines() if "Usage:" in line)
    assert usage.strip() == "Usage: python -m aocq cost [OPTIONS] {GRAPH|MODEL}"
    assert "[-]" not in done.stdout
    assert "stream" not in done.stdout
