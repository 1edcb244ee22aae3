# SPDX-License-Identifier: Apache-2.0
"""Compare our results with an oracle's, over several configurations, and demand enough of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTS = "oracle counts"  # the name of the user property of a test's report
Integers = NDArray[np.integer[Any]]


class Tally:
    """Counts of one row of the summary.

    A comparison that cannot fail shows nothing, so plausible wrong results are compared as well:
    each must differ from the oracle's somewhere.
    """

    def __init__(self, oracle: str, row: str, record_count: Callable[..., None]) -> None:
        self._names = (oracle, row)
        self._record = record_count
        self.compared = 0
        self.mismatches = 0
        self.wrong: dict[str, int] = {}
        self._first = ""

    def add(
        self, theirs: Integers, ours: Integers, wrong: Mapping[str, Integers] | None = None
    ) -> None:
        """Compare one configuration's results; ``wrong`` are those of other rules, by name."""
        assert theirs.shape == ours.shape
        assert theirs.size > 0
        different = theirs.astype(np.int64) != ours.astype(np.int64)
        self.compared += theirs.size
        self.mismatches += int(different.sum())
        if different.any() and not self._first:
            index = tuple(int(i[0]) for i in np.nonzero(different))
            self._first = f"at {index} of configuration: {theirs[index]}, ours {ours[index]}"
        for name, codes in (wrong or {}).items():
            missed = int((theirs.astype(np.int64) != codes.astype(np.int64)).sum())
            self.wrong[name] = self.wrong.get(name, 0) + missed

    def check(self, at_least: int) -> None:
        """Record the counts, and fail on any mismatch or where a wrong rule went unnoticed."""
        self._record(*self._names, compared=self.compared, mismatches=self.mismatches)
        for name, missed in self.wrong.items():
            print(f"  a wrong {name} would differ in {missed:,}")
        assert self.mismatches == 0, f"{self.mismatches} of {self.compared}, first {self._first}"
        assert self.compared >= at_least
        unnoticed = [name for name, missed in self.wrong.items() if missed == 0]
        assert not unnoticed, f"these wrong rules would pass, too: {unnoticed}"


def summary(properties: Iterable[Iterable[tuple[str, Any]]]) -> list[str]:
    """Add up the counts in the user properties of tests: one line per oracle and row."""
    totals: dict[tuple[str, str], list[int]] = {}
    for named in properties:
        for name, value in named:
            if name == COUNTS:
                oracle, row, compared, mismatches = value
                total = totals.setdefault((oracle, row), [0, 0])
                total[0] += compared
                total[1] += mismatches
    oracles = max((len(oracle) for oracle, _ in totals), default=0)
    rows = max((len(row) for _, row in totals), default=0)
    return [
        f"{oracle:<{oracles}}  {row:<{rows}}  {compared:>10,} compared {wrong:>6,} mismatches"
        for (oracle, row), (compared, wrong) in sorted(totals.items())
    ]
