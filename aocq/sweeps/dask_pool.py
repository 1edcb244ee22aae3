# SPDX-License-Identifier: Apache-2.0
"""The workers of a Dask cluster, one unit a worker at a time.

Every unit is sent to one worker by its address, and Dask is not free to run it elsewhere. So it is
this pool that sees a worker die, and the engine that counts it: Dask would start the unit again on
the next worker, and the next. Nothing of a sweep is left in Dask but replies on their way.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from distributed import Future, KilledWorker

from aocq.progress import Note
from aocq.records.provenance import code_digest, package_versions
from aocq.sweeps.dask_scheduler import RUNNING, Scheduler, scheduler_address
from aocq.sweeps.dask_worker import Answer, Greeting, Terms, greet, make_on_worker
from aocq.sweeps.unit import Died, Lost, Reply, Unit
from simulator.errors import EnvironmentProblem
from simulator.files import cannot_be_written

LOOK = 1.0  # seconds between two looks at who the workers are


@dataclass(slots=True, kw_only=True)
class _Slot:
    """A worker of the cluster, and the unit that it is at.

    ``worker`` is its number at Dask, which another one at the same address does not have;
    ``missed``: looks in a row at which the scheduler did not know it.
    """

    address: str
    worker: str
    ready: bool = True
    missed: int = 0
    unit: Unit | None = None
    future: Future[Any] | None = None


class DaskPool:
    """A pool of the workers of a Dask scheduler: those that are there, and those that come.

    Parameters
    ----------
    scheduler
        ``tcp://HOST:PORT``, or the file that ``dask scheduler --scheduler-file`` wrote
    out
        folder of the sweep, which all workers must see
    note
        told what workers say, a sentence once, and of workers that come, go or cannot be used
    inputs
        files and folders that units read
    """

    def __init__(self, scheduler: str, out: Path, note: Note, inputs: Sequence[Path] = ()) -> None:
        self._address = scheduler_address(scheduler)
        self._note, self._told = note, set[str]()
        self._terms = Terms(
            token=secrets.token_hex(8),
            folder=Path.cwd(),
            out=out.absolute(),
            inputs=tuple(inputs),
            code=code_digest(),
            packages=package_versions(),
        )
        self._slots: dict[str, _Slot] = {}
        self._refused: dict[str, str] = {}
        self._lost: list[tuple[Unit, Reply]] = []
        self._known = ""  # number of the scheduler: a restarted one has another
        self._news = threading.Event()
        self._next_look = 0.0
        self._begun = 0

    def size(self) -> int:
        """Return how many workers are used at the moment."""
        return len(self._slots)

    def free(self) -> int:
        """Return how many workers are at no unit.

        Raises
        ------
        EnvironmentProblem
            If the scheduler is gone for good, or no worker can be used.
        """
        self._look()
        return len(self._free())

    def begin(self, unit: Unit) -> None:
        """Send a unit to a worker."""
        slot = self._free()[0]
        self._begun += 1
        slot.unit = unit
        slot.future = self._scheduler.client.submit(
            make_on_worker,
            unit,
            self._terms,
            slot.worker,
            key=f"aocq-{self._terms.token}-{self._begun}",
            workers=[slot.address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        slot.future.add_done_callback(lambda future: self._news.set())

    def ended(self, seconds: float) -> Iterable[tuple[Unit, Reply]]:
        """Return units that have ended; wait up to ``seconds`` for the first, or a new worker.

        Raises
        ------
        EnvironmentProblem
            If the scheduler is gone for good, no worker can be used, or one can start no process.
        """
        until = time.monotonic() + seconds
        while True:
            self._news.clear()
            before = {*self._slots}
            self._look()
            at_work = [slot for slot in self._slots.values() if slot.future is not None]
            done = [slot for slot in at_work if slot.future is not None and slot.future.done()]
            found = [*self._lost, *(self._end(slot) for slot in done)]
            self._lost.clear()
            left = until - time.monotonic()
            if found or left <= 0 or self._slots.keys() - before:
                return found
            self._news.wait(min(LOOK, left))

    def __enter__(self) -> Self:
        """Connect with the scheduler.

        Raises
        ------
        InputError
            If the folder of the sweep cannot be written.
        EnvironmentProblem
            If no scheduler answers.
        """
        self._scheduler = Scheduler(self._address)
        try:
            self._terms.out.mkdir(parents=True, exist_ok=True)
            self._terms.probe.touch()
        except OSError as error:
            self._scheduler.close()
            raise cannot_be_written(self._terms.out, error) from error
        return self

    def __exit__(self, *stopped_by: object) -> None:
        futures = [slot.future for slot in self._slots.values() if slot.future is not None]
        if futures and self._scheduler.connected:
            self._scheduler.client.cancel(futures, force=True)
        self._slots.clear()
        self._scheduler.close()
        self._terms.probe.unlink(missing_ok=True)

    def _free(self) -> list[_Slot]:
        return [slot for slot in self._slots.values() if slot.unit is None and slot.ready]

    def _look(self) -> None:
        """Find out which workers are there, where the last look was a while ago."""
        if not self._scheduler.connected:
            self._give_back("the connection to the scheduler was lost")
            self._scheduler.wait(self._note)
        if time.monotonic() < self._next_look:
            return
        found = self._scheduler.identity()
        if found is None:
            return
        self._next_look = time.monotonic() + LOOK
        if self._known not in ("", found["id"]):
            self._give_back("the scheduler was restarted")
        self._known = found["id"]
        with suppress(OSError):  # lost in the middle
            self._meet(found["workers"])
        if not found["workers"]:
            self._tell(
                f"{self._address} has no workers; waiting for some: dask worker {self._address}"
            )
        elif not self._slots and len(self._refused) == len(found["workers"]):
            reasons = "\n".join(f"  {text}" for text in sorted(set(self._refused.values())))
            raise EnvironmentProblem(
                f"{self._address}: none of its workers can be used:\n{reasons}"
            )

    def _meet(self, workers: dict[str, Any]) -> None:
        """Take in workers that have come, and let go of those that are not there any more."""
        for address, slot in [*self._slots.items()]:
            slot.missed = 0 if address in workers else slot.missed + 1
            slot.ready = address in workers and workers[address]["status"] == RUNNING
            # At the second look: the reply of a worker that has ended since may be on its way.
            if slot.missed > 1 and not (slot.future is not None and slot.future.done()):
                self._part(slot)
        for address in self._refused.keys() - workers:
            del self._refused[address]
        new = [each for each in workers if each not in self._slots and each not in self._refused]
        if not new:
            return
        answers = self._scheduler.client.run(greet, self._terms, workers=new, on_error="return")
        for address, answer in answers.items():
            if isinstance(answer, Greeting) and not answer.problems:
                self._slots[address] = _Slot(address=address, worker=answer.worker)
            elif not isinstance(answer, OSError):  # one that has just gone
                self._refuse(address, workers[address]["host"], answer)

    def _refuse(self, address: str, host: str, answer: Greeting | Exception) -> None:
        if isinstance(answer, Greeting):
            reason = f"{host} {'; '.join(answer.problems)}"
        else:
            reason = (
                f"{host} cannot load this aocq ({answer}); pip install 'aocq[quantize,cluster]' "
                "into its workers' Python, in the same version"
            )
        self._refused[address] = reason
        self._tell(f"a worker is not used: {reason}")

    def _part(self, slot: _Slot) -> None:
        """Let go of a worker that is gone, and say what became of its unit."""
        if slot.unit is None:
            del self._slots[slot.address]
            return
        expected = self._scheduler.retired(slot.address)
        del self._slots[slot.address]
        self._tell(f"worker {slot.address} {'was retired' if expected else 'is gone'}")
        cause = "ended in the middle, or could not be reached any more"
        self._lost.append((slot.unit, Lost(cause=cause) if expected else Died(cause=cause)))
        if slot.future is not None:
            slot.future.cancel(force=True)

    def _end(self, slot: _Slot) -> tuple[Unit, Reply]:
        """Return the unit that has ended, and its reply; the slot is free again."""
        unit, future = slot.unit, slot.future
        assert unit is not None
        assert future is not None
        slot.unit = slot.future = None
        reply: Reply
        introduced = False
        if future.status == "finished":
            answer = future.result()
            assert isinstance(answer, Answer)
            reply, introduced = answer.reply, answer.worker == slot.worker
            for text in answer.notes:
                self._tell(text)
        elif future.status == "error":
            error = future.exception()
            if not isinstance(error, KilledWorker):
                assert error is not None
                raise error
            reply = Died(cause="ended in the middle")
        else:
            reply = Lost(cause="its task was cancelled")
        if not introduced:
            self._slots.pop(slot.address, None)
        future.release()
        return unit, reply

    def _give_back(self, cause: str) -> None:
        """Give all units back, uncounted, and forget the workers, which are met anew."""
        at_work = [slot.unit for slot in self._slots.values() if slot.unit is not None]
        self._lost += [(unit, Lost(cause=cause)) for unit in at_work]
        self._slots.clear()
        self._refused.clear()
        self._next_look = 0.0

    def _tell(self, text: str) -> None:
        """Say something once."""
        if text not in self._told:
            self._told.add(text)
            self._note(text)
