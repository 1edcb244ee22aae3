# SPDX-License-Identifier: Apache-2.0
"""What a command that was attacked may end with, and the count of what did not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from attack.forked import MEMORY, Ended, command_text
from simulator.control_characters import escaped

FINE, VERDICT, USAGE, INPUT, ENVIRONMENT, INTERRUPTED = 0, 1, 2, 3, 4, 130
DOCUMENTED = {FINE, VERDICT, USAGE, INPUT, ENVIRONMENT}
# What a verdict says that is no YES: a gate's, or that of an accumulator whose policy is "error".
NO = re.compile(
    r"^gate (?:failed|undecided): |^error: op \S+: \d+ sums overflowed the accumulator \(",
    re.MULTILINE,
)


@dataclass(kw_only=True)
class Tally:
    """What one part of the attack came to: how often each code, and what must not be."""

    part: str
    codes: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0

    def note(self, ended: Ended, what: str, *others: str, **allowed: bool) -> None:
        """Count a command's end, and everything about it that must not be."""
        self.codes[ended.code] += 1
        self.slowest = max(self.slowest, ended.seconds)
        self.largest = max(self.largest, ended.bytes)
        found = [*problems(ended, **allowed), *others]
        if found:
            self.faults.append(
                f"{what}: {'; '.join(found)}\n    {command_text(ended.arguments)}\n    "
                + "\n    ".join(ended.err.strip().splitlines()[-4:])
            )

    def fault(self, what: str) -> None:
        """Count something that must not be and is no command's end."""
        self.faults.append(what)

    @property
    def cases(self) -> int:
        """How many commands were counted."""
        return sum(self.codes.values())

    def line(self) -> str:
        """Return the part in one line."""
        codes = ", ".join(f"{count} x {code}" for code, count in sorted(self.codes.items()))
        return (
            f"{self.part:34} {self.cases:6} cases  {len(self.faults):3} faults  "
            f"slowest {self.slowest:5.1f} s  {self.largest / 2**20:6.0f} MiB  codes: {codes}"
        )


def problems(ended: Ended, *, killed: bool = False) -> list[str]:
    """Return what is wrong with how a command ended; with ``killed``, a signal is its due."""
    found = []
    if not ended.in_time:
        found.append("did not end")
    if ended.bytes > MEMORY:
        found.append(f"took {ended.bytes / 2**20:.0f} MiB")
    if ended.in_time and not killed and ended.code not in DOCUMENTED:
        found.append(f"ended with {ended.code}")
    if ended.code == VERDICT and not NO.search(ended.err):
        found.append("ended with 1 without a verdict")
    if "Traceback" in ended.err or "Warning" in ended.err or "Exception ignored" in ended.err:
        found.append("a traceback or a warning of Python's")
    if ended.code in {INPUT, ENVIRONMENT} and not re.search("(?i)error", ended.err):
        found.append("an error without a message")
    if "not enough memory" in ended.err:
        found.append("ran out of memory")
    if any(escaped(text) != text for text in (ended.out, ended.err)):
        found.append("control characters on the terminal")
    return found
