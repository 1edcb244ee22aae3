# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest

from simulator.config import cache_folder, default_threads
from simulator.errors import EnvironmentProblem


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
