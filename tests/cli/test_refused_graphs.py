# SPDX-License-Identifier: Apache-2.0
"""Graphs whose hashes are right and whose content means nothing, given to every command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Finished
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "simulator"))
from fuzzed_graphs import META, classifier, renamed, write

from simulator.graph import save
from simulator.graph.storage import JSON_NAME

Run = Callable[..., Finished]
Plain = dict[str, Any]


def tensor(plain: Plain, name: str) -> Plain:
    return next(entry for entry in plain["tensors"] if entry["name"] == name)


def scaled(name: str, scale: float) -> Callable[[Plain], Any]:
    return lambda plain: tensor(plain, name).update(scale=[scale])


def said(**meta: str) -> Callable[[Plain], Any]:
    return lambda plain: plain["meta"].update(meta)


def preprocessed(key: str, value: object) -> Callable[[Plain], Any]:
    return said(preprocessing=json.dumps({**json.loads(META["preprocessing"]), key: value}))


DAMAGE: dict[str, tuple[Callable[[Plain], Any], str]] = {
    "scale nan": (scaled("image", float("nan")), "tensor image: scale.0: nan"),
    "scale 0": (scaled("head", 0.0), "tensor head: has scale 0.0"),
    "scale below 0": (scaled("image", -0.01), "tensor image: has scale -0.01"),
    "classes missing": (lambda plain: plain["meta"].pop("classes"), "meta: classes"),
    "classes 6": (said(classes="6"), "meta: classes 6, and output head has shape (5,)"),
    "std 0": (preprocessed("std", [0, 1, 1]), "meta: preprocessing: std = [0, 1, 1]"),
    "crop": (preprocessed("crop_pct", 2.0), "meta: preprocessing: crop_pct = 2.0"),
    "output": (lambda plain: plain.update(outputs=["pool"]), "meta: classes 5"),
    "climbing": (
        lambda plain: renamed(plain, "head", "../../escaped"),
        "tensor '../../escaped': is no name",
    ),
    "absolute": (
        lambda plain: renamed(plain, "head", "/tmp/escaped"),
        "tensor '/tmp/escaped': is no name",
    ),
    "controls": (
        lambda plain: renamed(plain, "head", "\x1b[2J\x07"),
        r"tensor '\x1b[2J\x07': is no",
    ),
    "nameless": (lambda plain: renamed(plain, "head", ""), "tensor '': is no name"),
    "dimensions": (
        lambda plain: tensor(plain, "tokens").update(shape=[1] * 31 + [4, 12]),
        "tensor tokens: has 33 dimensions",
    ),
    "elements": (
        lambda plain: tensor(plain, "image").update(shape=[1 << 62, 1]),
        "tensor image: has 4611686018427387904 elements",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_command_says_what_is_wrong_with_a_graph(
    name: str, without_torch: Run, tmp_path: Path
) -> None:
    damage, message = DAMAGE[name]
    folder, codes, out = tmp_path / "graph", tmp_path / "codes.npy", tmp_path / "a" / "b" / "out"
    save(classifier(), folder)
    plain = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
    damage(plain)
    write(plain, folder)
    np.save(codes, np.zeros((1, 3, 4, 4), np.int8))
    images = tmp_path / "images" / "0"
    images.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(images / "0.png")
    before = sorted(tmp_path.rglob("*"))
    for command in (
        ("inspect", folder),
        ("cost", folder, "--profile", "edge_npu_int8"),
        ("simulate", folder, "--inputs", codes, "--out", out),
        ("simulate", folder, "--data", images.parent, "--out", out),
    ):
        done = without_torch(*command, code=3)
        assert f"error: {folder / JSON_NAME}: not a valid graph: {message}" in done.err
        assert done.err.strip().isprintable()
        assert not done.out
        assert done.seconds < 10
    assert sorted(tmp_path.rglob("*")) == before


def test_codes_that_do_not_go_in_are_refused(without_torch: Run, tmp_path: Path) -> None:
    save(classifier(), tmp_path / "graph")
    path, simulate = tmp_path / "codes.npy", ("simulate", tmp_path / "graph", "--inputs")
    path.write_bytes(b"\x93NUMPY\x01\x00\x46\x00{'descr': '|i1', 'fortran_order': ")
    assert f"error: {path}: not a .npy file" in without_torch(*simulate, path, code=3).err
    np.save(path, np.zeros((0, 3, 4, 4), np.int8))
    assert "no images, [images, " in without_torch(*simulate, path, code=3).err
    np.save(path, np.zeros((2, 3, 4, 4), np.int8))
    assert without_torch(*simulate, path, "--gemm", "numba").code == 0
