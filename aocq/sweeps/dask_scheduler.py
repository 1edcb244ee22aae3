# SPDX-License-Identifier: Apache-2.0
"""The scheduler of a Dask cluster: whether it is there, and who its workers are."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from distributed import Client

from simulator.errors import EnvironmentProblem, InputError

CONNECT = 30.0  # seconds for a scheduler to answer, at first and when it was lost
POLL = 0.1  # seconds between two looks whether a lost one is back
RUNNING = "running"  # state of a client and of a worker, as Dask calls it


def scheduler_address(text: str) -> str:
    """Return the address of a scheduler, which is given itself or by its file.

    Raises
    ------
    InputError
        If it is neither an address nor a scheduler's file.
    """
    if "://" in text:
        return text
    wanted = "wanted is tcp://HOST:PORT, or the file of `dask scheduler --scheduler-file FILE`"
    try:
        return str(json.loads(Path(text).read_text("utf-8"))["address"])
    except OSError as error:
        raise InputError(f"{text}: cannot be read ({error.strerror}); {wanted}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{text}: is no scheduler's file; {wanted}") from error


class Scheduler:
    """A scheduler to which this process is connected until :meth:`close`.

    Attributes
    ----------
    client
        Dask's

    Raises
    ------
    EnvironmentProblem
        If no scheduler answers at the address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        for name in ("distributed", "distributed.client"):  # what matters of it, this room says
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            self.client = Client(address, timeout=CONNECT, set_as_default=False, name="aocq-sweep")
        except (OSError, ValueError) as error:  # nobody there; no address
            raise EnvironmentProblem(
                f"{address}: no Dask scheduler answers ({error}); start one with `dask "
                "scheduler`, and name the address that it prints"
            ) from error

    @property
    def connected(self) -> bool:
        """Whether the scheduler was there just now."""
        return bool(self.client.status == RUNNING)

    def wait(self, note: Callable[[str], None]) -> None:
        """Wait until a scheduler that was lost is found again, by the client.

        Raises
        ------
        EnvironmentProblem
            If it has given up.
        """
        note(f"{self.address}: the scheduler is gone; waiting {CONNECT:.0f} s for it")
        while not self.connected:
            if self.client.status in ("closed", "closing"):
                raise EnvironmentProblem(
                    f"{self.address}: the scheduler is gone and did not come back within "
                    f"{CONNECT:.0f} s; start it again (and its workers), and the same command goes "
                    "on with what is finished"
                )
            time.sleep(POLL)

    def identity(self) -> dict[str, Any] | None:
        """Return what a scheduler says of itself and its workers; None where it is lost just now.

        Not by ``Client.scheduler_info``: a task of the client's leaves workers out of that now and
        then.
        """

        async def ask() -> dict[str, Any]:
            assert self.client.scheduler is not None
            found: dict[str, Any] = await self.client.scheduler.identity(n_workers=-1)
            return found

        with suppress(OSError):
            found: dict[str, Any] = self.client.sync(ask)
            return found
        return None

    def retired(self, address: str) -> bool:
        """Return whether the scheduler itself let a worker go, as at the end of its time.

        Raises
        ------
        OSError
            If the scheduler is lost just now.
        """
        events = self.client.get_events(address) or ()
        removed = [event for _, event in events if event.get("action") == "remove-worker"]
        return bool(removed) and bool(removed[-1].get("expected"))

    def close(self) -> None:
        """Part; what the scheduler still has of this process it forgets."""
        self.client.close()
