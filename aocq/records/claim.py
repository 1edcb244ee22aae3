# SPDX-License-Identifier: Apache-2.0
"""The sole right to write into an output folder, held by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simulator.errors import InputError
from simulator.files import cannot_be_written

WORK = ".work"  # in an output folder: the lock, unfinished work, and what is about to be published
LOCK_NAME = "lock"
FOLDERS = ("complete", "earlier")  # in it: what waits to be published, and what that replaces
# What file systems say that know no locks. There nothing keeps two commands apart.
FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
WITHOUT_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``, which is made if need be, for as long as the block runs.

    The kernel lets go of a killed process's lock by itself, so a lock file that is left behind
    stands in nobody's way. What was made for the lock and is empty at the end is removed again.

    Raises
    ------
    InputError
        If another process holds it, or the folder cannot be written.
    """
    made: list[Path] = []
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        descriptor = _locked(folder)
    except OSError as error:
        _remove_empty(folder / WORK, *made)
        raise cannot_be_written(folder, error) from error
    try:
        yield
    finally:
        # Removed while it is held: who opened it meanwhile sees that it is gone, and makes another.
        # Where somebody deleted it, the one that is there now is another holder's.
        with suppress(OSError):
            if _is_still(folder / WORK / LOCK_NAME, descriptor):
                (folder / WORK / LOCK_NAME).unlink()
        os.close(descriptor)
        _remove_empty(folder / WORK, *made)


def _locked(folder: Path) -> int:
    """Return the open, locked file of a folder; its content says who holds it."""
    path = folder / WORK / LOCK_NAME
    while True:
        _refuse_link(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(0, "not writable", str(folder))
        try:
            descriptor = os.open(path, FLAGS, 0o644)
        except FileNotFoundError:  # the holder has just cleared up behind itself
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise InputError(
                f"{folder}: another command writes into it{holder}; wait for its end, or name "
                "another folder with --out"
            ) from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                os.close(descriptor)
                raise
        if _is_still(path, descriptor):
            with suppress(OSError):  # a full disk: then nobody is told who holds it
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()}, {running_command()}".encode())
            return descriptor
        os.close(descriptor)


def _refuse_link(work: Path) -> None:
    """Refuse a folder of work that is a link: what is cleared there would be another folder's."""
    for path in (work, *(work / name for name in FOLDERS)):
        _refuse_one(path)
    lock = work / LOCK_NAME
    if lock.is_symlink() or lock.is_dir():
        raise InputError(
            f"{lock}: is {'a link' if lock.is_symlink() else 'a folder'}, and the lock "
            "belongs there; remove it, or name another folder with --out"
        )


def _refuse_one(work: Path) -> None:
    if work.is_symlink() or (work.exists() and not work.is_dir()):
        raise InputError(
            f"{work}: is {'a link' if work.is_symlink() else 'no folder'}, and unfinished work "
            "belongs there; remove it, or name another folder with --out"
        )


def _is_still(path: Path, descriptor: int) -> bool:
    """Return whether an open file still has its name: its former holder may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """Return who wrote into a lock file, in words; nothing where nobody has yet."""
    text = os.pread(descriptor, 300, 0).decode(errors="replace")
    return f" ({text})" if text.isprintable() and text else ""


def running_command() -> str:
    """Return the running command, without control characters and not endless."""
    parts = ["aocq", *sys.argv[1:3]]
    return shlex.join("".join(x if x.isprintable() else "?" for x in part)[:60] for part in parts)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):  # not empty, or gone
            folder.rmdir()
