# SPDX-License-Identifier: Apache-2.0
"""Ownership of files and folders: code is only loaded from where nobody else can write.

Compiled kernels are unpickled, and unpickling runs whatever the file says.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def foreign(status: os.stat_result) -> str | None:
    """Return why somebody else can change what ``status`` describes, or None where nobody can.

    Root can change everything anyway: what is root's and closed to others is as good as one's own.
    """
    if status.st_uid not in (os.getuid(), 0):
        return f"it belongs to user {status.st_uid}, not to {os.getuid()}"
    if status.st_mode & _OTHERS_WRITE:
        return f"others can write it (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def check_private_folder(folder: Path) -> None:
    """Raise OSError if ``folder`` is missing, a link or no folder, or if others can change it."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{folder}: a link or a file, not a folder")
    if reason := foreign(status):
        raise PermissionError(f"{folder}: {reason}")
