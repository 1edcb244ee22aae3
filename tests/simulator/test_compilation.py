# SPDX-License-Identifier: Apache-2.0
"""Turns at compiling: of several processes one compiles a kernel, whatever the others suffer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cached_kernels import ARGUMENTS, cached, calling, known, signature_number

from simulator import compilation

ROOT = Path(__file__).parents[2]
# Meets the others at a gate, calls a kernel of kernels and says how many signatures it compiled.
CALLER = """
import sys, time
from pathlib import Path
from cached_kernels import ARGUMENTS, cached, known, signature_number
from simulator import compilation
compilation.LONGEST_WAIT = 600.0
folder, gate, number, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
compiled = cached(signature_number, folder)
Path(f"{gate}.{number}").touch()
while not all(Path(f"{gate}.{other}").exists() for other in range(count)):
    time.sleep(0.001)
assert [compiled(array) for array in ARGUMENTS] == [known(array) for array in ARGUMENTS]
print(len(ARGUMENTS) - sum(compiled.stats.cache_hits.values()))
"""
HOLDER = """
import sys, time
from pathlib import Path
from simulator import compilation
with compilation.turn(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_files", {})
    return tmp_path / "kernels"


def process(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holder(folder):
    """A process that has the turn for ``held`` and does not give it back."""
    found = process(HOLDER, folder, "held")
    assert found.stdout.readline() == "held\n"
    yield found
    found.kill()
    found.communicate()


def test_several_processes_compile_every_signature_once(folder, tmp_path):
    count = 4
    callers = [process(CALLER, folder, tmp_path / "gate", n, count) for n in range(count)]
    try:
        compiled = [int(caller.communicate(timeout=240)[0]) for caller in callers]
    finally:
        for caller in callers:
            caller.kill()
    assert sum(compiled) == len(ARGUMENTS), compiled
    assert len([path for path in folder.iterdir() if path.name[0] != "."]) == len(ARGUMENTS)
    assert not list(folder.glob("*.tmp"))


def test_the_turn_of_one_that_was_killed_passes_on(folder, holder):
    held = []
    with compilation.turn(folder, "another"):  # of another kernel: nobody waits
        pass
    holder.send_signal(signal.SIGKILL)
    with compilation.watched(held.append), compilation.turn(folder, "held"):
        assert held == [None]
    assert compilation._files[folder] is not None  # it was our turn, not our patience's end


def test_one_that_was_stopped_is_waited_for_once(folder, holder, monkeypatch):
    monkeypatch.setattr(compilation, "LONGEST_WAIT", 0.3)
    holder.send_signal(signal.SIGSTOP)
    start = time.monotonic()
    with compilation.turn(folder, "held"):
        assert time.monotonic() - start >= 0.3
    assert compilation._lock_file(folder) is None


def test_kernels_that_call_each_other_take_turns_within_turns(folder):
    inner = cached(signature_number, folder)
    outer = cached(calling(cached(_plus_one, folder)), folder)
    assert outer(3) == 5
    assert inner(ARGUMENTS[0]) == known(ARGUMENTS[0])


def _plus_one(value):
    return value + 1


@pytest.mark.parametrize("obstacle", ["file", "fifo", "link", "open", "none"])
def test_without_turns_kernels_are_compiled(folder, obstacle, tmp_path, capfd):
    place = folder / compilation.LOCKS
    if obstacle == "file":
        folder.write_text("where the folder would be", encoding="utf-8")
    elif obstacle != "none":
        folder.mkdir(mode=0o700)
        if obstacle == "fifo":
            place.mkdir()
        elif obstacle == "link":
            place.symlink_to(tmp_path / "elsewhere")
        else:
            place.touch()
            place.chmod(0o666)
    compiled = cached(signature_number, None if obstacle == "none" else folder)
    assert compiled(ARGUMENTS[0]) == known(ARGUMENTS[0])
    assert compilation._files.get(folder) is None
    assert not (tmp_path / "elsewhere").exists()


def test_those_who_watch_are_told_of_what_is_compiled_alone(folder):
    told = []
    with compilation.watched(told.append):
        cached(signature_number, folder)(ARGUMENTS[0])
        assert told == [None]
        cached(signature_number, folder)(ARGUMENTS[0])
        assert told == [None]
        for number, size in compilation.one_by_one(ARGUMENTS[1:2]):
            cached(signature_number, folder)(size)
            assert number == 0
        cached(signature_number, folder)(ARGUMENTS[2])
    cached(signature_number, folder)(ARGUMENTS[3])
    assert told == [None, (1, 1), None]
