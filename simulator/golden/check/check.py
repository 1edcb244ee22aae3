# SPDX-License-Identifier: Apache-2.0
"""Golden vectors against a dump, in order of execution: which op is wrong first, and how.

An op whose operands are wrong in the dump is judged by what it makes of those, so that one fault
is told once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from simulator.errors import InputError
from simulator.golden.check.diagnosis import Made
from simulator.golden.check.patterns import Values
from simulator.golden.check.subject import Subject, undecided
from simulator.golden.check.verdict import ArrayVerdict, DumpVerdict, Status
from simulator.golden.dump.folder import Dump
from simulator.golden.dump.values import as_integers, code_type
from simulator.golden.files import load_array
from simulator.golden.inner_types import inner_types
from simulator.golden.manifest import (
    RESULT,
    ArrayRole,
    Manifest,
    OpEntry,
    array_names,
)
from simulator.golden.one_op import OneOp, of_entry, run_kernel, run_trace
from simulator.golden.variants.trial import finished, with_factors
from simulator.graph.graph import Role
from simulator.graph.names import quoted
from simulator.numerics.float_type import Array
from simulator.traces import TRACES


@dataclass(slots=True)
class _State:
    """What is known of the tensors so far, by path in the golden folder.

    wrong : those of which the dump has other values
    doubtful : those that the dump has not, and that are made of wrong ones, with the first reason
    """

    wrong: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)


def check_dump(
    folder: Path,
    dump: Dump,
    names: Collection[str] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> DumpVerdict:
    """Compare a dump with golden vectors.

    Parameters
    ----------
    folder
        the golden folder
    names
        ops that are compared, all if left out; a result of a named one has to be in the dump
    on_progress
        called with 1 after each op

    Raises
    ------
    InputError
        If files of the golden folder or of the dump are damaged.
    """
    manifest, state = dump.manifest, _State()
    arrays = [*_given(folder, dump, state)]
    not_compared = []
    for entry in manifest.ops:
        wanted = names is None or entry.name in names
        verdicts = [*_op(folder, dump, entry, state)]
        if wanted:
            arrays += verdicts
            if not dump.has(entry.arrays[RESULT]):
                not_compared.append(entry.name)
                if names is not None:
                    arrays.append(undecided(dump, entry, RESULT, Status.MISSING))
        if on_progress is not None:
            on_progress(1)
    return DumpVerdict(
        golden=str(folder),
        dump=str(dump.folder),
        arrays=tuple(arrays),
        not_compared=tuple(not_compared),
        unknown_files=tuple(dump.unknown),
    )


def ops_named(manifest: Manifest, patterns: Sequence[str]) -> frozenset[str]:
    """Return the names of ops by names or patterns (``blocks.0.*``).

    Raises
    ------
    InputError
        If a pattern is of no op.
    """
    names = [entry.name for entry in manifest.ops]
    found: set[str] = set()
    for pattern in patterns:
        named = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
        if not named:
            near = get_close_matches(pattern, names, n=3) or names[:3]
            raise InputError(
                f"--ops {quoted(pattern)}: the golden folder has no such op; it has "
                f"{', '.join(near)} …"
            )
        found |= {*named}
    return frozenset(found)


def _given(folder: Path, dump: Dump, state: _State) -> Iterator[ArrayVerdict]:
    """Compare what no op makes: operands and constants, where the dump has them."""
    seen = set()
    for entry in dump.manifest.ops:
        for key in array_names(entry.decoded()):
            path = entry.arrays[key]
            role = dump.manifest.files[path].role
            if path in seen or not dump.has(path) or role is ArrayRole.RESULT:
                continue
            seen.add(path)
            subject = Subject.read(folder, dump, entry, key)
            if not subject.equal:
                state.wrong[path] = entry.name
            yield subject.verdict(None)


def _op(folder: Path, dump: Dump, entry: OpEntry, state: _State) -> Iterator[ArrayVerdict]:
    """Compare what an op makes: its inner values, then its result."""
    named = array_names(entry.decoded())
    made_here = [key for key in entry.arrays if key not in named] + [RESULT]
    subjects = [
        Subject.read(folder, dump, entry, key) for key in made_here if dump.has(entry.arrays[key])
    ]
    read = [entry.arrays[key] for key in named if key != RESULT]
    doubt = next((state.doubtful[path] for path in read if path in state.doubtful), None)
    wrong = [path for path in read if path in state.wrong]
    if not dump.has(entry.arrays[RESULT]) and (doubt or wrong):
        state.doubtful[entry.arrays[RESULT]] = doubt or state.wrong[wrong[0]]
    if all(subject.equal for subject in subjects):
        yield from (subject.verdict(None) for subject in subjects)
        return
    for subject in subjects:
        if subject.key == RESULT and not subject.equal:
            state.wrong[entry.arrays[RESULT]] = entry.name
    if doubt is not None:
        note = f"operands are not in the dump, and {doubt} before them is wrong"
        for subject in subjects:
            yield _unless_equal(subject, Status.UNJUDGED, note)
        return
    made = _made(folder, dump, entry, wrong)
    if made is None:
        note = f"operands that {state.wrong[wrong[0]]} made wrong are none that the op can have"
        for subject in subjects:
            yield _unless_equal(subject, Status.UNJUDGED, note)
        return
    yield from _judged(subjects, made, state.wrong[wrong[0]] if wrong else None)


def _unless_equal(subject: Subject, status: Status, note: str) -> ArrayVerdict:
    if subject.equal:
        return subject.verdict(None)
    return subject.without_diagnosis(status, note)


def _made(folder: Path, dump: Dump, entry: OpEntry, wrong: list[str]) -> Made | None:
    """Return the op and what it read: the dump's values where they are not the golden ones.

    None where those cannot be operands of it: too few, unknown bits, codes of another type.
    """
    one = of_entry(dump.manifest, entry, folder)
    operands: dict[str, Array] = {}
    constants = dict(one.graph.constants)
    for key, name in array_names(one.op).items():
        path = entry.arrays[key]
        file = dump.manifest.files[path]
        if path not in wrong:
            if name in one.activations:
                operands[name] = np.asarray(load_array(folder, path, file))
            continue
        dumped, kind = dump.read(path), code_type(file)
        values = dumped.values
        usable = values.shape == file.shape and not dumped.unknown and file.dtype[0] != "f"
        if not usable or values.min() < kind.low or values.max() > kind.high:
            return None
        codes = values.astype(file.dtype)
        if one.graph.tensors[name].role is Role.CONSTANT:
            constants[name] = codes
        else:
            operands[name] = codes
    return Made(one=replace(one, graph=replace(one.graph, constants=constants)), operands=operands)


def _judged(subjects: list[Subject], made: Made, cause: str | None) -> Iterator[ArrayVerdict]:
    """Judge inner values in order, then the result; ``cause`` made operands wrong before.

    Once an inner value is wrong, the accumulator decides on the result; of other inner values what
    comes after them is not judged.
    """
    expected = _expected(made, subjects)
    order = [*inner_types(made.one.op, made.one.graph), RESULT]
    subjects = sorted(subjects, key=lambda subject: order.index(subject.key))
    wrong_before: Subject | None = None
    agreeing: list[str] = []
    for golden in subjects:
        subject = golden
        if golden.key in expected:
            subject = replace(golden, expected=expected[golden.key])
        if wrong_before is not None:
            yield _after(subject, golden, wrong_before, made)
        elif subject.equal:
            agreeing.append(subject.key)
            note = f"not the golden values, but what the op makes of what {cause} made wrong"
            yield (
                golden.verdict(None)
                if golden.equal
                else golden.without_diagnosis(Status.FOLLOWS, note)
            )
        else:
            verdict = subject.verdict(made)
            if cause is not None and not verdict.findings:
                verdict = _as_dumped(golden, verdict)
            if agreeing:
                behind = f"{', '.join(agreeing)} agree: the fault is behind {agreeing[-1]}"
                verdict = replace(verdict, notes=(*verdict.notes, behind))
            wrong_before = subject
            yield verdict


def _as_dumped(golden: Subject, verdict: ArrayVerdict) -> ArrayVerdict:
    """Return the verdict by the golden values, if those were only dumped in a wrong way."""
    by_golden = golden.verdict(None)
    return by_golden if by_golden.findings else verdict


def _after(subject: Subject, golden: Subject, inner: Subject, made: Made) -> ArrayVerdict:
    """Judge what comes after a wrong inner value."""
    if golden.equal:
        return golden.verdict(None)
    if (
        inner.key == "accumulator"
        and subject.key == RESULT
        and inner.same_number
        and not inner.dumped.unknown
        and made.one.op.requantizations
    ):
        sums = inner.dumped.values.reshape(inner.expected.shape)
        operands = [
            made.operands.get(name, made.one.graph.constants.get(name))
            for name in made.one.op.operands
        ]
        scaled = with_factors(made.one.graph, sums, operands)  # type: ignore[arg-type]
        codes = finished(made.one.graph, scaled, operands)  # type: ignore[arg-type]
        follows = replace(subject, expected=as_integers(codes))
        if follows.equal:
            note = "is what the requantizer makes of the dump's accumulators: it is right"
            return subject.without_diagnosis(Status.FOLLOWS, note)
    return subject.without_diagnosis(Status.UNJUDGED, f"{inner.key} before it is wrong already")


def _expected(made: Made, subjects: list[Subject]) -> Mapping[str, Values]:
    """Return what the op makes of its operands, by array."""
    one: OneOp = made.one
    if type(one.op) in TRACES and len(subjects) > 1:
        return {key: as_integers(array) for key, array in run_trace(one, made.operands).items()}
    return {RESULT: as_integers(run_kernel(one, made.operands).codes)}
