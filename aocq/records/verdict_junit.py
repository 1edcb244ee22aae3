# SPDX-License-Identifier: Apache-2.0
"""A verdict as test cases for a CI server: one for each gate."""

from __future__ import annotations

from aocq.records.verdict import Verdict
from simulator.junit import Problem, TestCase


def gate_cases(verdict: Verdict, group: str) -> list[TestCase]:
    """Return a case for each gate; one that is undecided fails, since it is not shown to hold.

    Of an older record, which has no gates one by one, the verdict is one case.

    Parameters
    ----------
    group
        what was judged, such as ``vit_nano_digits on edge_npu_int8``
    """
    if not verdict.results:
        failed = "\n".join(verdict.failed)
        problem = None
        if not verdict.feasible:
            problem = Problem(kind="fail", message=failed.partition("\n")[0], text=failed)
        return [TestCase(group=group, name="verdict", problem=problem)]
    cases = []
    for result in verdict.results:
        problem = None
        if result.outcome != "pass":
            problem = Problem(kind=result.outcome, message=result.reason, text=result.reason)
        output = result.reason if problem is None else ""
        cases.append(TestCase(group=group, name=result.name, problem=problem, output=output))
    return cases
