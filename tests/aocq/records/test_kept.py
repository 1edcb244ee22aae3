# SPDX-License-Identifier: Apache-2.0
"""Files of unfinished work come back as they were written, or not at all."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import pytest
from mutations import byte_mutants

from aocq.records.kept import keep, kept
from simulator.errors import InputError


def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    for content in (b"", b"\x00", bytes(range(256)) * 100):
        keep(tmp_path / "new" / "a", content)
        assert kept(tmp_path / "new" / "a") == content


def test_no_damage_passes(tmp_path: Path) -> None:
    path = tmp_path / "batch-00000.npz"
    keep(path, bytes(range(256)) * 4)
    whole = path.read_bytes()
    for said, mutant in byte_mutants(whole, seed=3, count=1000):
        path.write_bytes(mutant)
        assert (kept(path) is None) == (mutant != whole), said
    path.unlink()
    assert kept(path) is None
    path.mkdir()
    assert kept(path) is None


def test_the_whole_file_of_another_name_is_another_file(tmp_path: Path) -> None:
    keep(tmp_path / "batch-00000.npz", b"first")
    (tmp_path / "batch-00000.npz").rename(tmp_path / "batch-00001.npz")
    assert kept(tmp_path / "batch-00001.npz") is None


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        keep(tmp_path / "file" / "below", b"")


def test_a_file_of_another_folder_is_none_of_this_one_s(tmp_path: Path) -> None:
    """Folders are named by what their files depend on."""
    keep(tmp_path / "evaluation-1" / "batch", b"content")
    (tmp_path / "evaluation-2").mkdir()
    shutil.copy(tmp_path / "evaluation-1" / "batch", tmp_path / "evaluation-2" / "batch")
    assert kept(tmp_path / "evaluation-1" / "batch") == b"content"
    assert kept(tmp_path / "evaluation-2" / "batch") is None


def test_a_file_of_another_size_is_not_read(tmp_path: Path) -> None:
    keep(tmp_path / "batch", b"content")
    with (tmp_path / "batch").open("ab") as file:
        file.truncate(1 << 33)
    tracemalloc.start()
    assert kept(tmp_path / "batch") is None
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
