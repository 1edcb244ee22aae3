# SPDX-License-Identifier: Apache-2.0
"""Words of a signal in a waveform (VCD, FST): its value at every edge of a clock that counts.

The value is that right before the edge, which is what a register behind the signal takes over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from simulator.errors import EnvironmentProblem, InputError
from simulator.graph.names import printable

_NEAREST = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """The signal and when it is looked at.

    Attributes
    ----------
    signal, clock
        paths as ``tb.unit.out``
    when
        paths of further signals (valid, ready) which must all be 1
    edge
        of the clock
    """

    signal: str
    clock: str
    when: tuple[str, ...] = ()
    edge: Literal["rising", "falling"] = "rising"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value right before an edge at ``time``, in units of the file; text with unknown bits."""

    time: int
    value: int | str


class Wave:
    """A waveform file.

    Raises
    ------
    EnvironmentProblem
        If ``pywellen`` is not installed.
    InputError
        If the file is none.
    """

    def __init__(self, path: Path) -> None:
        try:
            import pywellen
        except ImportError as error:
            raise EnvironmentProblem(
                f"{path}: waveforms are read by the package pywellen, which is not installed; "
                "pip install 'aocq[waves]'"
            ) from error
        if not path.is_file():
            raise InputError(f"{path}: not found; name a VCD or FST file")
        self.path = path
        try:
            self._variables = {
                _plain(variable.full_name): variable
                for variable in pywellen.Waveform(str(path)).all_vars()
            }
        except BaseException as error:  # panics of its Rust part are no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            reason = printable(str(error))[:200]
            raise InputError(f"{path}: not a VCD or FST file ({reason})") from error

    def bits(self, signal: str) -> int:
        """Return the width of a signal."""
        return int(self._variable(signal).bitwidth or 0)

    def samples(self, sampling: Sampling) -> Iterator[Sample]:
        """Yield the signal's values, in order of time.

        Raises
        ------
        InputError
            If a signal is not in the file, or the clock is no single bit.
        """
        clock = _changes(self._variable(sampling.clock))
        if self.bits(sampling.clock) != 1:
            raise InputError(f"{self.path}: clock {sampling.clock} is not one bit wide")
        signals = [_Values(_changes(self._variable(sampling.signal)))]
        signals += [_Values(_changes(self._variable(name))) for name in sampling.when]
        wanted = (0, 1) if sampling.edge == "rising" else (1, 0)
        for (_, before), (time, after) in pairwise(clock):
            if (before, after) != wanted:
                continue
            data, *conditions = (values.before(time) for values in signals)
            if all(condition == 1 for condition in conditions):
                yield Sample(time=time, value=data)

    def _variable(self, name: str) -> Any:
        if name not in self._variables:
            near = _nearest(name, [*self._variables])
            raise InputError(
                f"{self.path}: has no signal {printable(name)}; it has {', '.join(near)} …"
            )
        return self._variables[name]


def _plain(full_name: str) -> str:
    """Return a path without the range that some files add: ``tb.q [7:0]``."""
    return full_name.partition(" ")[0]


def _nearest(name: str, known: Sequence[str]) -> list[str]:
    """Return known paths: those that end alike first."""
    last = name.rpartition(".")[2]
    alike = [path for path in known if path.rpartition(".")[2] == last]
    return [printable(path) for path in (alike or known)[:_NEAREST]]


def _changes(variable: Any) -> list[tuple[int, int | str]]:
    signal = variable.signal
    return [signal[index] for index in range(len(signal))]


class _Values:
    """The changes of a signal, asked for in any order."""

    def __init__(self, changes: Sequence[tuple[int, int | str]]) -> None:
        self._times = [time for time, _ in changes]
        self._values = [value for _, value in changes]

    def before(self, time: int) -> int | str:
        """Return the value right before a time; ``x`` where there is none yet."""
        place = bisect_left(self._times, time)
        return self._values[place - 1] if place else "x"
