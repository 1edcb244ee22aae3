# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C, also where Python or a library makes something else of it.

While a module is imported, KeyboardInterrupt may come out as an ImportError (numpy, torch) or be
ignored where it cannot be raised (in a callback).
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

RESUMES = "resumes"  # attribute of a command, see :func:`resuming`
AGAIN = 0.02  # seconds, until what could not be raised is out of the way


def resuming(command: Callable[..., None]) -> Callable[..., None]:
    """Mark a command that goes on where it was interrupted, when it is given again."""
    setattr(command, RESUMES, True)
    return command


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed since."""
    pressed = threading.Event()
    again: list[threading.Timer] = []

    def press(*_: Any) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def ignored(what: Any) -> None:
        if isinstance(what.exc_value, KeyboardInterrupt):
            again.append(threading.Timer(AGAIN, os.kill, (os.getpid(), signal.SIGINT)))
            again[-1].start()
        else:
            before(what)

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield pressed.is_set
        return
    before = sys.unraisablehook
    sys.unraisablehook = ignored
    signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()
        # A string of code that was interrupted, as dataclasses have it, makes `python -m` end by a
        # signal instead of with our exit code, unless another one is run after it.
        exec("")
        # Pressed again it ends the process at once, whatever that still has to do.
        signal.signal(
            signal.SIGINT, signal.SIG_DFL if pressed.is_set() else signal.default_int_handler
        )
