# SPDX-License-Identifier: Apache-2.0
"""What the engine of sweeps takes of each unit, and what another worker process gains.

Units burn a given number of processor seconds. Beside that, seconds of the processor are counted in
the workers, from the end of one unit to the begin of the next, and in the process of the command:
others on the machine disturb these less than seconds of the clock. The gain of workers is of the
clock, from the begin of the first unit to the end of the last, so without the start of workers.

    python -m benchmarks.sweeps
    python -m benchmarks.sweeps --workers 1,2,4 --units 12 --seconds 5
    python -m benchmarks.sweeps --dask

With ``--dask`` by a Dask cluster of as many workers, whose scheduler runs in the command's process;
what Dask's workers take is counted with that, from when each has had a unit. It includes what these
take by the second whatever happens; ``--dask --seconds 0`` leaves what they take by the unit.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from aocq.sweeps.engine import run_units
from aocq.sweeps.local_pool import LocalPool, cores
from aocq.sweeps.pool import Pool
from aocq.sweeps.unit import Made
from benchmarks import command_line
from benchmarks.burning import Burnt, burning
from benchmarks.pairs import talk
from benchmarks.records import write
from simulator.errors import InputError

RUN = 10.0  # seconds of the run that a share is stated of
COLUMNS = {
    "workers": "workers",
    "seconds": "a unit, CPU s",
    "wall": "all units, s",
    "gain": "gain",
    "worker_ms": "in the worker, CPU ms a unit",
    "command_ms": "in the command, CPU ms a unit",
    "share": "of a run of 10 s, %",
}


@contextmanager
def cluster(workers: int, folder: Path) -> Iterator[Pool]:
    """A pool of Dask workers, processes that have made a unit each."""
    from distributed import LocalCluster

    from aocq.sweeps.dask_pool import DaskPool

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as found,
        DaskPool(found.scheduler_address, folder, talk) as pool,
    ):
        list(run_units(burning(workers, 0.5, folder / "first"), pool, talk))
        yield pool


def once(workers: int, units: int, seconds: float, *, dask: bool) -> dict[str, float]:
    """Run the units by so many workers, and return what was measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        planned = burning(units, seconds, folder)
        with cluster(workers, folder) if dask else LocalPool(workers, talk) as pool:
            # Dask's workers; those that make units are below them.
            processes = [psutil.Process(), *psutil.Process().children()]
            start = _spent(processes)
            found = [
                outcome.value
                for _, outcome in run_units(planned, pool, talk)
                if isinstance(outcome, Made)
            ]
            command = _spent(processes) - start
    wall = max(each.clock[1] for each in found) - min(each.clock[0] for each in found)
    return {
        "wall": wall,
        "worker_ms": 1e3 * statistics.median(_between(found)),
        "command_ms": 1e3 * command / units,
    }


def _spent(processes: Sequence[psutil.Process]) -> float:
    """Return the processor seconds of processes, without those below them."""
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


def _between(found: Sequence[Burnt]) -> list[float]:
    """Return the processor seconds that workers took from each unit to the next."""
    by_worker: dict[int, list[Burnt]] = {}
    for each in found:
        by_worker.setdefault(each.worker, []).append(each)
    ordered = [sorted(each, key=lambda burnt: burnt.cpu) for each in by_worker.values()]
    return [after.cpu[0] - before.cpu[1] for each in ordered for before, after in pairwise(each)]


def measure(
    workers: Sequence[int], units: int, seconds: float, pairs: int, *, dask: bool
) -> list[dict[str, Any]]:
    """Return a row for each number of workers: medians over rounds in which all take turns."""
    rounds: dict[int, list[dict[str, float]]] = {count: [] for count in workers}
    for number in range(pairs):
        for count in workers if number % 2 == 0 else reversed(workers):
            rounds[count].append(once(count, units, seconds, dask=dask))
            wall = rounds[count][-1]["wall"]
            talk(f"round {number + 1} of {pairs}, {count} workers: {wall:.2f} s")
    rows = []
    for count in workers:
        pair = zip(rounds[workers[0]], rounds[count], strict=True)
        row: dict[str, Any] = {"workers": count, "units": units, "seconds": seconds}
        for name in ("wall", "worker_ms", "command_ms"):
            row[name] = statistics.median(each[name] for each in rounds[count])
        row["gain"] = statistics.median(first["wall"] / each["wall"] for first, each in pair)
        row["share"] = (row["worker_ms"] + row["command_ms"]) / (10 * RUN)
        rows.append(row)
    return rows


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("sweeps", __doc__)
    known = ",".join(str(count) for count in range(1, cores() + 1))
    parser.add_argument("--workers", default=known, help="with commas (default %(default)s)")
    parser.add_argument("--units", type=command_line.at_least_one, default=12, metavar="N")
    parser.add_argument(
        "--seconds", type=float, default=2.0, metavar="S", help="of a unit (default 2)"
    )
    parser.add_argument("--dask", action="store_true", help="by workers of a Dask cluster")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the record."""
    asked = arguments()
    workers = []
    for text in asked.workers.split(","):
        if not text.strip().isdigit() or int(text) < 1:
            raise InputError(f"--workers {text}: a whole number from 1 on is wanted")
        workers.append(int(text))
    if asked.units < 2 * max(workers):
        raise InputError(f"--units {asked.units}: at least two for each worker")
    kind = "Dask's workers" if asked.dask else "worker processes"
    title = (
        f"{asked.units} units of {asked.seconds:g} processor seconds by {kind}; medians "
        f"over {asked.pairs} rounds; gain: over {workers[0]} worker(s)."
    )
    rows = measure(workers, asked.units, asked.seconds, asked.pairs, dask=asked.dask)
    print(write(asked.out, "sweeps_dask" if asked.dask else "sweeps", title, rows, COLUMNS))


if __name__ == "__main__":
    command_line.run(main)
