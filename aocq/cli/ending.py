# SPDX-License-Identifier: Apache-2.0
"""The end of a command: what went wrong, as an exit code and a line on stderr.

1 is a verdict and nothing else. What a user can mend, a file above all, is told with its name; a
mistake of aocq's own has a traceback.
"""

from __future__ import annotations

import errno
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType

from simulator.errors import AocqError, EnvironmentProblem, InputError

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h; Python's own code of a traceback is 1, as a gate's
INTERRUPTED = 130
CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell reports of other programs

LACKING = EnvironmentProblem.exit_code
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_DISTRIBUTIONS = {"PIL": "pillow"}  # of modules that are not named as they are
# A line of a package's metadata, such as ``torch>=2.6; extra == 'quantize'``.
_REQUIRED_BY_AN_EXTRA = re.compile(r"(?P<name>[\w.-]+).*; *extra == ['\"](?P<extra>[\w-]+)['\"] *")
_PARSERS = ("json", "tomllib", "csv", "ast", "xml")


class Passing(BaseException):
    """Carries an error past typer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def ended_by(error: BaseException, *, resumes: bool = False) -> int:
    """Say on stderr what ``error`` means and return the exit code that belongs to it.

    ``resumes``: the command goes on where it was interrupted, when it is given again.
    """
    if isinstance(error, Passing):
        error = error.error
    for kind, explained in _ENDINGS:
        told = explained(error) if isinstance(error, kind) else None
        if told is not None:
            code, text = told
            kept = "; the same command goes on with what was kept"
            _say(text + kept * (resumes and code == INTERRUPTED))
            return code
    _say(
        "".join(traceback.format_exception(error))
        + "error: this is a mistake of aocq's own; please report it"
    )
    return INTERNAL_ERROR


def _say(text: str) -> None:
    with suppress(OSError, ValueError):  # stderr may be full or closed: the code still tells
        print(text, file=sys.stderr, end="\n" * bool(text), flush=True)


Told = tuple[int, str] | None  # None: not what this kind is about


def _exit(error: BaseException) -> Told:
    """Return the code that a command or typer chose; a text instead of one is nothing of ours."""
    assert isinstance(error, SystemExit)
    if error.code == INTERRUPTED:  # typer's answer to Ctrl-C, which says nothing by itself
        return INTERRUPTED, "interrupted"
    if isinstance(error.__context__, BrokenPipeError):  # what rich makes of it
        return CLOSED_PIPE, ""
    if error.code is None or isinstance(error.code, int):
        return error.code or 0, ""
    return None


def _known(error: BaseException) -> Told:
    assert isinstance(error, AocqError)
    return error.exit_code, f"error: {error}"


def _file(error: BaseException) -> Told:
    """Return what the system says of a file; without a name only what can be nothing else."""
    assert isinstance(error, OSError)
    reason = error.strerror or str(error)
    if error.errno in _SCARCE:
        return LACKING, f"error: {reason}; end other programs or raise limits"
    name = error.filename if isinstance(error.filename, str | bytes | Path) else None
    if name is None and error.errno in _FULL:
        name = "a file or stdout"
    if name is None:
        return None
    shown = name.decode(errors="backslashreplace") if isinstance(name, bytes) else name
    return InputError.exit_code, f"error: {shown}: cannot be read or written ({reason})"


def _content(error: BaseException) -> Told:
    """Return what is wrong with a file's content, where we know which file was being read."""
    path = _path_in(error.__traceback__)
    if path is None:
        return None
    return InputError.exit_code, f"error: {path}: cannot be read ({error or type(error).__name__})"


def _depth(error: BaseException) -> Told:
    """Return the same of a file that is nested too deeply; any other recursion is our mistake."""
    names = (frame.f_globals.get("__name__", "") for frame in _frames(error.__traceback__))
    if not any(name.partition(".")[0] in _PARSERS for name in names):
        return None
    path = _path_in(error.__traceback__) or "a file"
    return InputError.exit_code, f"error: {path}: cannot be read (it is nested too deeply)"


def _missing(error: BaseException) -> str:
    """Return which package is missing, and what installs it."""
    name = (getattr(error, "name", None) or "").partition(".")[0]
    extra = _extra_with(_DISTRIBUTIONS.get(name, name))
    if extra is None:
        return f"error: {error}; install aocq again, with its dependencies"
    return f"error: {error}; pip install 'aocq[{extra}]' has what this command needs"


def _extra_with(distribution: str) -> str | None:
    """Return the smallest extra of aocq, by its metadata, that requires a distribution."""
    from importlib.metadata import PackageNotFoundError, requires

    extras: dict[str, list[str]] = {}
    with suppress(PackageNotFoundError):
        for requirement in requires("aocq") or ():
            found = _REQUIRED_BY_AN_EXTRA.fullmatch(requirement)
            if found:
                extras.setdefault(found["extra"], []).append(found["name"])
    those = [extra for extra, names in extras.items() if distribution in names]
    return min(those, key=lambda extra: len(extras[extra]), default=None)


_ENDINGS: tuple[tuple[type[BaseException], Callable[[BaseException], Told]], ...] = (
    (SystemExit, _exit),
    (KeyboardInterrupt, lambda error: (INTERRUPTED, "interrupted")),
    (AocqError, _known),
    (BrokenPipeError, lambda error: (CLOSED_PIPE, "")),
    (ModuleNotFoundError, lambda error: (LACKING, _missing(error))),
    (
        MemoryError,
        lambda error: (LACKING, "error: not enough memory; a smaller --batch needs less"),
    ),
    (OSError, _file),
    (UnicodeDecodeError, _content),
    (EOFError, _content),
    (RecursionError, _depth),
)


def _frames(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _path_in(trace: TracebackType | None) -> Path | None:
    """Return the path that the innermost of our functions was at work on."""
    for frame in reversed(list(_frames(trace))):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in ("aocq", "simulator", "reports"):
            for value in frame.f_locals.values():
                if isinstance(value, Path):
                    return value
    return None
