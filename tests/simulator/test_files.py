# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from simulator.errors import InputError
from simulator.files import replace_file, write_text


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file_is_whole(tmp_path):
    write_text(tmp_path / "new" / "folder" / "file.txt", "größe\n")
    path = tmp_path / "new" / "folder" / "file.txt"
    assert path.read_bytes() == "größe\n".encode()
    assert names_in(path.parent) == ["file.txt"]


def test_an_old_file_is_replaced_only_at_the_end(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replace_file(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary != path
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["file.txt"]


def write_and_fail(path, problem, begun=True):
    with replace_file(path) as temporary:
        if begun:
            temporary.write_text("half of the ne")
        raise problem


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("begun", [True, False])
def test_an_old_file_stays_when_the_block_raises(tmp_path, problem, begun):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(problem)):
        write_and_fail(path, problem, begun)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file.txt"]


def test_no_file_appears_when_the_block_raises(tmp_path):
    with pytest.raises(ValueError, match="x"):
        write_and_fail(tmp_path / "file.txt", ValueError("x"))
    assert names_in(tmp_path) == []


def test_a_full_disk_is_an_input_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(InputError, match=r"file\.txt: cannot be written \(No space left"):
        write_and_fail(path, OSError(28, "No space left on device"))
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file.txt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "graph.json"
    with pytest.raises(InputError) as caught:
        write_text(path, "text")
    assert str(path) in str(caught.value)
    assert "name a writable folder" in str(caught.value)


def test_a_folder_of_that_name_is_not_replaced(tmp_path):
    (tmp_path / "graph.json").mkdir()
    with pytest.raises(InputError, match=r"graph\.json: cannot be written"):
        write_text(tmp_path / "graph.json", "text")
    assert names_in(tmp_path) == ["graph.json"]


def test_processes_do_not_share_a_temporary_file(tmp_path):
    with replace_file(tmp_path / "file.txt") as temporary:
        assert str(os.getpid()) in temporary.name
        temporary.write_text("x")
