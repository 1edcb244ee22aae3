# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests: hypothesis, and the list of what oracles were asked.

Hypothesis tries the same examples on every run, and a busy machine is not a failing test.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

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


# What takes about as long as each other, in the order in which workers take it. Kernels are
# compiled in the first and found by those that come after the second; tests of the command line
# share processes that take long to start.
PARTS = {
    "kernels": ("tests/simulator/ops/", "tests/simulator/simd/"),
    "the rest": (),
    "networks": ("tests/aocq/", "tests/benchmarks/"),
    "real networks": ("tests/cli/test_real_networks.py",),
    "command line": ("tests/cli/",),
}


def part(nodeid: str) -> str:
    """Return which of :data:`PARTS` a test belongs to."""
    return next((name for name, paths in PARTS.items() if nodeid.startswith(paths)), "the rest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests into the order of :data:`PARTS`."""
    order = list(PARTS)
    items.sort(key=lambda item: order.index(part(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadscope``, hand each worker one of :data:`PARTS` at a time."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return part(nodeid)

    config.option.loadscopereorder = False  # not those with most tests first
    return Scheduling(config, log)


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
