# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: hypothesis, and the list of what oracles were asked.

Hypothesis tries the same examples on every run, and a busy machine is not a failing test.
"""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before anything imports torch: every worker of a test run has a core, and threads that wait for
# each other's cores take longer than none.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "same_every_time",
    deadline=None,
    derandomize=True,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("same_every_time")

# By its path: the process that hands tests to xdist's workers imports nothing of ``oracles``.
_spec = importlib.util.spec_from_file_location(
    "oracle_counts", Path(__file__).parent / "oracles" / "tally.py"
)
assert _spec is not None
assert _spec.loader is not None
tally = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tally)


# What workers take first: files that take minutes, so that none of them is left to a single worker
# at the end, then those that compile most.
FIRST = (
    "tests/cli/test_real_networks.py",
    "tests/simulator/ops/",
    "tests/simulator/simd/",
    "tests/golden/",
    "tests/cli/",
    "tests/aocq/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files into the order of :data:`FIRST`; workers take one after the other."""

    def place(item: pytest.Item) -> int:
        return next((i for i, path in enumerate(FIRST) if item.nodeid.startswith(path)), len(FIRST))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is imported and collected out of every garbage collection: it stays to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was compared with whom.

    It stands here and not with the oracles because, with xdist, that process reads only the
    ``conftest.py`` at and above the paths it was given.
    """
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    lines = tally.summary(report.user_properties for report in calls)
    if lines:
        terminalreporter.section("outputs compared with other implementations")
        for line in lines:
            terminalreporter.line(line)
