# SPDX-License-Identifier: Apache-2.0
"""The command line. Results go to stdout or files, talk goes to stderr, nothing ever prompts.

Exit codes: 0 fine · 1 a gate failed, or a sum overflowed that must not · 2 usage · 3 bad input ·
4 environment · 130 interrupted.
"""

from __future__ import annotations

import sys

from simulator.errors import AocqError

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its documented code."""
    from aocq.cli.app import app

    try:
        app()
    except AocqError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer's answer to Ctrl-C, which says nothing by itself
            again = {"verify", "demo", "table2", "ablate", "targets", "accumulators"}
            resumes = again & set(sys.argv[1:2])
            print(
                "interrupted" + "; the same command goes on where it stopped" * bool(resumes),
                file=sys.stderr,
            )
        raise
