# SPDX-License-Identifier: Apache-2.0
"""Progress on stderr: a bar with ETA on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from simulator.control_characters import escaped

# (what is being done, how many steps) -> context manager yielding advance(steps)
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
# takes what a person should know, a sentence
Note = Callable[[str], None]

SECONDS_BETWEEN_LINES = 30.0
SECONDS_IN_SILENCE = 1.0  # that kernels may take before a line says so
COMPILING = "compiling kernels, which are kept for the next run"
_shown: list[Callable[[str], None]] = []  # of what is being done, innermost last: says more of it


@contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(steps)``, which says nothing."""
    del what, total
    yield lambda steps: None


@contextmanager
def show(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(steps)``; bar or lines go to stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import (
            Progress as Bar,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # The stream itself: a bar is drawn with control characters (aocq.cli.streams).
        stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
        with Bar(*columns, console=Console(file=stream)) as bar:
            task = bar.add_task(what, total=total)
            with _saying(lambda text: bar.update(task, description=f"{what}: {text}")):
                yield lambda steps: bar.update(task, advance=steps, description=what)
        return
    lines = _Lines(what, total)
    with _saying(lines.say):
        yield lines.advance


@contextmanager
def _saying(say: Callable[[str], None]) -> Iterator[None]:
    _shown.append(say)
    try:
        yield
    finally:
        _shown.remove(say)


def compiling(place: tuple[int, int] | None) -> None:
    """Say, beside what is being done, that a kernel is compiled: a watcher of `compilation`."""
    text = COMPILING if place is None else f"{COMPILING}: op {place[0]} of {place[1]}"
    (_shown[-1] if _shown else _between.say)(text)


class _Lines:
    """A line at the end, and in between whenever half a minute has passed."""

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total, self.done = what, total, 0
        self.start = self.last = time.monotonic()
        self.said: float | None = None  # when a line of :meth:`say` may be next

    def advance(self, steps: int) -> None:
        self.done += steps
        now = time.monotonic()
        finished = self.done >= self.total
        if not finished and now - self.last < SECONDS_BETWEEN_LINES:
            return
        self.last = now
        elapsed = now - self.start
        line = f"{self.what}: {self.done}/{self.total}, {elapsed:.0f} s"
        if not finished and self.done:
            line += f", about {elapsed / self.done * (self.total - self.done):.0f} s left"
        print(line, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Say more of what is being done, where it takes more than a moment."""
        now = time.monotonic()
        if self.said is None:
            self.said = now + SECONDS_IN_SILENCE
        elif now >= self.said:
            self.said = now + SECONDS_BETWEEN_LINES
            print(f"{self.what}: {text}" if self.what else text, file=sys.stderr, flush=True)


_between = _Lines("", 0)  # outside of what is shown


def once_each(said_by: Note) -> Note:
    """Return a note that leaves out what it has said before: of many runs what all have alike."""
    said: set[str] = set()

    def say(text: str) -> None:
        if text not in said:
            said.add(text)
            said_by(text)

    return say


def note(text: str) -> None:
    """Print what a person should know, a line on stderr."""
    print(f"note: {escaped(text)}", file=sys.stderr, flush=True)
