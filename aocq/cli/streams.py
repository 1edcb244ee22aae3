# SPDX-License-Identifier: Apache-2.0
r"""The one place that decides how text reaches stdout and stderr.

What the encoding of a terminal does not have is written as Python writes it (``\xe9``, ``\u2192``),
lone surrogates of file names too. Control characters are written as ``\u001b``: names come from
files, and files from anybody. Tables and bars that rich draws go past this, and escape their cells.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from simulator.control_characters import escaped


class EscapingStream:
    """A text stream whose control characters but newline and tab are escaped.

    rich writes to ``rich_proxied_file`` where a stream has one.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self.rich_proxied_file, self.shown_name = stream, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)

    def write(self, text: str) -> int:
        """Write; a return to the start of the line may lead, as bars of downloads have it."""
        start = "\r" * text.startswith("\r")
        with self._named():
            self.rich_proxied_file.write(start + escaped(text.removeprefix("\r")))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of the lines."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is held back."""
        with self._named():
            self.rich_proxied_file.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Let errors say which stream it was."""
        try:
            yield
        except OSError as error:
            error.filename = self.shown_name
            raise


@contextmanager
def any_text() -> Iterator[None]:
    """Let stdout and stderr take any text while the block runs."""
    before = sys.stdout, sys.stderr
    sys.stdout = _taking_any_text(sys.stdout, "stdout")
    sys.stderr = _taking_any_text(sys.stderr, "stderr")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _taking_any_text(stream: TextIO | None, name: str) -> Any:
    if stream is None:  # closed by whoever started us
        stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return EscapingStream(stream, name)


def flush() -> OSError | None:
    """Write what stdout and stderr still hold; return why that failed, the first of both.

    A stream that takes nothing is put aside, or Python would complain of it at the very end.
    """
    failed: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
        except ValueError:  # closed
            pass
    return failed
