# SPDX-License-Identifier: Apache-2.0
"""Units by workers of a Dask cluster, some of which are killed, lost or unfit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from dask_cluster import Cluster, cluster
from distributed import Client
from small_units import BEGUN, small_unit

import aocq
from aocq.sweeps import dask_scheduler
from aocq.sweeps.dask_pool import DaskPool
from aocq.sweeps.dask_scheduler import scheduler_address
from aocq.sweeps.dask_worker import PROBE
from aocq.sweeps.engine import run_units
from aocq.sweeps.run_state import DEATHS_NAME, LEASE_NAME
from aocq.sweeps.unit import Failed, Made, Outcome, Unit
from simulator.errors import EnvironmentProblem, InputError

LONGEST = 60.0  # seconds for what should take two
# Begins a sweep of one endless unit in a folder, by a cluster.
ENDLESS = """
import sys
from pathlib import Path
from small_units import small_unit
from aocq.sweeps.dask_pool import DaskPool
from aocq.sweeps.engine import run_units

folder = Path(sys.argv[1])
with DaskPool(sys.argv[2], folder, print) as pool:
    list(run_units([small_unit(folder, 0, "endless once")], pool, print))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, which no test ends."""
    with cluster(tmp_path_factory.mktemp("two")) as found:
        yield found


class Run:
    """Units on their way by a cluster; what became of them, and what was noted."""

    def __init__(self, address: str, folder: Path, inputs: Sequence[Path] = ()) -> None:
        self.address, self.folder, self.inputs = address, folder, inputs
        self.notes: list[str] = []

    def __call__(
        self, units: Sequence[Unit], meanwhile: Callable[[], None] = lambda: None
    ) -> dict[str, Outcome]:
        """Make units; ``meanwhile`` is called when the first of them has ended."""
        found = {}
        with DaskPool(self.address, self.folder, self.notes.append, self.inputs) as pool:
            for unit, outcome in run_units(units, pool, self.notes.append):
                if not found:
                    meanwhile()
                found[unit.name] = outcome
        return found


def holder(folder: Path, number: int, *, other_than: int = 0) -> psutil.Process:
    """The process that makes a unit, waited for."""
    path = folder / f"unit{number}" / LEASE_NAME
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        text = path.read_text("utf-8") if path.exists() else ""
        if text and json.loads(text)["process"] != other_than and (path.parent / BEGUN).exists():
            return psutil.Process(json.loads(text)["process"])
        time.sleep(0.05)
    raise TimeoutError(f"nobody made {path.parent}")


def attempts(folder: Path, number: int) -> int:
    """How often a unit was begun."""
    return len((folder / f"unit{number}" / BEGUN).read_text("utf-8").splitlines())


def test_two_workers_make_every_unit_once_and_leave_nothing(two: Cluster, tmp_path: Path) -> None:
    run = Run(two.address, tmp_path)
    found = run([small_unit(tmp_path, number, "slow") for number in range(6)])
    assert [found[f"unit {number}"] for number in range(6)] == [
        Made(value=number, seconds=found[f"unit {number}"].seconds) for number in range(6)
    ]
    assert all(attempts(tmp_path, number) == 1 for number in range(6))
    processes = {
        line.split()[0] for path in tmp_path.rglob(BEGUN) for line in path.read_text().splitlines()
    }
    assert len(processes) == 2
    told = [text for text in run.notes if "has no workers" not in text]  # yet, at the first look
    assert told == ["said by every unit"]
    assert not [*tmp_path.rglob(LEASE_NAME), *tmp_path.glob(f"{PROBE}*")]


def test_a_unit_that_ends_its_process_each_time_fails_and_no_worker_is_lost(
    two: Cluster, tmp_path: Path
) -> None:
    run = Run(two.address, tmp_path)
    found = run([small_unit(tmp_path, 0, "dies"), *(small_unit(tmp_path, n) for n in (1, 2))])
    assert found["unit 0"] == Failed(
        reason="its worker was ended by SIGKILL (out of memory, or by somebody); so did 2 before it"
    )
    assert attempts(tmp_path, 0) == 3
    assert isinstance(found["unit 1"], Made)
    assert isinstance(found["unit 2"], Made)
    assert all(worker.poll() is None for worker in two.workers)


def test_relative_paths_begin_at_the_commands_working_folder(
    two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Run(two.address, tmp_path)([small_unit(tmp_path, 0, "relative")])
    assert (tmp_path / "here").exists()


def test_a_unit_goes_on_with_another_worker_where_its_own_was_killed(tmp_path: Path) -> None:
    with cluster(tmp_path) as found:
        run = Run(found.address, tmp_path)
        orphans = []

        def kill() -> None:
            orphans.append(holder(tmp_path, 0))
            parent = orphans[0].parent()
            assert parent is not None
            assert parent.pid in {worker.pid for worker in found.workers}
            parent.kill()

        outcomes = run([small_unit(tmp_path, 0, "endless once"), small_unit(tmp_path, 1)], kill)
    assert all(isinstance(outcome, Made) for outcome in outcomes.values())
    assert attempts(tmp_path, 0) == 2
    assert any("ended in the middle, or could not be reached" in text for text in run.notes)
    ended = not orphans[0].is_running() or orphans[0].status() == psutil.STATUS_ZOMBIE
    assert ended
    assert not (tmp_path / "unit0" / DEATHS_NAME).exists()


def test_a_unit_that_ends_every_worker_fails_after_three(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=4) as found:
        units = [small_unit(tmp_path, 0, "ends its parent"), small_unit(tmp_path, 1)]
        outcomes = Run(found.address, tmp_path)(units)
        assert sum(worker.poll() is None for worker in found.workers) == 1
    assert outcomes["unit 0"] == Failed(
        reason="its worker ended in the middle, or could not be reached any more; so did 2 "
        "before it"
    )
    assert attempts(tmp_path, 0) == 3
    assert isinstance(outcomes["unit 1"], Made)


def test_a_restarted_scheduler_counts_as_nobodys_death(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=2) as found:
        run = Run(found.address, tmp_path)

        def restart() -> None:
            holder(tmp_path, 0)
            found.kill_scheduler()
            found.start_scheduler()
            for worker in found.workers:  # they end when their scheduler does
                worker.wait(LONGEST)
            found.start_worker()

        outcomes = run([small_unit(tmp_path, 0, "endless once"), small_unit(tmp_path, 1)], restart)
    assert all(isinstance(outcome, Made) for outcome in outcomes.values())
    assert attempts(tmp_path, 0) == 2
    assert any("the scheduler" in text for text in run.notes)
    assert not any("of 3" in text for text in run.notes)


def test_a_scheduler_that_stays_away_ends_the_command_which_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_scheduler, "CONNECT", 2.0)
    units = [small_unit(tmp_path, 0, "endless once"), small_unit(tmp_path, 1)]
    with cluster(tmp_path, workers=2) as found:

        def kill() -> None:
            holder(tmp_path, 0)
            found.kill_scheduler()

        with pytest.raises(EnvironmentProblem, match="is gone and did not come back"):
            Run(found.address, tmp_path)(units, kill)
    with cluster(tmp_path, workers=1) as found:
        outcomes = Run(found.address, tmp_path)(units)
    assert outcomes["unit 1"].earlier
    assert isinstance(outcomes["unit 0"], Made)
    assert not outcomes["unit 0"].earlier


def test_a_retired_worker_counts_as_nobodys_death(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=2) as found:
        run = Run(found.address, tmp_path)

        def retire() -> None:
            parent = holder(tmp_path, 0).parent()
            assert parent is not None
            with Client(found.address, set_as_default=False) as client:
                pids = client.run(os.getpid)
                address = next(where for where, pid in pids.items() if pid == parent.pid)
                client.retire_workers([address])

        outcomes = run([small_unit(tmp_path, 0, "endless once"), small_unit(tmp_path, 1)], retire)
    assert all(isinstance(outcome, Made) for outcome in outcomes.values())
    assert any("was retired" in text for text in run.notes)
    assert not any("of 3" in text for text in run.notes)


def test_workers_stop_for_a_killed_command_and_serve_the_next(two: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS, "utf-8")
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    command = subprocess.Popen(
        [sys.executable, script, tmp_path, two.address],
        env={**os.environ, "PYTHONPATH": paths},
    )
    maker = holder(tmp_path, 0)
    command.send_signal(signal.SIGKILL)
    command.wait()
    maker.wait(LONGEST)
    assert all(worker.poll() is None for worker in two.workers)
    outcomes = Run(two.address, tmp_path)([small_unit(tmp_path, 0, "endless once")])
    assert isinstance(outcomes["unit 0"], Made)
    assert attempts(tmp_path, 0) == 2


def test_workers_that_come_later_are_used_with_their_threads(tmp_path: Path) -> None:
    with cluster(tmp_path, workers=0) as found:
        notes: list[str] = []

        def note(text: str) -> None:
            notes.append(text)
            if "has no workers" in text:  # with Dask's nanny, whose workers are daemons
                found.start_worker("--nthreads", "3", "--nworkers", "1")

        with DaskPool(found.address, tmp_path, note) as pool:
            ((_, outcome),) = run_units([small_unit(tmp_path, 0, "threads")], pool, note)
    assert isinstance(outcome, Made)
    assert outcome.value == 3
    assert f"dask worker {found.address}" in notes[0]


def test_workers_that_would_compute_something_else_are_refused(tmp_path: Path) -> None:
    sources = Path(aocq.__path__[0]).parent
    for package in ("aocq", "simulator"):
        shutil.copytree(sources / package, tmp_path / package)
    with (tmp_path / "aocq" / "progress.py").open("a") as file:
        print("# edited", file=file)
    with cluster(tmp_path, workers=0) as found:
        paths = [str(tmp_path), str(Path(__file__).parent)]
        found.start_worker(variables={"PYTHONPATH": os.pathsep.join(paths)})
        with pytest.raises(EnvironmentProblem, match=r"can be used:\n.*runs other code of aocq"):
            Run(found.address, tmp_path)([small_unit(tmp_path, 0)])
    assert not (tmp_path / "unit0").exists()


def test_workers_without_aocq_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other" / "aocq").mkdir(parents=True)
    (tmp_path / "other" / "aocq" / "__init__.py").touch()
    with cluster(tmp_path, workers=0) as found:
        found.start_worker(variables={"PYTHONPATH": str(tmp_path / "other")})
        with pytest.raises(EnvironmentProblem, match=r"cannot load this aocq .*pip install"):
            Run(found.address, tmp_path)([small_unit(tmp_path, 0)])


def test_workers_that_do_not_see_the_images_are_refused(two: Cluster, tmp_path: Path) -> None:
    missing = Path("photographs")
    with pytest.raises(EnvironmentProblem, match=r"does not see .*photographs"):
        Run(two.address, tmp_path, inputs=[missing])([small_unit(tmp_path, 0)])


def test_nobody_at_the_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_scheduler, "CONNECT", 1.0)
    for address in ("tcp://127.0.0.1:9", "nothing://127.0.0.1:9"):
        with pytest.raises(EnvironmentProblem, match="no Dask scheduler answers"):
            Run(address, tmp_path)([])


def test_a_scheduler_is_named_by_its_address_or_its_file(two: Cluster, tmp_path: Path) -> None:
    assert scheduler_address(two.address) == two.address
    assert scheduler_address(str(two.file)) == two.address
    for name, content in {"none.json": None, "text.json": "dask", "list.json": "[]"}.items():
        if content is not None:
            (tmp_path / name).write_text(content, "utf-8")
        with pytest.raises(InputError, match=f"{name}: .*tcp://HOST:PORT"):
            scheduler_address(str(tmp_path / name))
