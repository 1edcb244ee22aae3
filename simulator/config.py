# SPDX-License-Identifier: Apache-2.0
"""The only reader of environment variables.

==================  ====================================================================
``AOCQ_CACHE_DIR``  folder for compiled kernels (default ``~/.cache/aocq``)
``AOCQ_THREADS``    worker threads of the emulator (default: every core available here)
==================  ====================================================================
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from simulator.errors import EnvironmentProblem


def cache_folder() -> Path:
    """Return a writable folder for compiled kernels, the temporary folder where none is."""
    configured = os.environ.get("AOCQ_CACHE_DIR")
    try:
        folder = Path(configured) if configured else Path("~/.cache/aocq").expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:  # RuntimeError: this user has no home
        if configured:
            raise EnvironmentProblem(
                f"AOCQ_CACHE_DIR = {configured}: cannot be written ({error}); "
                "name a writable folder or unset it"
            ) from error
        own = Path(tempfile.gettempdir()) / f"aocq-cache-{os.getuid()}"
        own.mkdir(mode=0o700, exist_ok=True)
        return own


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
    if not configured.isdigit() or not 1 <= int(configured) <= 1024:
        raise EnvironmentProblem(
            f"AOCQ_THREADS = {configured}: must be a whole number from 1 to 1024"
        )
    return int(configured)
