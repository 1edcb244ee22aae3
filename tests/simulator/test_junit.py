# SPDX-License-Identifier: Apache-2.0
"""JUnit XML: counts, failures and errors, and text that XML cannot hold."""

from __future__ import annotations

from xml.etree import ElementTree

from simulator.junit import Problem, TestCase, junit_xml


def test_cases_are_counted_and_come_back_with_their_text() -> None:
    failure = Problem(kind="fail", message="3 > 2", text="3 > 2\nand <more>")
    error = Problem(kind="no run", message="none", text="none", error=True)
    cases = [
        TestCase(group="a on b", name="passes", output="2 of 2"),
        TestCase(group="a on b", name="fails", problem=failure),
        TestCase(group="a on b", name="not run", problem=error),
    ]
    suite = ElementTree.fromstring(junit_xml("gates", cases)).find("testsuite")
    assert suite is not None
    assert suite.attrib == {
        **{"name": "gates", "tests": "3", "failures": "1", "errors": "1", "skipped": "0"}
    }
    passes, fails, not_run = suite
    assert (passes.get("classname"), passes.get("name")) == ("a on b", "passes")
    assert passes.findtext("system-out") == "2 of 2"
    found = fails.find("failure")
    assert found is not None
    assert (found.get("message"), found.get("type"), found.text) == (
        *("3 > 2", "fail", "3 > 2\nand <more>"),
    )
    assert not_run.find("error") is not None
    assert not_run.find("failure") is None


def test_what_xml_cannot_hold_is_a_question_mark() -> None:
    case = TestCase(group="a\x00b", name="\udcff", output="x\x1b[0m")
    text = junit_xml("\x08", [case]).decode("utf-8")
    one = ElementTree.fromstring(text).find("testsuite/testcase")
    assert one is not None
    assert (one.get("classname"), one.get("name")) == ("a?b", "?")
    assert one.findtext("system-out") == "x?[0m"
