# SPDX-License-Identifier: Apache-2.0
"""The command line. Results go to stdout or files, talk goes to stderr, nothing ever prompts.

Exit codes: 0 fine · 1 a gate failed, or a sum overflowed that must not · 2 usage · 3 bad input ·
4 environment · 70 a mistake of aocq's own, with a traceback · 130 interrupted · 141 the pipe that
takes the output was closed.

Whatever takes time to import is imported inside :func:`main`, where Ctrl-C is answered.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its documented code."""
    try:
        from aocq.cli.streams import any_text

        with any_text():
            code = _run()
    except KeyboardInterrupt:  # before :func:`_run` could answer it, or twice
        print("interrupted", file=sys.stderr)
        code = 130
    sys.exit(code)


def _run() -> int:
    """Return the exit code of the command that ``sys.argv`` asks for."""
    from aocq import progress
    from aocq.cli import ending, interruption, streams
    from simulator import compilation

    resumes = False
    with interruption.noted() as interrupted, compilation.watched(progress.compiling):
        try:
            from aocq.cli.app import app, resumes_after

            resumes = resumes_after(sys.argv[1:])
            app()
            code = 0
        except BaseException as error:
            if interrupted() and not isinstance(error, SystemExit):
                error = KeyboardInterrupt()
            code = ending.ended_by(error, resumes=resumes)
        failure = streams.flush()
    return ending.ended_by(failure) if failure and code == 0 else code
