# SPDX-License-Identifier: Apache-2.0
"""The example repository as a project of its own: the installed wheel, no torch, its own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from closed_environment import ROOT, closed_environment, wheel

EXAMPLE = ROOT / "docs" / "examples" / "rtl_regression"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    return closed_environment(folder / "environment", wheel(folder), "pytest")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "rtl_regression"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {"PATH", "HOME", "AOCQ_CACHE_DIR", "LD_LIBRARY_PATH"}
    environment = {name: value for name, value in os.environ.items() if name in kept}
    command = [str(python), "-B", *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def outcome_of(python: Path, folder: Path, *words: str) -> tuple[int, str]:
    ended = run(python, folder, "-m", "pytest", "-p", "no:cacheprovider", *words)
    return ended.returncode, ended.stdout + ended.stderr


def test_the_environment_has_the_wheel_and_no_torch(python: Path, tmp_path: Path) -> None:
    code = """
import importlib.util, simulator, sys
assert all(importlib.util.find_spec(name) is None for name in ("torch", "timm", "pandas"))
print(simulator.__file__)
"""
    ended = run(python, tmp_path, "-c", code)
    assert ended.returncode == 0, ended.stderr
    assert str(ROOT) not in ended.stdout


def test_the_regression_passes_as_it_stands(
    needs: Callable[..., None], python: Path, repository: Path
) -> None:
    needs("iverilog")
    code, said = outcome_of(python, repository)
    assert code == 0, said
    assert "3 passed" in said
    code, said = outcome_of(python, repository, "--golden-update")
    assert code == 0, said
    assert "0 written, 0 changed, 3 unchanged" in said


def test_wrong_rounding_in_the_rtl_is_found_and_named(
    needs: Callable[..., None], python: Path, repository: Path
) -> None:
    needs("iverilog")
    units = repository / "rtl" / "layer.v"
    text = units.read_text("utf-8")
    wrong = text.replace("scaled < 30'sd0 ? 30'sd1 : 30'sd0;", "30'sd0;")
    assert wrong != text
    units.write_text(wrong, "utf-8")
    code, said = outcome_of(python, repository, "-k", "rtl")
    assert code == 1, said
    assert "2 failed" in said
    assert "pattern rounding mode: rounds ties toward plus infinity" in said
    assert "accumulator agree: the fault is behind accumulator" in said


def test_another_integer_of_the_emulator_is_found(python: Path, repository: Path) -> None:
    maker = repository / "make_graph.py"
    maker.write_text(maker.read_text("utf-8").replace("HALF_AWAY", "HALF_EVEN"), "utf-8")
    assert run(python, repository, "make_graph.py").returncode == 0
    code, said = outcome_of(python, repository, "-k", "emulator")
    assert code == 1, said
    assert "golden array 'layer.layer'" in said
    assert "graph_sha256 was" in said


def test_the_committed_graph_is_what_its_script_makes(python: Path, repository: Path) -> None:
    before = {path: path.read_bytes() for path in repository.rglob("graph/*")}
    stimulus = (repository / "stimulus.npy").read_bytes()
    assert run(python, repository, "make_graph.py").returncode == 0
    assert {path: path.read_bytes() for path in repository.rglob("graph/*")} == before
    assert len(before) == 2
    assert (repository / "stimulus.npy").read_bytes() == stimulus
