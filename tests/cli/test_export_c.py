# SPDX-License-Identifier: Apache-2.0
"""``aocq export c``, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from command_line import Demo, Finished

Run = Callable[..., Finished]


def test_a_run_becomes_c(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    out = tmp_path / "c"
    done = without_torch("export", "c", demo.folder, "--out", out, "--json", code=0)
    about = json.loads(done.out)
    assert (about["network"], about["constants"]) == ("vit_nano_digits", "arrays")
    assert about["graph_sha256"] in (out / "network.c").read_text("utf-8")
    made = {path.name for path in out.iterdir()}
    assert {"network.c", "network.h", "main.c", "Makefile", "aocq.h", "README.md"} <= made
    again = without_torch("export", "c", demo.folder, "--out", out, "--constants", "file", code=0)
    assert "constants            file" in again.out
    assert (out / "constants.bin").stat().st_size >= about["constant_bytes"]


def test_files_of_ones_own_are_not_replaced(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text("mine:\n", "utf-8")
    done = without_torch("export", "c", demo.folder, "--out", tmp_path, code=3)
    assert "Makefile: was not written by aocq, and would be replaced" in done.err
    assert (tmp_path / "Makefile").read_text("utf-8") == "mine:\n"
    assert not (tmp_path / "network.c").exists()


def test_what_is_no_graph_is_told(without_torch: Run, tmp_path: Path) -> None:
    done = without_torch("export", "c", tmp_path, "--out", tmp_path / "c", code=3)
    assert "graph.json: not found" in done.err


def test_a_folder_for_the_result_is_asked_for(demo: Demo, without_torch: Run) -> None:
    assert "--out" in without_torch("export", "c", demo.folder, code=2).err
