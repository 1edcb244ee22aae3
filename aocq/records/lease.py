# SPDX-License-Identifier: Apache-2.0
"""A lease: a file that says which process is making something, on whatever machine.

Beside :mod:`aocq.records.claim`, whose lock the kernel lets go of but only some network file
systems know, a lease is a file made by atomic creation. Its holder renews the file's time until it
ends. A lease is stale where its holder's process is gone, which its own machine can tell, and
elsewhere where it was not renewed for :data:`EXPIRES` seconds.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from aocq.records.claim import running_command
from simulator import strict_json
from simulator.files import cannot_be_written

RENEWAL = 30.0  # seconds between two renewals
EXPIRES = 300.0  # seconds without one, after which a holder on another machine counts as gone
UNWRITTEN = 10.0  # seconds after which a lease without a holder was left by a killed process
SAME_START = 2.0  # seconds: what two readings of a process's start may differ by
POLL = 0.2  # seconds between two looks at a lease that somebody else holds
LONGEST = 4096  # bytes of a lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that holds a lease.

    Attributes
    ----------
    started
        when the process started, in seconds since 1970: its number may be another's later
    token
        of this lease alone, at random
    """

    host: str
    process: int
    started: float
    command: str
    token: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, {self.command}"


class Lease:
    """A lease that this process holds, renewed by a thread until :meth:`release`."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder = path, holder
        self._ended = threading.Event()
        threading.Thread(target=self._renew, name=f"lease {path}", daemon=True).start()

    def _renew(self) -> None:
        while not self._ended.wait(RENEWAL):
            with suppress(OSError):  # a file system that is away for a moment
                os.utime(self.path)

    def release(self) -> None:
        """Let others have it; not where it was taken over meanwhile."""
        self._ended.set()
        with suppress(OSError):
            if _holder(self.path) == self.holder:
                self.path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def take(path: Path, note: Callable[[str], None] = lambda text: None) -> Lease | Holder | None:
    """Return the lease of a file, or who has it; None where a process is just creating it.

    One that is stale is taken over, and ``note`` told of its holder.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    mine = _this_process()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    for _ in range(2):  # the second time behind a stale one
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except FileExistsError:
            pass
        except OSError as error:
            raise cannot_be_written(path, error) from error
        else:
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(asdict(mine)).encode())
            return Lease(path, mine)
        other = _holder(path)
        if not _is_stale(path, other):
            return other
        if _moved_away(path, other):
            note(f"{path}: took over from {other or 'a process'}, which ended without releasing it")
    return _holder(path)


@contextmanager
def leased(path: Path, note: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the lease of a file for as long as the block runs; wait for it, and say for whom.

    Raises
    ------
    InputError
        See :func:`take`.
    """
    told = False
    while not isinstance(found := take(path, note), Lease):
        if found is not None and not told:
            note(f"waiting for {path.name}, which {found} is making")
            told = True
        time.sleep(POLL)
    with found:
        yield


def _this_process() -> Holder:
    return Holder(
        host=platform.node(),
        process=os.getpid(),
        started=psutil.Process().create_time(),
        command=running_command(),
        token=secrets.token_hex(8),
    )


def _holder(path: Path) -> Holder | None:
    """Return who holds a lease; None where that is not written, or the file is gone."""
    try:
        with path.open("rb") as file:
            return Holder(**strict_json.loads(file.read(LONGEST)))
    except (OSError, TypeError, ValueError):
        return None


def _is_stale(path: Path, holder: Holder | None) -> bool:
    if holder is not None and holder.host == platform.node():
        return not _runs(holder)
    try:
        age = _now(path) - path.stat().st_mtime
    except OSError:  # gone
        return False
    return age > (UNWRITTEN if holder is None else EXPIRES)


def _runs(holder: Holder) -> bool:
    """Return whether a holder's process runs, on this machine."""
    try:
        process = psutil.Process(holder.process)
        ended = process.status() == psutil.STATUS_ZOMBIE
        return not ended and abs(process.create_time() - holder.started) < SAME_START
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:  # another user's
        return True


def _now(path: Path) -> float:
    """Return the time by the clock of the file system: of a server, not of this machine."""
    probe = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _moved_away(path: Path, stale: Holder | None) -> bool:
    """Remove a stale lease by renaming it; put back what another process put in its place."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except OSError:  # another process was quicker
        return False
    if _holder(aside) != stale:
        with suppress(OSError):
            os.link(aside, path)
        aside.unlink(missing_ok=True)
        return False
    aside.unlink(missing_ok=True)
    return True
