# SPDX-License-Identifier: Apache-2.0
"""Reading of files that somebody names: regular ones, of a size that their kind can have.

Reading a named pipe waits for ever, reading a device never ends.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from simulator.errors import InputError

LARGEST_TEXT = 1 << 28  # bytes; the graph of a network of a thousand layers has a tenth of it

_SORTS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def regular_size(path: Path) -> int:
    """Return the size of a regular file in bytes, links followed.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be looked at.
    InputError
        If it is a folder, a pipe, a socket or a device.
    """
    return _checked(path, path.stat())


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Return what a regular file holds.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    InputError
        If it is no regular file, or has more than ``largest`` bytes.
    """
    regular_size(path)
    # Opening a pipe that has come since would wait; what was opened is what is looked at.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        size = _checked(path, os.fstat(descriptor))
        if size > largest:
            raise InputError(
                f"{path}: has {size:,} bytes, a file of its kind at most {largest:,}; name another"
            )
        return file.read(largest + 1)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Return the UTF-8 text of a regular file, line ends as they are.

    Raises
    ------
    OSError, InputError
        See :func:`read_bytes`.
    UnicodeDecodeError
        If it is no UTF-8 text.
    """
    return read_bytes(path, largest).decode()


def _checked(path: Path, found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        sort = next((name for is_one, name in _SORTS if is_one(found.st_mode)), "no file")
        raise InputError(f"{path}: is {sort}; wanted a regular file")
    return found.st_size
