# SPDX-License-Identifier: Apache-2.0
"""A unit: what a worker process makes and leaves in a folder, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aocq.progress import Note, Progress

Make = Callable[[Any, Progress, Note], Any]
Find = Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Unit:
    """One piece of work of a sweep, which can be pickled and sent to a worker process.

    Made twice, it leaves the same result. Whatever it needs is in its request. Two are never equal:
    a pool returns those that it was given.

    Attributes
    ----------
    name
        for people
    folder
        its own, absolute: where its result is, and what is known of earlier attempts
        (:mod:`aocq.sweeps.run_state`)
    request
        what ``make`` and ``find`` are called with
    make
        a function of a module, which makes the result, whole or not at all, and returns what is to
        be told of it: a few kilobytes that can be pickled
    find
        a function of a module, which returns the same of a result that is in the folder already,
        and None where there is none; called in the command's own process too, so it imports nothing
        that takes long. None: ``make`` finds out
    shares
        names something that this unit makes for others, if it is the first: a calibration, say. Of
        those that share, others wait until the first has ended, as long as there is other work
    """

    name: str
    folder: Path
    request: Any
    make: Make
    find: Find | None = None
    shares: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A result: what ``find``, or else ``make``, returned.

    ``seconds`` it took now; ``earlier``: it was there.
    """

    value: Any
    seconds: float = 0.0
    earlier: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Why there is no result, in words; ``earlier``: as an earlier command found."""

    reason: str
    seconds: float = 0.0
    earlier: bool = False


Outcome = Made | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Another process holds the unit's lease, ``holder`` in words."""

    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Died:
    """The worker ended in the middle; ``cause`` in words."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The unit was not ended, for a reason that is not its own, and is made again.

    ``cause`` says which: a scheduler that was restarted. Unlike :class:`Died` it is not counted.
    """

    cause: str


Reply = Made | Failed | Busy | Died | Lost
