# SPDX-License-Identifier: Apache-2.0
r"""Writing of files whole or not at all: on disk before they have their name; text as UTF-8.

Names of files that are not UTF-8 reach text as lone surrogates, which UTF-8 cannot hold. They are
written as ``\udcXX``, which is JSON's way to write them too.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from simulator.errors import InputError

LONGEST_NAME = 255  # bytes, on every common file system
_LONGEST_STEM = 100  # of a temporary name, which stays shorter than what any file system takes

_WAYS_OUT = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "make room or name a folder on another disk",
    errno.EDQUOT: "make room or name a folder on another disk",
    errno.EFBIG: "name a folder on another disk",
    errno.EISDIR: "remove that folder or choose another name",
    errno.EIO: "the disk fails; name a folder on another one",
}
_NO_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES, errno.EPERM}


def cannot_be_written(path: Path, error: OSError) -> InputError:
    """Return the error of a ``path`` that cannot be written: the reason and the way out."""
    way_out = _WAYS_OUT.get(error.errno or 0, "name a writable folder")
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {way_out}")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; it takes ``path``'s place when the block succeeds.

    What the block wrote is on the disk before it has its name, and the name before this returns:
    after a crash of the machine the file is the old or the new one.

    Raises
    ------
    InputError
        If the folder cannot be made or written. An existing file stays as it was.
    """
    temporary = path.with_name(_temporary_name(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary, os.O_RDWR)
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise cannot_be_written(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> str:
    """Return a name of this process and call, begun like ``path``'s own."""
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: no name that a file can have; choose another") from error
    if b"\0" in name:
        raise InputError(f"{path}: no name that a file can have; choose another")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise cannot_be_written(path, OSError(errno.ENAMETOOLONG, "File name too long"))
    stem = path.name
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return f".{stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where its file system can and we may."""
    try:
        _fsync(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def check_writable(folder: Path) -> None:
    """Check that files can be put into ``folder``, or that it can be made; leave nothing behind.

    Raises
    ------
    InputError
        If they cannot.
    """
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise cannot_be_written(folder, error) from error
