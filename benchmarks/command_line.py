# SPDX-License-Identifier: Apache-2.0
"""The command line that all benchmarks have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.records import DEFAULT_FOLDER
from simulator.errors import AocqError, InputError


def parser(name: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help begins with a module's documentation."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=(documentation or "").replace("``", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--pairs",
        type=at_least_one,
        default=5,
        metavar="P",
        help="rounds in which every side runs once; ratios are medians over them (default 5)",
    )
    made.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_FOLDER,
        metavar="FOLDER",
        help=f"where {name}.json and {name}.md are written (default benchmarks/results)",
    )
    return made


def at_least_one(text: str) -> int:
    """Return a count from the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 on is wanted")
    return int(text)


def chosen(text: str, known: Sequence[str], what: str) -> list[str]:
    """Return the names of a list with commas.

    Raises
    ------
    InputError
        If one of them is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise InputError(f"{what} {name}: there is none of this name, but {', '.join(known)}")
    return names


def run(main: Callable[[], None]) -> None:
    """Run a command; what a person can mend is one line, without a traceback."""
    try:
        main()
    except AocqError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
