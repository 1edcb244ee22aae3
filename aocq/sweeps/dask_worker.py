# SPDX-License-Identifier: Apache-2.0
"""What runs inside a Dask worker: a unit, made by a worker process of ours below it.

That process is the one of sweeps on one machine (:mod:`aocq.sweeps.local_pool`): its libraries get
their threads before they are loaded, it is known how it ended, and a crash leaves Dask's worker
alive. It is kept from one unit to the next, as it holds the network that it had last.
"""

from __future__ import annotations

import multiprocessing
import platform
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from distributed import Worker, get_worker
from distributed.core import Status

from aocq.records.provenance import code_digest, package_versions
from aocq.sweeps.local_pool import LocalPool
from aocq.sweeps.unit import Died, Lost, Reply, Unit
from simulator.errors import EnvironmentProblem

LOOK = 0.5  # seconds between two looks whether the unit is still wanted
IDLE = 120.0  # seconds without a unit, after which the process ends and its memory is free
UNWANTED = Lost(cause="its command does not want it any more")
PROBE = ".cluster-"  # begins the name of a file by which workers tell that they see the sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a worker must have in common with the command whose units it makes.

    Attributes
    ----------
    token
        of this command alone, at random
    folder
        the command's working folder, where relative paths begin
    out
        absolute folder of the sweep, with a file that is named by the token
    inputs
        files and folders that units read
    code
        digest of aocq's sources
    packages
        versions of what figures depend on
    """

    token: str
    folder: Path
    out: Path
    inputs: tuple[Path, ...]
    code: str
    packages: Mapping[str, str]

    @property
    def probe(self) -> Path:
        """The file in the sweep's folder that every worker must see."""
        return self.out / f"{PROBE}{self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a worker says of itself: its number at Dask, and why it cannot be used, if so."""

    worker: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a unit, what a person should know of it, and which worker says so."""

    reply: Reply
    worker: str
    notes: tuple[str, ...] = ()


def greet(terms: Terms, dask_worker: Worker) -> Greeting:
    """Return whether a worker can make units of a command; Dask fills in ``dask_worker``."""
    return Greeting(worker=dask_worker.id, problems=tuple(problems(terms)))


def problems(terms: Terms) -> Iterator[str]:
    """Yield why units cannot be made in this process, as ends of a sentence."""
    if code_digest() != terms.code:
        yield "runs other code of aocq than this command; install the same version on all machines"
    try:
        packages = package_versions()
    except ImportError as error:
        yield f"lacks the package {error.name}; pip install 'aocq[quantize,cluster]' there"
    else:
        for name, wanted in terms.packages.items():
            if packages[name] != wanted:
                yield f"has {name} {packages[name]}, this command has {wanted}"
    if not terms.probe.exists():
        yield (
            f"does not see the files of the sweep in {terms.out}; without a shared file system see "
            "--shard in docs/cluster.md"
        )
    elif not _writable(terms.out):
        yield f"cannot write into {terms.out}; give its user the right to"
    for path in (terms.folder, *terms.inputs):
        if not (terms.folder / path).exists():
            yield f"does not see {terms.folder / path}; put it there, or mount it"


def _writable(folder: Path) -> bool:
    path = folder / f"{PROBE}{uuid4().hex}"
    try:
        path.touch()
        path.unlink()
    except OSError:
        return False
    return True


class _Process:
    """The process below this worker, its lock, and the command that it works for."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # one unit at a time, however many threads Dask has
        self.pool: LocalPool | None = None
        self.token = ""
        self.notes: list[str] = []
        self.timer: threading.Timer | None = None

    def pool_for(self, terms: Terms, threads: int) -> LocalPool:
        """Return the pool of one process for a command; another command's is ended."""
        if self.timer is not None:
            self.timer.cancel()
        if self.token != terms.token:
            self.close()
        if self.pool is None:
            # Dask's worker may be a daemon, to which multiprocessing allows no children, as they
            # would be left behind. Ours end by themselves when their parent does.
            multiprocessing.current_process().daemon = False
            self.pool = LocalPool(1, self.notes.append, threads, folder=terms.folder)
            self.token = terms.token
        return self.pool

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self.pool is not None:
            self.pool.__exit__(None, None, None)
        self.pool = None

    def close_later(self) -> None:
        """End the process when it has had no unit for a while."""
        self.timer = threading.Timer(IDLE, self._close_idle)
        self.timer.daemon = True
        self.timer.start()

    def _close_idle(self) -> None:
        if self.lock.acquire(blocking=False):
            try:
                self.close()
            finally:
                self.lock.release()


_process = _Process()


def make_on_worker(unit: Unit, terms: Terms, worker_id: str) -> Answer:
    """Make a unit in a process below this Dask worker, and return what became of it.

    Parameters
    ----------
    worker_id
        the worker that the unit was sent to. Where another one runs it, Dask has begun it again:
        the first has died

    Raises
    ------
    EnvironmentProblem
        If no process can be started here.
    """
    worker = get_worker()
    if worker.id != worker_id:
        cause = "ended in the middle, and another took its place"
        return Answer(reply=Died(cause=cause), worker=worker.id)
    key = str(worker.get_current_task())
    while not _process.lock.acquire(timeout=LOOK):
        if not _wanted(worker, key):
            return Answer(reply=UNWANTED, worker=worker.id)
    try:
        reply = _made(unit, terms, worker, key)
        notes = tuple(_process.notes)
        _process.notes.clear()
        return Answer(reply=reply, worker=worker.id, notes=notes)
    finally:
        _process.close_later()
        _process.lock.release()


def _made(unit: Unit, terms: Terms, worker: Worker, key: str) -> Reply:
    pool = _process.pool_for(terms, worker.state.nthreads)
    try:
        pool.begin(unit)
    except EnvironmentProblem as error:
        _process.close()
        place = f"worker {worker.address} on {platform.node()}"
        raise EnvironmentProblem(f"{place}: {error}") from error
    while True:
        for _, reply in pool.ended(LOOK):
            return reply
        if not _wanted(worker, key):
            _process.close()
            return UNWANTED


def _wanted(worker: Worker, key: str) -> bool:
    """Return whether the command still waits for a unit: it may have ended, or been killed.

    Dask then calls the task cancelled, and leaves what runs in it alone.
    """
    task = worker.state.tasks.get(key)
    ending = worker.status in (Status.closing, Status.closed, Status.failed)
    return not ending and task is not None and task.state != "cancelled"
