# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulator import config
from simulator.config import cache_folder, default_threads
from simulator.errors import EnvironmentProblem

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("value", "threads"), [("1", 1), ("3", 3), ("0016", 16), ("1024", 1024)])
def test_threads_from_the_environment(monkeypatch, value, threads):
    monkeypatch.setenv("AOCQ_THREADS", value)
    assert default_threads() == threads


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "1025", "99999999999999999999", "two", "1.5", "1e3", " 4", "0x4"]
)
def test_other_numbers_of_threads_are_refused(monkeypatch, value):
    monkeypatch.setenv("AOCQ_THREADS", value)
    with pytest.raises(EnvironmentProblem) as caught:
        default_threads()
    assert f"AOCQ_THREADS = {value}: must be a whole number from 1 to 1024" in str(caught.value)


def test_threads_default_to_the_cores_of_this_process(monkeypatch):
    monkeypatch.delenv("AOCQ_THREADS", raising=False)
    assert 1 <= default_threads() <= (os.cpu_count() or 1)


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(tmp_path / "some" / "cache"))
    assert cache_folder() == tmp_path / "some" / "cache"
    assert cache_folder().is_dir()
    assert list(cache_folder().iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentProblem, match="name a writable folder or unset it") as caught:
        cache_folder()
    assert str(tmp_path / "file" / "cache") in str(caught.value)


def test_without_a_writable_home_the_cache_is_temporary(monkeypatch, tmp_path):
    (tmp_path / "home").write_text("")
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("AOCQ_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert cache_folder() == tmp_path / "temporary" / f"aocq-cache-{os.getuid()}"


@pytest.mark.parametrize("value", ["²", "1²", "٣", "１", "3\n", "\udcff", "9" * 5000])
def test_only_plain_digits_are_a_number_of_threads(monkeypatch, value):
    monkeypatch.setenv("AOCQ_THREADS", value)
    with pytest.raises(EnvironmentProblem, match="must be a whole number from 1 to 1024"):
        default_threads()


@pytest.fixture
def without_home(monkeypatch, tmp_path):
    """A temporary folder, and a home that cannot be written; leads to this user's folder."""
    (tmp_path / "home").write_text("")
    (tmp_path / "temporary").mkdir()
    monkeypatch.delenv("AOCQ_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    config._passing_folder.cache_clear()
    yield tmp_path / "temporary" / f"aocq-cache-{os.getuid()}"
    config._passing_folder.cache_clear()


def test_the_temporary_cache_is_this_user_s_alone(without_home):
    old = os.umask(0)
    try:
        assert cache_folder() == without_home
    finally:
        os.umask(old)
    assert without_home.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == without_home


def open_to_all(folder):
    folder.mkdir()
    folder.chmod(0o777)


def readable(folder):
    folder.mkdir()
    folder.chmod(0o755)


def a_link(folder):
    other = folder.with_name("other")
    other.mkdir(mode=0o700)
    folder.symlink_to(other)


def a_file(folder):
    folder.write_text("")


def foreign(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


PLANTED = [open_to_all, readable, a_link, a_file]
if os.getuid() == 0:  # nobody else can give folders away
    PLANTED.append(foreign)


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_temporary_cache_is_left_alone(without_home, plant, capfd):
    plant(without_home)
    folder = cache_folder()
    assert folder != without_home
    assert folder.parent == without_home.parent
    assert folder.is_dir()
    assert not folder.is_symlink()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder  # one for the whole process
    told = capfd.readouterr().err
    assert told.count("note: ") == 1
    assert f"{without_home} is not this user's alone" in told


def test_the_passing_cache_is_removed_at_the_end(without_home):
    without_home.write_text("")
    done = subprocess.run(
        [sys.executable, "-c", "from simulator.config import cache_folder; print(cache_folder())"],
        env={**os.environ, "TMPDIR": str(without_home.parent), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).parent == without_home.parent
    assert list(without_home.parent.iterdir()) == [without_home]


def test_where_no_folder_can_be_made_there_is_none(without_home, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(without_home / "missing"))
    assert cache_folder() is None


@pytest.mark.parametrize("mode", [0o770, 0o775, 0o777, 0o1777, 0o707])
def test_a_cache_that_others_can_write_is_refused(monkeypatch, tmp_path, mode):
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(folder))
    with pytest.raises(EnvironmentProblem, match=r"others can write it.*chmod go-w.*unset it"):
        cache_folder()
    folder.chmod(mode & 0o755)
    assert cache_folder() == folder


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("given", ["the folder", "a link to it"])
def test_a_cache_of_another_user_is_refused(monkeypatch, tmp_path, given):
    folder, link = tmp_path / "cache", tmp_path / "link"
    folder.mkdir(mode=0o755)
    link.symlink_to(folder)
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(link))
    assert cache_folder() == link  # one's own link to one's own folder
    os.chown(folder if given == "the folder" else link, 12345, -1, follow_symlinks=False)
    with pytest.raises(EnvironmentProblem, match="user 12345"):
        cache_folder()


def test_the_home_cache_may_be_open_to_a_group(monkeypatch, tmp_path):
    folder = tmp_path / ".cache" / "aocq"
    folder.mkdir(parents=True)
    folder.chmod(0o775)  # as with umask 002; folders of kernels in it are private
    monkeypatch.delenv("AOCQ_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == folder


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives folders away")
def test_a_home_of_another_user_is_not_used(monkeypatch, tmp_path):
    folder = tmp_path / ".cache" / "aocq"
    folder.mkdir(parents=True)
    os.chown(folder, 12345, -1)
    monkeypatch.delenv("AOCQ_CACHE_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"aocq-cache-{os.getuid()}"
