# SPDX-License-Identifier: Apache-2.0
"""Entries of a folder of images: regular files, folders, links, and what must not be opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from simulator.errors import InputError

# What systems and archives leave behind, beside whatever begins with a dot.
IGNORED = frozenset(
    {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
)
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def what_it_is(path: Path) -> str | None:
    """Return what a path is where it is no regular file, nor a link to one; None where it is.

    Raises
    ------
    OSError
        If it cannot be told.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "a link that leads nowhere" if path.is_symlink() else "no such file"
    if stat.S_ISREG(mode):
        return None
    return next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")


def entries(folder: Path, root: Path) -> list[os.DirEntry[str]]:
    """List a folder by name, without what is hidden or :data:`IGNORED`.

    Raises
    ------
    InputError
        If it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            kept = [entry for entry in found if entry.name[0] != "." and entry.name not in IGNORED]
    except OSError as error:
        raise _unreadable(folder, root, error) from error
    return sorted(kept, key=lambda entry: entry.name)


def is_folder(entry: os.DirEntry[str], root: Path) -> bool:
    """Return whether an entry is a folder or leads to one."""
    try:
        return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()
    except OSError as error:
        raise _unreadable(Path(entry.path), root, error) from error


def files_below(folder: Path, root: Path, left_out: list[str]) -> Iterator[Path]:
    """Yield what is no folder in ``folder`` and below it, links to folders followed.

    Links come after what is there itself, and no folder is read twice, so that links in a circle
    end. What was not followed is added to ``left_out``.
    """
    seen = {_identity(root, root)}  # whose folders are the other classes
    folders, links = [folder], list[Path]()
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        identity = _identity(current, root)
        if identity in seen:
            left_out.append(f"{current.relative_to(root)} (leads to a folder that was read)")
            continue
        seen.add(identity)
        for entry in entries(current, root):
            if is_folder(entry, root):
                (links if entry.is_symlink() else folders).append(Path(entry.path))
            else:
                yield Path(entry.path)


def _identity(folder: Path, root: Path) -> tuple[int, int]:
    try:
        found = folder.stat()
    except OSError as error:
        raise _unreadable(folder, root, error) from error
    return found.st_dev, found.st_ino


def _unreadable(path: Path, root: Path, error: OSError) -> InputError:
    return InputError(
        f"{path}: cannot be read ({error.strerror or error}); make it readable, or move it out of "
        f"{root}"
    )
