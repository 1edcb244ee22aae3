# SPDX-License-Identifier: Apache-2.0
"""``aocq golden record``, and the guide that recomputes its files with numpy alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import Demo, Finished, digests

Run = Callable[..., Finished]
GUIDE = (Path(__file__).parents[2] / "docs" / "validation.md").read_text(encoding="utf-8")
# Everything that the guide's blocks may not use, before they run.
NOTHING_OF_OURS = """
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"aocq", "simulator", "reports", "torch", "numba"}:
            raise ImportError(f"{name} is not to be imported here")
sys.meta_path.insert(0, Refusing())
"""


@pytest.fixture(scope="module")
def recorded(demo: Demo, without_torch: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the guide's first command records."""
    out = tmp_path_factory.mktemp("guide") / "golden"
    words = ("--ops", "blocks.0.*", "--images", 4, "--out", out)
    without_torch("golden", "record", demo.folder, *words)
    return out


def test_the_guide_recomputes_three_ops_with_numpy_alone(recorded: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)
    assert len(blocks) == 5
    assert not any(re.search(r"\b(aocq|simulator)\b", block) for block in blocks)
    ended = subprocess.run(
        [sys.executable, "-I", "-c", NOTHING_OF_OURS + "\n".join(blocks)],
        cwd=recorded.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, *others = ended.stdout.splitlines()
    assert re.match(r"\d+ arrays of 20 ops: images 0/", first)
    assert "\n".join(others) in GUIDE
    assert len(others) == 3


def test_the_guide_notices_a_wrong_value(recorded: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.M | re.S)
    spoiled = "\n".join(blocks).replace("np.load(golden / op", "spoil(golden / op")
    spoil = """
def spoil(path):
    array = np.load(path)
    if path.name == "blocks.0.norm1.npy":
        array.flat[7] ^= 1
    return array
"""
    ended = subprocess.run(
        [sys.executable, "-I", "-c", NOTHING_OF_OURS + spoil + spoiled],
        cwd=recorded.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "AssertionError" in ended.stderr


def test_random_codes_need_no_torch_and_come_in_every_format(
    demo: Demo, without_torch: Run, tmp_path: Path
) -> None:
    found = without_torch(
        *("golden", "record", demo.folder, "--random", 3, "--images", 2, "--ops", "head"),
        *("--format", "hex,raw,c", "--word-bits", 64, "--out", tmp_path / "golden"),
    )
    assert "1 ops, 2 images" in found.err
    manifest = json.loads((tmp_path / "golden" / "manifest.json").read_text("utf-8"))
    assert manifest["source"] == "random codes, seed 3"
    assert manifest["word_bits"] == 64
    assert {path.partition("/")[0] for path in manifest["derived"]} == {"hex", "raw", "c"}


def test_recording_again_gives_the_same_files(
    demo: Demo, without_torch: Run, recorded: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    without_torch("golden", "record", demo.folder, "--out", again)
    codes = np.load(again / "tensors" / "image.npy")
    np.save(tmp_path / "codes.npy", codes)
    words = ("--inputs", tmp_path / "codes.npy", "--ops", "blocks.0.*", "--out", tmp_path / "b")
    without_torch("golden", "record", demo.folder, *words)
    one, other = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.npy")}
        for folder in (recorded, tmp_path / "b")
    )
    assert one == other


def test_a_folder_is_listed_and_its_files_are_checked(
    without_torch: Run, recorded: Path, tmp_path: Path
) -> None:
    found = without_torch("golden", "show", recorded)
    assert re.search(r"^ *blocks\.0\.norm1 +LayerNorm +4x17x64 +s8 +12 ", found.out, re.M)
    listed = json.loads(without_torch("golden", "show", recorded, "--json").out)
    assert (listed["kind"], listed["images"], len(listed["ops"])) == ("network", 4, 20)
    shutil.copytree(recorded, tmp_path / "golden")
    path = tmp_path / "golden" / "tensors" / "add.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7e")
    found = without_torch("golden", "show", tmp_path / "golden", code=3)
    assert "add.npy: is not the file that was recorded" in found.err
    without_torch("golden", "show", tmp_path, code=3)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--random", 1, "--inputs", "x.npy"), 3, "x.npy: no such file"),
        (("--random", 1, "--inputs", __file__), 2, "give one of --data FOLDER"),
        (("--random", -1), 2, "--random"),
        (("--random", 1, "--ops", "nrm"), 3, "op nrm: graph vit_nano_digits has no such op"),
        (("--random", 1, "--format", "hexx"), 2, "nearest: hex"),
        (("--random", 1, "--images", 0), 2, "--images"),
        (("--random", 1, "--word-bits", 0), 2, "--word-bits"),
        (("--random", 1, "--profile", "edge_npu_int"), 3, "nearest: edge_npu_int8"),
    ],
)
def test_what_cannot_be_recorded_is_said(
    demo: Demo, without_torch: Run, tmp_path: Path, words: tuple, code: int, told: str
) -> None:
    found = without_torch(
        "golden", "record", demo.folder, *words, "--out", tmp_path / "g", code=code
    )
    assert told in found.err
    assert not (tmp_path / "g").exists()


def test_a_run_is_never_replaced(demo: Demo, without_torch: Run, earlier_run: Path) -> None:
    before = digests(earlier_run)
    found = without_torch(
        "golden", "record", demo.folder, "--random", 1, "--out", earlier_run, code=3
    )
    assert "holds files that are no golden vectors" in found.err
    assert digests(earlier_run) == before
