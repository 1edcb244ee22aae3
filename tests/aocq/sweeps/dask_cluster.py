# SPDX-License-Identifier: Apache-2.0
"""A Dask cluster of processes on this machine: a scheduler and its workers, each a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from distributed import Client

LONGEST_START = 60.0  # seconds


class Cluster:
    """A scheduler at a port of its own, and the workers that were started for it."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "cluster.log").open("ab")
        self.address = "tcp://127.0.0.1:0"  # the first scheduler's to choose
        self._folder, self.file = folder, folder / "scheduler.json"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_scheduler(self) -> None:
        """Start a scheduler, and wait until it answers; another one at the first one's address."""
        self.file.unlink(missing_ok=True)
        port = self.address.rpartition(":")[2]
        options = ["--host", "127.0.0.1", "--port", port, "--no-dashboard", "--no-show"]
        self.scheduler = self._started(
            "scheduler", *options, "--scheduler-file", str(self.file), variables={}
        )
        limit = time.monotonic() + LONGEST_START
        while time.monotonic() < limit:
            try:  # its file is there when it listens
                self.address = json.loads(self.file.read_text("utf-8"))["address"]
            except (FileNotFoundError, ValueError):
                assert self.scheduler.poll() is None, "the scheduler ended; see cluster.log"
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the scheduler did not start")

    def wait_for_workers(self) -> None:
        """Wait until the scheduler knows all workers that were started."""
        with Client(self.address, timeout=LONGEST_START, set_as_default=False) as client:
            client.wait_for_workers(len(self.workers), timeout=LONGEST_START)

    def start_worker(
        self, *options: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a worker process without Dask's nanny, which would start another in its place."""
        chosen = options or ("--nthreads", "1", "--no-nanny")
        place = str(self._folder / "dask")
        worker = self._started(
            *("worker", self.address, "--no-dashboard", "--local-directory", place, *chosen),
            variables=variables or {},
        )
        self.workers.append(worker)
        return worker

    def kill_scheduler(self) -> None:
        """End the scheduler by SIGKILL."""
        assert self.scheduler is not None
        self.scheduler.send_signal(signal.SIGKILL)
        self.scheduler.wait()

    def close(self) -> None:
        """End all processes of the cluster, and those below them."""
        processes = [*self.workers, *([self.scheduler] if self.scheduler else [])]
        for process in processes:
            if process.poll() is None:
                below = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for each in below:
                    if each.is_running():
                        each.kill()
            process.wait()
        self._log.close()

    def _started(self, *arguments: str, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments],
            env={**os.environ, "PYTHONPATH": paths, **variables},
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A cluster whose workers have come, until the block ends."""
    found = Cluster(folder)
    try:
        found.start_scheduler()
        for _ in range(workers):
            found.start_worker()
        if workers:
            found.wait_for_workers()
        yield found
    finally:
        found.close()
