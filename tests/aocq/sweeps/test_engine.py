# SPDX-License-Identifier: Apache-2.0
"""Units by worker processes, some of which are killed: each ends as a result or as a reason."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from small_units import BEGUN, GO_ON, RESULT, small_unit

from aocq.progress import Note, silent
from aocq.records.lease import take
from aocq.sweeps import local_pool
from aocq.sweeps.engine import run_units
from aocq.sweeps.local_pool import LocalPool
from aocq.sweeps.pool import ThisProcess
from aocq.sweeps.run_state import DEATHS_NAME, FAILED_NAME, LEASE_NAME, LOG_NAME, note_death
from aocq.sweeps.unit import Busy, Failed, Made, Outcome, Unit

# Begins a sweep of endless units in a folder, with two workers.
ENDLESS = """
import sys
from pathlib import Path
from small_units import small_unit
from aocq.sweeps.engine import run_units
from aocq.sweeps.local_pool import LocalPool

if __name__ == "__main__":
    units = [small_unit(Path(sys.argv[1]), number, "endless") for number in range(2)]
    with LocalPool(2, print) as pool:
        list(run_units(units, pool, print))
"""


def ran(
    units: Sequence[Unit], *, workers: int = 2, retry_failed: bool = False
) -> tuple[dict[str, Outcome], list[str]]:
    """What became of units by their names, and what was noted."""
    notes: list[str] = []
    with LocalPool(workers, notes.append) as pool:
        found = dict(run_units(units, pool, notes.append, retry_failed=retry_failed))
    return {unit.name: outcome for unit, outcome in found.items()}, notes


def begun(folder: Path, number: int) -> list[int]:
    """The processes that began a unit."""
    lines = (folder / f"unit{number}" / BEGUN).read_text("utf-8").splitlines()
    return [int(line.split()[0]) for line in lines]


def test_every_unit_is_made_once_and_its_workers_say_a_thing_once(tmp_path: Path) -> None:
    found, notes = ran([small_unit(tmp_path, number) for number in range(8)])
    assert {
        name: outcome.value for name, outcome in found.items() if isinstance(outcome, Made)
    } == {f"unit {number}": number for number in range(8)}
    assert all(len(begun(tmp_path, number)) == 1 for number in range(8))
    assert len({process for number in range(8) for process in begun(tmp_path, number)}) <= 2
    assert notes == ["said by every unit"]
    assert not list(tmp_path.rglob(LEASE_NAME)) + list(tmp_path.rglob(LOG_NAME))


def test_finished_units_are_not_made_again(tmp_path: Path) -> None:
    ran([small_unit(tmp_path, number) for number in range(2)], workers=1)
    found, _ = ran([small_unit(tmp_path, number) for number in range(3)], workers=1)
    assert {name: outcome.earlier for name, outcome in found.items()} == {
        "unit 0": True,
        "unit 1": True,
        "unit 2": False,
    }
    assert len(begun(tmp_path, 0)) == 1


def test_errors_are_reasons_and_stop_no_other_unit(tmp_path: Path) -> None:
    units = [small_unit(tmp_path, 0, "error"), small_unit(tmp_path, 1, "mistake")]
    found, _ = ran([*units, small_unit(tmp_path, 2)], workers=1)
    failed = {name: each.reason for name, each in found.items() if isinstance(each, Failed)}
    assert failed == {
        "unit 0": "unit 0: has no weights",
        "unit 1": "ZeroDivisionError: of its own",
    }
    assert isinstance(found["unit 2"], Made)
    assert "Traceback" in (tmp_path / "unit1" / LOG_NAME).read_text("utf-8")
    assert not (tmp_path / "unit0" / LOG_NAME).exists()


def test_what_failed_is_tried_again_only_where_that_is_asked_for(tmp_path: Path) -> None:
    ran([small_unit(tmp_path, 0, "error")], workers=1)
    again, _ = ran([small_unit(tmp_path, 0)], workers=1)
    assert isinstance(again["unit 0"], Failed)
    assert again["unit 0"].earlier
    retried, _ = ran([small_unit(tmp_path, 0)], workers=1, retry_failed=True)
    assert isinstance(retried["unit 0"], Made)
    assert not (tmp_path / "unit0" / FAILED_NAME).exists()


def test_what_the_machine_lacks_is_tried_again_by_the_next_command(tmp_path: Path) -> None:
    lacking, _ = ran([small_unit(tmp_path, 0, "lacks")], workers=1)
    assert isinstance(lacking["unit 0"], Failed)
    assert lacking["unit 0"].reason == "no GPU"
    found, _ = ran([small_unit(tmp_path, 0)], workers=1)
    assert isinstance(found["unit 0"], Made)


def test_a_killed_worker_is_replaced_and_its_unit_made_by_another(tmp_path: Path) -> None:
    found, notes = ran([small_unit(tmp_path, 0, "dies once"), small_unit(tmp_path, 1)])
    assert all(isinstance(outcome, Made) for outcome in found.values())
    assert len(set(begun(tmp_path, 0))) == 2
    assert any("unit 0: its worker was ended by SIGKILL" in text for text in notes)
    assert any("took over from process" in text for text in notes)


def test_a_worker_that_died_behind_its_result_leaves_no_trace(tmp_path: Path) -> None:
    found, _ = ran([small_unit(tmp_path, 0, "dies at its end")], workers=1)
    assert isinstance(found["unit 0"], Made)
    assert len(begun(tmp_path, 0)) == 1
    assert not (tmp_path / "unit0" / DEATHS_NAME).exists()


def test_a_third_death_behind_the_result_is_no_failure(tmp_path: Path) -> None:
    unit = small_unit(tmp_path, 0, "dies at its end")
    for cause in ("was ended by SIGKILL", "ended in the middle"):
        note_death(unit.folder, cause)
    found, _ = ran([unit], workers=1)
    assert found["unit 0"] == Made(value=0, earlier=True)
    assert not (unit.folder / DEATHS_NAME).exists()
    assert not (unit.folder / FAILED_NAME).exists()


def test_how_a_worker_ended_is_known_though_its_pool_waits_for_it_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    process.start()
    told, reaped = os.waitpid, threading.Event()

    def slow(number: int, options: int) -> tuple[int, int]:
        """The kernel's word to a thread that is not run again at once."""
        found = told(number, options)
        if found[0] == process.pid:
            reaped.set()
            time.sleep(0.5)
        return found

    monkeypatch.setattr(os, "waitpid", slow)
    process.kill()
    pool = threading.Thread(target=process.join)
    pool.start()
    assert reaped.wait(60)
    assert local_pool._cause(process).startswith("was ended by SIGKILL")
    pool.join()


