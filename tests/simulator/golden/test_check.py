# SPDX-License-Identifier: Apache-2.0
"""A dump of a whole block beside its golden vectors: which op is wrong, which only follow."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from small_graphs import encoder_block, input_codes, with_codes

from simulator.errors import InputError
from simulator.executor import Executor
from simulator.golden.check.check import check_dump, ops_named
from simulator.golden.check.verdict import Status
from simulator.golden.check.verdict_text import as_plain, junit, told
from simulator.golden.dump.folder import find_dump
from simulator.golden.dump.mapping import MappedArray
from simulator.golden.manifest import read_manifest
from simulator.golden.record import Recording, record
from simulator.numerics.rounding import Rounding

GRAPH = encoder_block()
CODES = input_codes(GRAPH, 2)


@pytest.fixture(scope="module")
def golden(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    executor = Executor(GRAPH, gemm="numba", threads=1)
    recording = Recording(graph=GRAPH, ops=GRAPH.ops, images=2, source="a test")
    record(recording, executor, [CODES], folder)
    return folder


@pytest.fixture
def dump(golden, tmp_path) -> Path:
    """A dump that is right in everything: results and inner values."""
    folder = tmp_path / "dump"
    for room in ("tensors", "inner"):
        shutil.copytree(golden / room, folder / room)
    return folder


def verdict_of(golden, dump, *names):
    manifest = read_manifest(golden)
    return check_dump(golden, find_dump(manifest, dump), ops_named(manifest, names) or None)


def array_of(verdict, op, array="result"):
    (found,) = [a for a in verdict.arrays if (a.op, a.array) == (op, array)]
    return found


def statuses(verdict):
    return {(a.op, a.array): a.status for a in verdict.arrays if a.status is not Status.EQUAL}


def dump_of(graph, dump, *names):
    """What a device computes that is built like another graph: results, nothing inside."""
    shutil.rmtree(dump / "inner")
    run = Executor(graph, gemm="numba", threads=1).run(CODES, taps=[op.name for op in graph.ops])
    for path in (dump / "tensors").glob("*.npy"):
        if names and path.stem not in names:
            path.unlink()
        elif path.stem in run.taps:
            np.save(path, run.taps[path.stem])


def with_rule(name, **changes):
    """The graph with another requantization in one op."""
    ops = [
        replace(op, requantize=replace(op.requantize, **changes)) if op.name == name else op
        for op in GRAPH.ops
    ]
    return replace(GRAPH, ops=tuple(ops))


def test_a_right_dump_is_equal_in_every_array(golden, dump):
    verdict = verdict_of(golden, dump)
    assert verdict.right
    files = read_manifest(golden).files
    assert len(verdict.arrays) == len([p for p in files if not p.startswith("constants/")])
    assert verdict.not_compared == ()
    assert [*told(verdict)][-1] == "verdict: equal"


def test_one_fault_is_told_once_and_ops_behind_it_follow(golden, dump):
    dump_of(with_rule("qkv", rounding=Rounding.FLOOR), dump)
    verdict = verdict_of(golden, dump)
    assert not verdict.right
    found = statuses(verdict)
    assert [key for key, status in found.items() if status is Status.FAULT] == [("qkv", "result")]
    assert {*found.values()} == {Status.FAULT, Status.FOLLOWS}
    assert len(found) > 8
    assert verdict.first_fault is array_of(verdict, "qkv")
    assert [f.kind for f in array_of(verdict, "qkv").findings] == ["rounding mode"]


def test_two_faults_are_told_although_the_second_has_wrong_operands(golden, dump):
    graph = with_rule("qkv", rounding=Rounding.FLOOR)
    (op,) = [op for op in graph.ops if op.name == "fc1"]
    graph = replace(graph, ops=tuple(replace(o, bias=None) if o is op else o for o in graph.ops))
    dump_of(graph, dump)
    verdict = verdict_of(golden, dump)
    faults = [a for a in verdict.arrays if a.status is Status.FAULT]
    assert [(a.op, [f.kind for f in a.findings]) for a in faults] == [
        ("qkv", ["rounding mode"]),
        ("fc1", ["bias"]),
    ]


def test_what_is_behind_a_gap_in_the_dump_is_not_judged(golden, dump):
    dump_of(with_rule("qkv", rounding=Rounding.FLOOR), dump, "qkv", "head")
    verdict = verdict_of(golden, dump)
    assert statuses(verdict) == {
        ("qkv", "result"): Status.FAULT,
        ("head", "result"): Status.UNJUDGED,
    }
    assert "qkv before them is wrong" in array_of(verdict, "head").notes[0]
    assert "norm1" in verdict.not_compared


def test_wrong_accumulators_leave_the_requantizer_in_the_right(golden, dump):
    (op,) = [op for op in GRAPH.ops if op.name == "fc1"]
    changed = replace(GRAPH, ops=tuple(replace(o, bias=None) if o is op else o for o in GRAPH.ops))
    codes = Executor(changed, gemm="numba", threads=1).run(CODES, taps=["fc1"]).taps["fc1"]
    np.save(dump / "tensors" / "fc1.npy", codes)
    sums = np.load(dump / "inner" / "fc1.accumulator.npy")
    bias = GRAPH.constants[op.bias]
    np.save(dump / "inner" / "fc1.accumulator.npy", (sums - bias).astype(sums.dtype))
    for name in ("scaled", "rounded"):
        (dump / "inner" / f"fc1.{name}.npy").unlink()
    verdict = verdict_of(golden, dump)
    accumulator = array_of(verdict, "fc1", "accumulator")
    assert accumulator.status is Status.FAULT
    assert ("bias", "has no bias") in [(f.kind, f.sentence) for f in accumulator.findings]
    result = array_of(verdict, "fc1")
    assert result.status is Status.FOLLOWS
    assert "requantizer makes of the dump's accumulators: it is right" in result.notes[0]


def test_right_accumulators_put_the_fault_behind_them(golden, dump):
    codes = np.load(dump / "tensors" / "fc1.npy")
    codes[0, 1, 2] ^= 8
    np.save(dump / "tensors" / "fc1.npy", codes)
    verdict = verdict_of(golden, dump)
    result = array_of(verdict, "fc1")
    assert result.notes == ("accumulator, scaled, rounded agree: the fault is behind rounded",)
    assert result.mismatches[0].index == (0, 1, 2)
    assert result.operands["accumulator"] == str(
        np.load(dump / "inner" / "fc1.accumulator.npy")[0, 1, 2]
    )


def test_every_array_that_is_dumped_wrongly_is_named_so(golden, dump):
    shutil.rmtree(dump / "inner")
    for name in ("embedded", "add1", "add2"):
        np.save(
            dump / "tensors" / f"{name}.npy", np.load(golden / f"tensors/{name}.npy").byteswap()
        )
    verdict = verdict_of(golden, dump)
    faults = [a for a in verdict.arrays if a.status is Status.FAULT]
    assert [(a.op, a.findings[0].kind) for a in faults] == [
        ("embedded", "byte order"),
        ("add1", "byte order"),
        ("add2", "byte order"),
    ]


def test_wrong_weights_are_told_and_what_they_make_follows(golden, dump):
    changed = with_codes(GRAPH, "fc1.weight", GRAPH.constants["fc1.weight"][:, ::-1].copy())
    dump_of(changed, dump)
    (dump / "constants").mkdir()
    np.save(dump / "constants" / "fc1.weight.npy", changed.constants["fc1.weight"])
    verdict = verdict_of(golden, dump)
    found = statuses(verdict)
    assert found[("fc1", "b")] is Status.FAULT
    assert found[("fc1", "result")] is Status.FOLLOWS
    assert [f.kind for f in array_of(verdict, "fc1", "b").findings][-1] == "rows"


def test_a_named_op_has_to_be_in_the_dump(golden, dump):
    (dump / "tensors" / "qkv.npy").unlink()
    assert verdict_of(golden, dump).right
    verdict = verdict_of(golden, dump, "q*", "head")
    assert statuses(verdict) == {("qkv", "result"): Status.MISSING}
    assert {a.op for a in verdict.arrays} >= {"q", "q_part", "qkv", "head"}
    assert "head" in ops_named(read_manifest(golden), ["h*"])
    with pytest.raises(InputError, match="no such op"):
        ops_named(read_manifest(golden), ["nothing"])


def test_type_and_shape_of_npy_files_count(golden, dump):
    codes = np.load(dump / "tensors" / "head.npy")
    np.save(dump / "tensors" / "head.npy", codes.astype(np.int32))
    np.save(dump / "tensors" / "mean.npy", np.load(dump / "tensors" / "mean.npy").ravel())
    verdict = verdict_of(golden, dump)
    head, mean = array_of(verdict, "head"), array_of(verdict, "mean")
    assert (head.status, head.problem) == (Status.FAULT, "type is int32, wanted int8")
    assert (mean.status, mean.problem) == (Status.FAULT, "shape is [12], wanted [2, 6]")
    assert (head.differing, mean.differing) == (0, 0)
    assert "all values are equal" in head.notes[0]


def test_the_verdict_for_programs_and_for_ci_servers(golden, dump):
    dump_of(with_rule("qkv", rounding=Rounding.FLOOR), dump)
    verdict = verdict_of(golden, dump)
    plain = as_plain(verdict)
    assert plain["equal"] is False
    assert plain["first_fault"] == {"op": "qkv", "array": "result"}
    (entry,) = [a for a in plain["arrays"] if a["op"] == "qkv"]
    assert (entry["status"], entry["pattern"], entry["type"]) == ("fault", ["rounding mode"], "s8")
    assert entry["mismatches"][0].keys() == {"index", "expected", "got"}
    suite = ElementTree.fromstring(junit(verdict)).find("testsuite")
    assert int(suite.get("tests")) == len(verdict.arrays)
    failures = suite.findall("testcase/failure")
    assert int(suite.get("failures")) == len(failures) == len(statuses(verdict))
    assert "rounds toward minus infinity" in failures[0].text


def test_an_empty_dump_and_foreign_files_are_told(golden, dump, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    named = r"has no file named as one of the golden folder \(tensors/"
    with pytest.raises(InputError, match=named):
        find_dump(read_manifest(golden), empty)
    np.save(dump / "tensors" / "nobody.npy", np.zeros(1))
    assert verdict_of(golden, dump).unknown_files == ("tensors/nobody.npy",)
    with pytest.raises(InputError, match="not found"):
        find_dump(read_manifest(golden), tmp_path / "nowhere")


def test_two_files_mapped_to_one_array_are_refused(golden, tmp_path):
    manifest = read_manifest(golden)
    (writer, reader, key) = next(
        (entry.name, other.name, key)
        for entry in manifest.ops
        for other in manifest.ops
        for key, path in other.arrays.items()
        if other is not entry and path == entry.arrays["result"]
    )
    mapping = [
        MappedArray(op=writer, file="new.npy"),
        MappedArray(op=reader, array=key, file="stale.npy"),
    ]
    with pytest.raises(InputError, match=r"new\.npy and stale\.npy are both mapped to tensors/"):
        find_dump(manifest, tmp_path, mapping)
