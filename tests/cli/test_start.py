# SPDX-License-Identifier: Apache-2.0
"""Help comes at once: what takes long to import stays inside the commands."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from command_line import ENVIRONMENT, WATCHED

SLOW = frozenset({"jinja2", "matplotlib", "numba", "numpy", "pandas", "PIL", "timm", "torch"})


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("verify", "--help"),
        ("quantize", "--help"),
        ("simulate", "--help"),
        ("targets", "--help"),
        ("figures", "--help"),
        ("profiles", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_that_takes_long(arguments: tuple[str, ...]) -> None:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert time.monotonic() - start < 10
    assert done.returncode == 0, done.stderr
    assert done.stdout
    imported = set(done.stderr.split())
    assert "typer" in imported
    assert not imported & SLOW
