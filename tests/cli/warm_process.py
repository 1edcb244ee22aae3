# SPDX-License-Identifier: Apache-2.0
"""A process that has torch, timm and matplotlib loaded and forks for every command it is sent.

Loading them takes longer than most refusals do. What is tested of the loading itself, and of
processes without torch, runs in processes of its own.

Reads a JSON list of arguments per line, answers with a JSON object: code, out, err.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

import aocq.pipeline  # noqa: F401  (loads torch and timm)
import reports.write  # noqa: F401  (loads matplotlib)
from aocq.cli import main


def child(arguments: list[str], out: Path, err: Path) -> None:
    """Run one command as ``python -m aocq`` would, and end the process."""
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY), descriptor)
    sys.argv = ["aocq", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Answer until stdin ends."""
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            out.touch()
            err.touch()
            process = os.fork()
            if process == 0:
                child(json.loads(line), out, err)
            _, status = os.waitpid(process, 0)
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "out": out.read_text(encoding="utf-8"),
                "err": err.read_text(encoding="utf-8"),
            }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
