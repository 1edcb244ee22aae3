# SPDX-License-Identifier: Apache-2.0
"""Leases: one holder at a time, who is told, and whose death is noticed."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from aocq.records.lease import EXPIRES, UNWRITTEN, Holder, Lease, leased, take
from simulator.errors import InputError

# Takes the lease of a file, says so and sleeps.
HOLDS = """
import sys, time
from pathlib import Path
from aocq.records.lease import take
held = take(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""
# Adds one to the number in a file 20 times, each time under the lease.
COUNTS = """
import sys
from pathlib import Path
from aocq.records.lease import leased
path, lease = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(20):
    with leased(lease):
        path.write_text(str(int(path.read_text()) + 1))
"""


def killed_holder(path: Path) -> subprocess.Popen[str]:
    """A process that was killed while it held the lease; not waited for, so a zombie."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def test_one_process_has_it_until_it_releases_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lease.json"
    held = take(path)
    assert isinstance(held, Lease)
    other = take(path)
    assert isinstance(other, Holder)
    assert (other.host, other.process) == (platform.node(), os.getpid())
    held.release()
    assert not path.exists()
    assert isinstance(take(path), Lease)


def test_a_killed_holder_is_named_and_its_lease_taken_over(tmp_path: Path) -> None:
    path, notes = tmp_path / "lease.json", []
    with killed_holder(path) as process:
        with take(path, notes.append):
            assert len(notes) == 1
            assert f"took over from process {process.pid} on {platform.node()}, aocq" in notes[0]
            assert json.loads(path.read_text("utf-8"))["process"] == os.getpid()
        process.wait()
    assert list(tmp_path.iterdir()) == []


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    _write(path)
    assert isinstance(take(path), Lease)


@pytest.mark.parametrize(("age", "gone"), [(EXPIRES - 60, False), (EXPIRES + 60, True)])
def test_a_holder_elsewhere_is_gone_when_it_renews_no_more(
    tmp_path: Path, age: float, gone: bool
) -> None:
    path = tmp_path / "lease.json"
    _write(path, host="elsewhere")
    os.utime(path, (time.time() - age,) * 2)
    assert isinstance(take(path), Lease) == gone


@pytest.mark.parametrize(("age", "gone"), [(0, False), (UNWRITTEN + 60, True)])
def test_a_lease_that_names_nobody_is_left_over_after_a_moment(
    tmp_path: Path, age: float, gone: bool
) -> None:
    path = tmp_path / "lease.json"
    path.touch()
    os.utime(path, (time.time() - age,) * 2)
    assert isinstance(take(path), Lease) == gone


def test_a_lease_that_was_taken_over_is_not_released_by_its_former_holder(tmp_path: Path) -> None:
    path = tmp_path / "lease.json"
    held = take(path)
    assert isinstance(held, Lease)
    _write(path, host="elsewhere")
    held.release()
    assert json.loads(path.read_text("utf-8"))["host"] == "elsewhere"


def test_it_is_waited_for_and_said_for_whom(tmp_path: Path) -> None:
    path, notes = tmp_path / "lease.json", []
    held = take(path)
    assert isinstance(held, Lease)
    threading.Timer(0.5, held.release).start()
    with leased(path, notes.append):
        pass
    assert len(notes) == 1
    assert notes[0].startswith(f"waiting for lease.json, which process {os.getpid()} on")


def test_processes_exclude_each_other(tmp_path: Path) -> None:
    count, lease = tmp_path / "count", tmp_path / "lease.json"
    count.write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNTS, count, lease]) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert count.read_text() == "60"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/lease.json: cannot be written"):
        take(tmp_path / "file" / "lease.json")


def _write(path: Path, *, host: str | None = None) -> None:
    """A lease of a process that has this one's number and started long ago."""
    holder = {
        "host": host or platform.node(),
        "process": os.getpid(),
        "started": 1.0,
        "command": "aocq sweep",
        "token": "0",
    }
    path.write_text(json.dumps(holder), "utf-8")
