# SPDX-License-Identifier: Apache-2.0
"""The verdict on a dump as text for people, as JSON, and as JUnit XML for a CI server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from simulator.golden.check.verdict import ArrayVerdict, DumpVerdict, Status
from simulator.junit import Problem, TestCase, junit_xml

NO_PATTERN = "no known pattern"
_NAMED = 5  # names in a line
_ALIKE = 3  # candidates of one kind, of which none can be told from the others by these values


def told(verdict: DumpVerdict) -> Iterator[str]:
    """Yield the lines of a verdict: what is wrong in order of execution, and what was compared.

    Ops that only follow are counted, but those in which an inner value is wrong.
    """
    faulty = {array.op for array in verdict.arrays if array.status is Status.FAULT}
    for array in verdict.arrays:
        if array.status is Status.EQUAL:
            continue
        if array.status is not Status.FOLLOWS or array.op in faulty:
            yield from array_told(array)
            yield ""
    yield from _sums(verdict)


def array_told(array: ArrayVerdict) -> Iterator[str]:
    """Yield the lines on one array that is not equal."""
    head = f"{array.op} ({array.op_type}): {array.array}"
    if array.status is Status.MISSING:
        yield f"{head} is not in the dump"
        return
    if array.problem is not None:
        yield f"{head}: {array.problem} ({array.place})"
    if array.differing:
        yield f"{head} differs in {array.differing:,} of {array.values:,} values ({array.place})"
    if array.unknown:
        yield f"  {array.unknown:,} values have unknown bits, or words with bits of no element"
    brief = array.status is not Status.FAULT
    for number, mismatch in enumerate(array.mismatches[: 1 if brief else None]):
        start = "first at" if number == 0 else "then at"
        yield f"  {start} {[*mismatch.index]}: {mismatch.told(array.kind)}"
        if number == 0 and array.operands and not brief:
            yield from _aligned(array.operands)
    if not brief:
        yield from (f"  where   {line}" for line in array.where)
    yield from (f"  note    {line}" for line in array.notes)
    for kind, sentences in _by_kind(array).items():
        yield from (f"  pattern {kind}: {sentence}" for sentence in sentences[:_ALIKE])
        if len(sentences) > _ALIKE:
            yield f"  pattern {kind}: and {len(sentences) - _ALIKE} more that make the same values"
    if array.diagnosed and not array.findings:
        yield f"  pattern {NO_PATTERN}"


def _by_kind(array: ArrayVerdict) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in array.findings:
        found.setdefault(finding.kind, []).append(finding.sentence)
    return found


def _aligned(operands: Any) -> Iterator[str]:
    width = max(map(len, operands))
    for name, numbers in operands.items():
        yield f"    {name:{width}}  {numbers}"


def _sums(verdict: DumpVerdict) -> Iterator[str]:
    """Yield what was compared, what was not, and the verdict."""
    counts = dict.fromkeys(Status, 0)
    for array in verdict.arrays:
        counts[array.status] += 1
    values = sum(array.values for array in verdict.arrays if array.status is not Status.MISSING)
    compared = len(verdict.arrays) - counts[Status.MISSING]
    yield f"compared {compared} arrays, {values:,} values: {counts[Status.EQUAL]} equal"
    labels = {
        Status.FAULT: "wrong for their operands",
        Status.FOLLOWS: "other values, but right for the dump's own operands",
        Status.UNJUDGED: "other values, behind what is wrong already",
        Status.MISSING: "asked for and not in the dump",
    }
    yield from (f"{counts[status]} {label}" for status, label in labels.items() if counts[status])
    yield from _named("results not in the dump, not compared", verdict.not_compared)
    yield from _named("files of no array of the golden folder", verdict.unknown_files)
    first = verdict.first_fault
    if first is not None:
        yield f"first wrong: {first.op} ({first.op_type}), {first.array}"
    yield f"verdict: {'equal' if verdict.right else 'NOT EQUAL'}"


def _named(label: str, names: tuple[str, ...]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{label}: {len(names)} ({', '.join(names[:_NAMED])}{more})"


def as_plain(verdict: DumpVerdict) -> dict[str, Any]:
    """Return a verdict as what JSON knows."""
    first = verdict.first_fault
    return {
        "equal": verdict.right,
        "first_fault": None if first is None else {"op": first.op, "array": first.array},
        "golden": verdict.golden,
        "dump": verdict.dump,
        "not_compared": [*verdict.not_compared],
        "unknown_files": [*verdict.unknown_files],
        "arrays": [_plain(array) for array in verdict.arrays],
    }


def _plain(array: ArrayVerdict) -> dict[str, Any]:
    entry = {key: value for key, value in asdict(array).items() if key != "kind"}
    entry["type"] = str(array.kind)
    entry["status"] = array.status.value
    entry["pattern"] = (
        [finding.kind for finding in array.findings] or [NO_PATTERN] if array.diagnosed else []
    )
    return entry


def junit(verdict: DumpVerdict) -> bytes:
    """Return a verdict as JUnit XML: a test case per array."""
    cases = []
    for array in verdict.arrays:
        problem = None
        if array.status is not Status.EQUAL:
            lines = [*array_told(array)]
            problem = Problem(kind=array.status.value, message=lines[0], text="\n".join(lines))
        cases.append(TestCase(group=f"golden.{array.op}", name=array.array, problem=problem))
    return junit_xml("aocq golden check", cases)