def test_a_unit_that_kills_every_worker_fails_and_the_others_are_made(tmp_path: Path) -> None:
    found, _ = ran([small_unit(tmp_path, 0, "dies"), *(small_unit(tmp_path, n) for n in (1, 2))])
    assert isinstance(found["unit 0"], Failed)
    assert found["unit 0"].reason == (
        "its worker was ended by SIGKILL (out of memory, or by somebody); so did 2 before it"
    )
    assert len(begun(tmp_path, 0)) == 3
    assert isinstance(found["unit 1"], Made)
    assert isinstance(found["unit 2"], Made)


def test_a_killed_command_takes_its_workers_along_and_counts_as_no_death(tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS, "utf-8")
    paths = [str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    for _ in range(4):
        process = subprocess.Popen([sys.executable, script, tmp_path], env=environment)
        leases = [tmp_path / f"unit{number}" / LEASE_NAME for number in range(2)]
        workers: set[int] = set()
        limit = time.monotonic() + 60
        while len(workers) < 2:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
            children = {child.pid for child in psutil.Process(process.pid).children()}
            workers = {holder(path) for path in leases} & children
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs([psutil.Process(p) for p in workers if _runs(p)], timeout=20)
        assert not alive
    found, notes = ran([small_unit(tmp_path, number) for number in range(2)])
    assert all(isinstance(outcome, Made) for outcome in found.values())
    assert sum("took over from process" in text for text in notes) == 2


def holder(lease: Path) -> int:
    """The process that holds a lease; 0 where none does, or one is just taking it."""
    try:
        return int(json.loads(lease.read_text("utf-8"))["process"])
    except (FileNotFoundError, ValueError):
        return 0


def _runs(process: int) -> bool:
    return psutil.pid_exists(process)


def test_a_unit_that_another_command_makes_is_waited_for_and_taken(tmp_path: Path) -> None:
    units = [small_unit(tmp_path, number) for number in range(2)]
    lease = take(units[0].folder / LEASE_NAME)
    notes: list[str] = []
    order = []
    with LocalPool(1, notes.append) as pool:
        for unit, outcome in run_units(units, pool, notes.append):
            order.append(unit.name)
            assert isinstance(outcome, Made)
            if unit is units[1]:
                (units[0].folder / RESULT).write_text("0", "utf-8")
                lease.release()
    assert order == ["unit 1", "unit 0"]
    assert not (units[0].folder / BEGUN).exists()
    assert f"unit 0: process {os.getpid()} on" in notes[-2] + notes[0]


def test_two_commands_at_one_unit_keep_its_log_and_both_have_its_result(tmp_path: Path) -> None:
    unit, same = (small_unit(tmp_path, 0, "waits") for _ in range(2))
    with LocalPool(1, print) as pool, LocalPool(1, print) as other:
        pool.begin(unit)
        limit = time.monotonic() + 60
        while not holder(unit.folder / LEASE_NAME) or not (unit.folder / BEGUN).exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        other.begin(same)
        ((_, busy),) = other.ended(60)
        assert isinstance(busy, Busy)
        assert (unit.folder / LOG_NAME).exists()
        (unit.folder / GO_ON).touch()
        ((_, reply),) = pool.ended(60)
    assert isinstance(reply, Made)
    assert not (unit.folder / LOG_NAME).exists()


class BegunInOrder(LocalPool):
    """A pool that tells in which order units were begun."""

    def __init__(self, workers: int, note: Note) -> None:
        super().__init__(workers, note)
        self.names: list[str] = []

    def begin(self, unit: Unit) -> None:
        self.names.append(unit.name)
        super().begin(unit)


def test_what_units_share_is_made_by_the_first_while_others_do_something_else(
    tmp_path: Path,
) -> None:
    shared = [small_unit(tmp_path, number, "slow", shares="calibration") for number in range(2)]
    other = small_unit(tmp_path, 2)
    with BegunInOrder(2, print) as pool:
        outcomes = [outcome for _, outcome in run_units([*shared, other], pool, print)]
    assert pool.names == ["unit 0", "unit 2", "unit 1"]
    assert all(isinstance(outcome, Made) for outcome in outcomes)


def test_workers_share_the_cores(tmp_path: Path) -> None:
    with LocalPool(3, print, threads=5) as pool:
        (outcome,) = (
            outcome for _, outcome in run_units([small_unit(tmp_path, 0, "threads")], pool, print)
        )
    assert isinstance(outcome, Made)
    assert outcome.value == 5
    assert os.environ.get("OMP_NUM_THREADS") != "5"


def test_this_process_makes_units_itself_and_shows_what_they_say(tmp_path: Path) -> None:
    notes: list[str] = []
    before = {child.pid for child in multiprocessing.active_children()}  # of other tests, ending
    units = [small_unit(tmp_path, 0), small_unit(tmp_path, 1, "error")]
    with ThisProcess(silent, notes.append) as pool:
        found = [outcome for _, outcome in run_units(units, pool, notes.append)]
    assert found[0] == Made(value=0, seconds=found[0].seconds)
    assert isinstance(found[1], Failed)
    assert begun(tmp_path, 0) == [os.getpid()]
    assert notes == ["unit 0", "said by every unit", "unit 1"]
    assert {child.pid for child in multiprocessing.active_children()} <= before


def test_leaving_the_pool_ends_what_runs(tmp_path: Path) -> None:
    units = [small_unit(tmp_path, 0), small_unit(tmp_path, 1, "endless")]
    start = time.monotonic()
    with LocalPool(2, print) as pool:
        assert next(iter(run_units(units, pool, print)))[0] is units[0]
    assert time.monotonic() - start < 60
    assert not [child for child in multiprocessing.active_children() if _waits(child)]


def _waits(process: multiprocessing.process.BaseProcess) -> bool:
    process.join(20)
    return process.is_alive()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_died_between_two_units_is_replaced(tmp_path: Path, workers: int) -> None:
    units = [small_unit(tmp_path, number, shares="one") for number in range(2)]
    with LocalPool(workers, print) as pool:
        outcomes = []
        for _, outcome in run_units(units, pool, print):
            outcomes.append(outcome)
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
                child.join()
    assert all(isinstance(outcome, Made) for outcome in outcomes)
