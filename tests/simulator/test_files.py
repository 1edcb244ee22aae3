# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import json
import os
import stat

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


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "x.npy", "é" * 60 + ".json", "日" * 85])
def test_the_longest_names_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert names_in(tmp_path) == [name]
    with replace_file(tmp_path / name) as temporary:
        temporary.write_text("new")
        assert len(os.fsencode(temporary.name)) < 143  # what encrypted file systems take
    assert (tmp_path / name).read_text() == "new"


@pytest.mark.parametrize("name", ["x" * 256, "ä" * 128, "日" * 86])
def test_names_that_are_too_long_are_told(tmp_path, name):
    with pytest.raises(InputError, match=r"cannot be written \(File name too long\); choose a sh"):
        write_text(tmp_path / name, "text")
    with pytest.raises(InputError, match=r"cannot be written \(File name too long\); choose a sh"):
        write_text(tmp_path / name / "graph.json", "text")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x\udfffy"])
def test_names_that_no_file_can_have_are_told(tmp_path, name):
    with pytest.raises(InputError, match="no name that a file can have"):
        write_text(tmp_path / name, "text")
    assert names_in(tmp_path) == []


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe")
    write_text(path, "text")
    assert [os.fsencode(name) for name in names_in(tmp_path)] == [b"\xff\xfe"]


@pytest.mark.parametrize(
    ("code", "way_out"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EDQUOT, "make room"),
        (errno.EIO, "another one"),
        (errno.EROFS, "name a writable folder"),
        (errno.EACCES, "name a writable folder"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "write", "fsync", "replace"])
def test_whatever_fails_is_told_and_leaves_the_old_file(tmp_path, monkeypatch, code, way_out, step):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    target = {
        "mkdir": "pathlib.Path.mkdir",
        "write": "pathlib.Path.write_text",
        "fsync": "os.fsync",
        "replace": "pathlib.Path.replace",
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(target, fail)
        with pytest.raises(InputError) as caught:
            write_text(path, "new")
    assert f"{path}: cannot be written ({os.strerror(code)}); " in str(caught.value)
    assert way_out in str(caught.value)
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["file.txt"]


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(descriptor):
        status = os.fstat(descriptor)
        done.append("folder" if stat.S_ISDIR(status.st_mode) else f"{status.st_size} bytes")
        fsync(descriptor)

    def noting_replace(source, target):
        done.append("name")
        replace(source, target)

    monkeypatch.setattr("os.fsync", noting_fsync)
    monkeypatch.setattr("os.replace", noting_replace)
    write_text(tmp_path / "file.txt", "12345")
    assert done == ["5 bytes", "name", "folder"]


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", refuse)
    write_text(tmp_path / "file.txt", "text")
    assert (tmp_path / "file.txt").read_text() == "text"


def test_threads_do_not_share_a_temporary_file(tmp_path):
    with replace_file(tmp_path / "a") as one, replace_file(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def test_lone_surrogates_are_written_as_json_has_them(tmp_path):
    name = os.fsdecode(b"b\xff.png")
    write_text(tmp_path / "file.json", json.dumps([name, "é"], ensure_ascii=False))
    written = (tmp_path / "file.json").read_bytes()
    assert written == '["b\\udcff.png", "é"]'.encode()
    assert json.loads(written) == [name, "é"]
