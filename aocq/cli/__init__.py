# SPDX-License-Identifier: Apache-2.0
"""The command line. Results go to stdout or files, talk goes to stderr, nothing ever prompts.

Exit codes: 0 fine · 1 a gate failed, or a sum overflowed that must not · 2 usage · 3 bad input ·
4 environment · 70 a mistake of aocq's own, with a traceback · 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback

from simulator.errors import AocqError, EnvironmentProblem

INTERRUPTED = 130
INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h; Python's own code of a traceback is 1, as a gate's


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
    except ModuleNotFoundError as error:
        print(f"error: {error}; install aocq again, with its dependencies", file=sys.stderr)
        sys.exit(EnvironmentProblem.exit_code)
    except MemoryError:
        print("error: not enough memory; a smaller --batch needs less", file=sys.stderr)
        sys.exit(EnvironmentProblem.exit_code)
    except Exception:  # anything that nobody foresaw must not look like a verdict
        traceback.print_exc()
        print("error: this is a mistake of aocq's own; please report it", file=sys.stderr)
        sys.exit(INTERNAL_ERROR)
