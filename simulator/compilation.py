# SPDX-License-Identifier: Apache-2.0
"""What surrounds the compilation of a kernel: who is told of it, and whose turn it is.

A kernel that is not in the cache (:mod:`simulator.kernel_cache`) takes a second to compile, the
largest six, all of a network's on a new machine ten and more. Those who watch are told, so that a
command is not silent meanwhile. Of several processes that want the same kernel one compiles it; the
others wait for their turn and then find it in the cache.

Turns are locks on bytes of one file of the cache's folder, one byte for each kernel and signature.
The system releases them when their process ends, however it ends. Where there are no such locks
(another operating system, a folder that only can be read, some network file systems), or where the
one whose turn it is takes too long, kernels are compiled without: that costs time and nothing else,
for files of kernels come into place whole.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from simulator.ownership import check_private_folder, foreign

# Seconds: the largest kernel takes six where nobody else wants the core. Whoever takes longer than
# this was stopped.
LONGEST_WAIT = 60.0
_LOOKS = 0.05  # seconds between two looks whether it is our turn
LOCKS = ".turns"

# (which op of how many), or None where the kernel is of no graph that is being run
Place = tuple[int, int] | None
Step = TypeVar("Step")
_watchers: list[Callable[[Place], None]] = []
_place = threading.local()
_files: dict[Path, int | None] = {}  # folder to the open file: closing one would release all locks


@contextmanager
def watched(watcher: Callable[[Place], None]) -> Iterator[None]:
    """Call ``watcher`` with the place whenever a kernel has to be compiled, in that thread."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def one_by_one(steps: Sequence[Step]) -> Iterator[tuple[int, Step]]:
    """Yield steps with their numbers, 0 first; what compiles meanwhile is told to be theirs."""
    try:
        for number, step in enumerate(steps):
            _place.now = (number + 1, len(steps))
            yield number, step
    finally:
        _place.now = None


@contextmanager
def turn(folder: Path | None, name: str) -> Iterator[None]:
    """Tell those who watch, and hold the turn for a kernel while the block compiles it.

    The block must look into the cache first: another process may just have filled it.

    Parameters
    ----------
    folder
        of the cache; None: nothing is kept, and nobody waits
    name
        of the file that the kernel will have there
    """
    for watcher in (*_watchers,):
        watcher(getattr(_place, "now", None))
    file = None if folder is None else _lock_file(folder)
    if file is None or not _taken(file, _byte(name)):
        if file is not None and folder is not None:
            _files[folder] = None  # one that was stopped would make us wait for each of its kernels
        yield
        return
    try:
        yield
    finally:
        _release(file, _byte(name))


def _lock_file(folder: Path) -> int | None:
    """Return the descriptor of the folder's file of locks, None where there can be none."""
    if folder not in _files:
        _files[folder] = _opened(folder)
    return _files[folder]


def _opened(folder: Path) -> int | None:
    with suppress(ImportError, OSError):
        import fcntl  # noqa: F401  (of Unix only)

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private_folder(folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(folder / LOCKS, flags, 0o600)
        if not foreign(os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)
    return None


def _byte(name: str) -> int:
    """Return the place of a kernel's lock: a number below 2**62, which files may have."""
    import hashlib

    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 2


def _taken(file: int, byte: int) -> bool:
    """Wait for a lock; return whether it is held, and not if it took too long or there is none."""
    import fcntl

    end = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):  # another process has it
            if time.monotonic() > end:
                return False
            time.sleep(_LOOKS)
        except OSError:  # the file system has no locks
            return False
        else:
            return True


def _release(file: int, byte: int) -> None:
    import fcntl

    with suppress(OSError):
        fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
