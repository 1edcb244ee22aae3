# SPDX-License-Identifier: Apache-2.0
"""``aocq golden check``: exit codes, text, JSON, JUnit; without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from command_line import ENVIRONMENT, WATCHED, Finished

from simulator.graph import GraphBuilder, save
from simulator.graph.ops import Rescale
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

Run = Callable[..., Finished]
S8 = IntType(bits=8)


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory, without_torch: Run) -> Path:
    """Golden vectors of two ops in a row, each half of what it reads."""
    folder = tmp_path_factory.mktemp("vectors")
    builder = GraphBuilder("halves")
    name = builder.input("a", (4, 8), S8)
    for op in ("half", "quarter"):
        rule = {"rounding": Rounding.HALF_UP, "overflow": Overflow.SATURATE}
        name = builder.op(Rescale, op, name, multiplier=[1], shift=[1], type=S8, **rule)
    save(builder.build(), folder / "graph")
    words = ("--random", 3, "--images", 2, "--out", folder / "golden")
    without_torch("golden", "record", folder / "graph", *words)
    return folder / "golden"


@pytest.fixture
def dump(golden: Path, tmp_path: Path) -> Path:
    """A dump whose first op rounds ties down."""
    a = np.load(golden / "tensors" / "a.npy").astype(np.int64)
    half = a >> 1
    np.save(tmp_path / "half.npy", half.astype(np.int8))
    np.save(tmp_path / "quarter.npy", (half + 1 >> 1).astype(np.int8))
    return tmp_path


def test_a_right_dump_ends_with_0(golden: Path, without_torch: Run) -> None:
    ended = without_torch("golden", "check", golden, golden / "tensors")
    assert ended.out.splitlines()[-1] == "verdict: equal"
    assert f"note: `aocq golden coverage {golden}` says which mistakes" in ended.err


def test_a_wrong_one_ends_with_1_and_says_why(golden: Path, dump: Path, without_torch: Run) -> None:
    ended = without_torch("golden", "check", golden, dump, "--junit", dump / "junit.xml", code=1)
    lines = ended.out.splitlines()
    assert lines[0].startswith("half (Rescale): result differs in ")
    # Both modes halve alike: no value tells a shift alone from ties that go down.
    assert "  pattern rounding mode: rounds ties toward minus infinity" in lines
    assert "first wrong: half (Rescale), result" in lines
    assert any("1 other values, but right for the dump's own operands" in line for line in lines)
    suite = ElementTree.parse(dump / "junit.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "2")


def test_json_has_the_same(golden: Path, dump: Path, without_torch: Run) -> None:
    ended = without_torch("golden", "check", golden, dump, "--json", "--ops", "half", code=1)
    found = json.loads(ended.out)
    assert found["first_fault"] == {"op": "half", "array": "result"}
    (array,) = found["arrays"]
    assert "rounding mode" in array["pattern"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--ops", "third"), "no such op; it has"),
        (("--map", "nothing.toml"), "name a mapping file with --map"),
    ],
)
def test_what_cannot_be_compared_ends_with_3(
    golden: Path, dump: Path, without_torch: Run, words: tuple[str, ...], told: str
) -> None:
    ended = without_torch("golden", "check", golden, dump, *words, code=3)
    assert told in ended.err


def test_folders_that_are_none_end_with_3(golden: Path, tmp_path: Path, without_torch: Run) -> None:
    ended = without_torch("golden", "check", tmp_path, golden, code=3)
    assert "a golden folder is what" in ended.err
    ended = without_torch("golden", "check", golden, tmp_path, code=3)
    assert "has no file named as one of the golden folder" in ended.err


def test_a_run_is_told_from_golden_vectors(
    golden: Path, tmp_path: Path, without_torch: Run
) -> None:
    (tmp_path / "manifest.json").write_text('{"format": 1, "results": {}}')
    (tmp_path / "run.json").touch()
    ended = without_torch("golden", "check", tmp_path, golden, code=3)
    assert f"is a run, not golden vectors; `aocq golden record {tmp_path} --out DIR`" in ended.err


def test_altered_golden_files_end_with_3(golden: Path, tmp_path: Path, without_torch: Run) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(golden, copied)
    codes = np.load(copied / "tensors" / "half.npy")
    codes[0, 0, 0] += 1
    np.save(copied / "tensors" / "half.npy", codes)
    ended = without_torch("golden", "check", copied, golden / "tensors", code=3)
    assert "is not the file that was recorded" in ended.err


def test_torch_is_not_imported(golden: Path, dump: Path) -> None:
    command = [sys.executable, "-c", WATCHED, "golden", "check", str(golden), str(dump)]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert not {"torch", "timm", "pandas", "pywellen"} & {*ended.stderr.split()}
