# SPDX-License-Identifier: Apache-2.0
"""Reading of files that users name: regular files of a plausible size only.

Reading a named pipe waits for ever, reading a device never ends.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from simulator.errors import InputError

LARGEST_TEXT = 1 << 28  # bytes; the graph of a network of a thousand layers has a tenth of it
LONGEST_HEADER = 100_000_000  # bytes, of a safetensors file: the library's own limit
METADATA = "__metadata__"  # the entry of its header that is no tensor

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
    """Return the bytes of a regular file.

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
        return file.read(size)  # not `largest`: so much would be set aside


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


def read_safetensors(path: Path) -> bytes:
    """Return the bytes of a safetensors file, which may be large where its header says so.

    The library that reads such files can open no path that is not UTF-8, and of a path it maps
    what others may cut short meanwhile.

    Raises
    ------
    OSError, InputError
        See :func:`read_bytes`.
    """
    size = regular_size(path)
    return read_bytes(path, LARGEST_TEXT if size <= LARGEST_TEXT else _size_by_header(path))


def _size_by_header(path: Path) -> int:
    """Return how long a safetensors file is by its header; 0 where it has none.

    Source of the format: README of the safetensors project: eight bytes, the length of the header;
    the header, JSON; the tensors, at offsets from its end.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, LONGEST_HEADER))
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != METADATA]
        return 8 + length + int(max(ends))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError):
        return 0


def _checked(path: Path, found: os.stat_result) -> int:
    if not stat.S_ISREG(found.st_mode):
        sort = next((name for is_one, name in _SORTS if is_one(found.st_mode)), "no file")
        raise InputError(f"{path}: is {sort}; wanted a regular file")
    return found.st_size
