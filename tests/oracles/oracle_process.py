# SPDX-License-Identifier: Apache-2.0
"""An oracle that runs in a Python of its own: start it once, ask it many times."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from messages import receive, send


class OracleError(Exception):
    """An oracle refused a request, or its process ended."""


class OracleProcess:
    """A script of this folder under another Python, answering :mod:`messages`."""

    def __init__(self, python: Path, script: str) -> None:
        # What native code prints may fill a pipe that nobody reads; a file never blocks it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._printed_before = 0
        self._process = subprocess.Popen(
            [str(python), "-u", str(Path(__file__).parent / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    def ask(
        self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Send one request and return the arrays of the answer.

        Raises
        ------
        OracleError
            With what the oracle said, and the end of what it printed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._printed_before = os.fstat(self._log.fileno()).st_size
        try:
            send(self._process.stdin, header, arrays)
            answer, outputs = receive(self._process.stdout)
        except (EOFError, OSError) as error:
            code = self._process.wait()
            raise OracleError(f"process ended with code {code}\n{self._printed()}") from error
        if "error" in answer:
            raise OracleError(f"{answer['error']}\n{self._printed()}")
        return outputs

    def _printed(self) -> str:
        # pread: the process writes at the position that a seek of ours would move.
        end = os.fstat(self._log.fileno()).st_size
        start = max(self._printed_before, end - 2000)
        return os.pread(self._log.fileno(), end - start, start).decode(errors="replace")

    def __enter__(self) -> OracleProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(OSError):  # a process that has died does not take the rest
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()
