# SPDX-License-Identifier: Apache-2.0
"""JUnit XML, which CI servers read: test cases that passed, failed or could not be run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a case did not pass.

    Attributes
    ----------
    kind
        what a server groups by, such as ``fault``
    message
        one line
    text
        all that is said
    error
        whether the case could not be run, else it was run and failed
    """

    kind: str
    message: str
    text: str
    error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCase:
    """One case: the class that servers group it under, its name, what was found."""

    __test__ = False  # none of pytest's

    group: str
    name: str
    problem: Problem | None = None
    output: str = ""


def junit_xml(suite: str, cases: Sequence[TestCase]) -> bytes:
    """Return a suite of test cases as JUnit XML, in UTF-8.

    Characters that XML 1.0 cannot hold are written as question marks.
    """
    problems = [case.problem for case in cases if case.problem is not None]
    errors = sum(problem.error for problem in problems)
    element = ElementTree.Element(
        "testsuite",
        name=_printable(suite),
        tests=str(len(cases)),
        failures=str(len(problems) - errors),
        errors=str(errors),
        skipped="0",
    )
    for case in cases:
        one = ElementTree.SubElement(
            element, "testcase", classname=_printable(case.group), name=_printable(case.name)
        )
        if case.problem is not None:
            found = ElementTree.SubElement(
                one,
                "error" if case.problem.error else "failure",
                message=_printable(case.problem.message),
                type=case.problem.kind,
            )
            found.text = _printable(case.problem.text)
        if case.output:
            ElementTree.SubElement(one, "system-out").text = _printable(case.output)
    root = ElementTree.Element("testsuites")
    root.append(element)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _printable(text: str) -> str:
    return "".join(mark if mark.isprintable() or mark == "\n" else "?" for mark in text)
