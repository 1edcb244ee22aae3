# SPDX-License-Identifier: Apache-2.0
"""Worker processes on this machine, one unit a process at a time.

Each slot is a process pool of one worker: where that is killed its slot alone is broken, it is
known which unit it was at, and the slot gets another process.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Self

from aocq.progress import Note, silent
from aocq.sweeps.run_state import LOG_NAME
from aocq.sweeps.unit import Busy, Died, Reply, Unit
from aocq.sweeps.work import make
from simulator.errors import EnvironmentProblem

STARTS = 3  # attempts to start a worker
LONGEST_END = 5.0  # seconds until it is known how a worker ended
POLL = 0.01  # seconds between two looks whether it is
ORPHANED = 0.5  # seconds between two looks whether the command is still there
# Of the libraries that a worker computes with: each has threads of its own.
THREADS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
    "AOCQ_THREADS",
)
KILLED = " (out of memory, or by somebody)"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment variables of a worker that shares the machine with others.

    Threads that wait for each other sleep instead of turning in circles, which would take the cores
    from other workers.
    """
    return {**dict.fromkeys(THREADS, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}


class LocalPool:
    """A pool of worker processes, each with its share of this machine's cores.

    Workers end when the command does, however that ended.

    Parameters
    ----------
    workers
        how many units are made at the same time
    threads
        of each worker; None: the cores, shared out
    note
        told what workers say, a sentence once
    needs
        packages without which no unit can be made: their absence is told before a worker starts
    folder
        where relative paths begin; None: the working folder of this process
    """

    def __init__(
        self,
        workers: int,
        note: Note,
        threads: int | None = None,
        needs: Sequence[str] = (),
        folder: Path | None = None,
    ) -> None:
        environment = worker_environment(threads or max(1, cores() // workers))
        self._slots = [_Slot(environment, folder) for _ in range(workers)]
        self._note, self._told, self._needs = note, set[str](), needs

    def size(self) -> int:
        """Return how many workers there are."""
        return len(self._slots)

    def free(self) -> int:
        """Return how many slots are at no unit."""
        return sum(slot.unit is None for slot in self._slots)

    def begin(self, unit: Unit) -> None:
        """Send a unit to a worker, which is started if need be.

        Raises
        ------
        EnvironmentProblem
            If no worker can be started.
        ModuleNotFoundError
            If a package is missing that units need.
        """
        for name in self._needs:
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(f"{name} is not installed", name=name)
        next(slot for slot in self._slots if slot.unit is None).begin(unit)

    def ended(self, seconds: float) -> Iterable[tuple[Unit, Reply]]:
        """Return units that have ended; wait up to ``seconds`` for the first."""
        futures = [slot.future for slot in self._slots if slot.future is not None]
        done, _ = wait(futures, seconds, FIRST_COMPLETED)
        found = []
        for slot in self._slots:
            if slot.future in done:
                unit, reply, notes = slot.end()
                for text in notes:
                    if text not in self._told:
                        self._told.add(text)
                        self._note(text)
                found.append((unit, reply))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *stopped_by: object) -> None:
        for slot in self._slots:
            slot.close()


class _Slot:
    """A place for one worker process, and the unit that it is at."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None) -> None:
        self._environment, self._folder = environment, folder
        self._executor: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None
        self.unit: Unit | None = None
        self.future: Future[tuple[Reply, list[str]]] | None = None

    def begin(self, unit: Unit) -> None:
        for _ in range(STARTS):
            try:
                executor = self._executor or self._started()
                self.future = executor.submit(make_in_worker, unit)
            except BrokenProcessPool:  # killed between two units, or before the first
                self.close()
                continue
            self.unit = unit
            return
        raise EnvironmentProblem(
            "worker processes end as soon as they are started; the messages above may say why "
            "(--workers 1 needs least memory)"
        )

    def end(self) -> tuple[Unit, Reply, list[str]]:
        """Return the unit that has ended, its reply and what it said; the slot is free again."""
        unit, future = self.unit, self.future
        assert unit is not None
        assert future is not None
        self.unit = self.future = None
        try:
            reply, notes = future.result()
        except BrokenProcessPool:
            cause = _cause(self._process)
            self.close()
            return unit, Died(cause=cause), []
        return unit, reply, notes

    def close(self) -> None:
        """End the worker, whatever it is at."""
        if self._process is not None:
            with suppress(ValueError):  # closed by its pool
                self._process.terminate()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._process = self.unit = self.future = None

    def _started(self) -> ProcessPoolExecutor:
        """Return a new pool of one process, which runs.

        Raises
        ------
        BrokenProcessPool
            If it has ended already.
        """
        before = {process.pid for process in multiprocessing.active_children()}
        executor = ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(os.getpid(), self._folder),
        )
        self._executor = executor
        with _environment(self._environment):
            ready = executor.submit(os.getpid)
        started = multiprocessing.active_children()
        self._process = next((each for each in started if each.pid not in before), None)
        ready.result()
        return executor


def make_in_worker(unit: Unit) -> tuple[Reply, list[str]]:
    """Make a unit in a worker; return what became of it and what a person should know.

    What it, and a crash of it, print goes into the unit's folder.
    """
    notes: list[str] = []
    unit.folder.mkdir(parents=True, exist_ok=True)
    path = unit.folder / LOG_NAME
    with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
        faulthandler.enable(log)
        try:
            with redirect_stderr(log), redirect_stdout(log):
                reply = make(unit, silent, notes.append)
        finally:
            faulthandler.disable()
    # Of a busy unit it is the log of who makes it, in another command; who removed it before may be
    # another command, too.
    if not isinstance(reply, Busy):
        with suppress(FileNotFoundError):
            if path.stat().st_size == 0:
                path.unlink()
    return reply, notes


def _begin_worker(command: int, folder: Path | None) -> None:
    """Leave Ctrl-C to the command, and end with it.

    ``command`` is the number of its process, ``folder`` where the worker works.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if folder is not None:
        os.chdir(folder)

    def watch() -> None:
        while os.getppid() == command:
            time.sleep(ORPHANED)
        os._exit(1)

    threading.Thread(target=watch, name="watch the command", daemon=True).start()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for processes that are started in the block.

    Libraries read them when they are loaded, which is before a pool's initializer could set any.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cause(process: BaseProcess | None) -> str:
    """Return how a worker ended, as the end of a sentence that begins with it."""
    code = None
    if process is not None:
        until = time.monotonic() + LONGEST_END
        with suppress(ValueError):
            # The pool's thread waits for the process as well. Where the kernel has told that one
            # the exit code, a join here returns at once, and before it has written it down.
            while (code := process.exitcode) is None and time.monotonic() < until:
                time.sleep(POLL)
    if code is None:
        return "ended in the middle"
    if code >= 0:
        return f"ended in the middle with exit code {code}"
    name = signal.Signals(-code).name
    return f"was ended by {name}{KILLED if name == 'SIGKILL' else ''}"
