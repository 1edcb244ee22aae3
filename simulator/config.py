# SPDX-License-Identifier: Apache-2.0
"""Environment variables, which no other module reads; defaults in brackets.

==================  =================================================================
``AOCQ_CACHE_DIR``  folder for compiled kernels and captured networks (``~/.cache/aocq``)
``AOCQ_THREADS``    worker threads of the emulator (every core available here)
==================  =================================================================
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

from simulator.control_characters import escaped
from simulator.errors import EnvironmentProblem
from simulator.ownership import check_private_folder, foreign


def cache_folder() -> Path | None:
    """Return the folder for what this user has compiled and captured, None where none can be made.

    Without a home that can be written it is one in the temporary folder; without one there that is
    this user's alone, a new one that is removed when the process ends.

    Raises
    ------
    EnvironmentProblem
        If ``AOCQ_CACHE_DIR`` cannot be made, or if others can write it.
    """
    configured = os.environ.get("AOCQ_CACHE_DIR")
    if configured:
        return _configured_folder(configured)
    for folder in (_home_folder, _temporary_folder, _passing_folder):
        with suppress(OSError, RuntimeError):  # RuntimeError: this user has no home
            return folder()
    return None


def _configured_folder(configured: str) -> Path:
    """Return the folder of ``AOCQ_CACHE_DIR``; one that can only be read may hold kernels too."""
    folder = Path(configured)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        link, status = folder.lstat(), folder.stat()
    except OSError as error:
        raise EnvironmentProblem(
            f"AOCQ_CACHE_DIR = {configured}: cannot be written ({error}); "
            "name a writable folder or unset it"
        ) from error
    reason = foreign(status)
    if not reason and link.st_uid not in (os.getuid(), 0):
        reason = f"it is a link of user {link.st_uid}"
    if reason:
        raise EnvironmentProblem(
            f"AOCQ_CACHE_DIR = {configured}: {reason}, and code is loaded from it; "
            "name a folder of your own, take the others' right away (chmod go-w), or unset it"
        )
    return folder


def _home_folder() -> Path:
    """Return ``~/.cache/aocq``.

    Where new files are open to one's group, it may be so too: what lies in it is private.
    """
    folder = Path("~/.cache/aocq").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid not in (os.getuid(), 0) or not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: another user's, or read-only")
    return folder


def _temporary_folder() -> Path:
    """Return a folder of this user in the temporary one, where anybody may have made it before."""
    folder = Path(tempfile.gettempdir()) / f"aocq-cache-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    check_private_folder(folder)
    if folder.lstat().st_uid != os.getuid() or folder.lstat().st_mode & 0o077:
        raise PermissionError(f"{folder}: not this user's alone")
    return folder


@cache
def _passing_folder() -> Path:
    folder, process = Path(tempfile.mkdtemp(prefix="aocq-cache-")), os.getpid()

    def remove() -> None:
        if os.getpid() == process:  # not a fork of it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    taken = folder.with_name(f"aocq-cache-{os.getuid()}")
    print(
        escaped(
            f"note: ~/.cache/aocq cannot be used, and {taken} is not this user's alone: "
            "compiled kernels are kept for this run only (AOCQ_CACHE_DIR names a folder)"
        ),
        file=sys.stderr,
    )
    return folder


def default_threads() -> int:
    """Return the number of worker threads: ``AOCQ_THREADS`` or the cores this process may use.

    Raises
    ------
    EnvironmentProblem
        If ``AOCQ_THREADS`` is not a whole number from 1 to 1024.
    """
    configured = os.environ.get("AOCQ_THREADS")
    if configured is None:
        return (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
    # Not isdigit(): ² is a digit to it, and int() takes no more than 4,300 of them.
    if not re.fullmatch(r"0*[0-9]{1,4}", configured) or not 1 <= int(configured[-4:]) <= 1024:
        raise EnvironmentProblem(
            f"AOCQ_THREADS = {configured}: must be a whole number from 1 to 1024"
        )
    return int(configured[-4:])
