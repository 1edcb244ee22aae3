# SPDX-License-Identifier: Apache-2.0
"""Help, mistakes of names and estimates made before come soon: what they import, and nothing else.

No times: these depend on the machine, imports do not.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, WATCHED, Finished
from PIL import Image

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
        ("front", "--help"),
        ("search", "--help"),
        ("profiles", "--help"),
    ],
    ids=" ".join,
)
def test_help_imports_nothing_that_takes_long(arguments: tuple[str, ...]) -> None:
    start = time.monotonic()
    done = watched(*arguments)
    assert time.monotonic() - start < 10
    assert done.returncode == 0, done.stderr
    assert done.stdout
    imported = modules(done)
    assert "typer" in imported
    assert not imported & SLOW


def watched(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose last line on stderr is what it has imported."""
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *map(str, arguments)],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def modules(done: subprocess.CompletedProcess[str]) -> set[str]:
    return set(done.stderr.splitlines()[-1].split())


VERIFY = ("verify", "deit_tiny_patch16_224", "--data", "@images")
# Beside what help needs: Pillow and numpy look at images, profiles are checked with numpy.
IMAGES, PROFILES = frozenset({"PIL", "numpy"}), frozenset({"numpy"})
NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("arguments", "code", "needs"),
    [
        (("cost", "deit_tiny_patch16_225"), 3, NOTHING),
        (("cost", "deit_tiny_patch16_224", "--profile", "edge_npu_int9"), 3, NOTHING),
        (("cost", "none/graph.json"), 3, NOTHING),
        (("models", "deit*"), 0, NOTHING),
        (("models", "nope*"), 3, NOTHING),
        (("simulate", "none", "--data", "@images"), 3, NOTHING),
        (("inspect", "none"), 3, NOTHING),
        (("profiles", "show", "edge_npu_int9"), 3, PROFILES),
        (("verify", "x", "--data", "none"), 3, NOTHING),
        ((*VERIFY, "--dat", "x"), 2, NOTHING),
        ((*VERIFY, "--method", "aocp"), 2, NOTHING),
        (VERIFY, 3, NOTHING),  # of 1,000 classes, the folders' names are none of ImageNet's
        ((*VERIFY, "--num-classes", "2", "--profile", "edge_npu_int9"), 3, IMAGES),
        ((*VERIFY, "--num-classes", "2", "--weights", "none.pth"), 3, IMAGES),
        (("verify", "deit", "--data", "@images"), 3, IMAGES),
        (("quantize", "deit", "--calib-data", "@images"), 3, PROFILES),
        (("table2", "deit"), 3, NOTHING),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_name_that_is_wrong_imports_nothing_that_takes_long(
    arguments: tuple[str, ...], code: int, needs: frozenset[str], tmp_path: Path
) -> None:
    """Neither torch nor timm, nor Numba, nor what draws and judges."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "0.png")
    done = watched(*(word.replace("@images", str(tmp_path)) for word in arguments))
    assert done.returncode == code, done.stderr
    assert modules(done) & SLOW <= needs


def test_an_estimate_of_a_captured_network_imports_what_estimates(
    warm: Callable[..., Finished], tmp_path: Path
) -> None:
    cache = {"AOCQ_CACHE_DIR": str(tmp_path)}
    before = warm("cost", "vit_nano_digits", "--json", **cache)
    done = watched("cost", "vit_nano_digits", "--json", **cache)
    assert done.stdout == before.out
    assert modules(done) & SLOW == {"numpy"}
