# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from small_graphs import SATURATE, accumulator, input_codes, with_op

from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.golden import one_op
from simulator.golden.files import check_files, load_array
from simulator.golden.manifest import ArrayRole, GraphIdentity, array_names, read_manifest
from simulator.golden.random_codes import random_codes
from simulator.golden.record import Recording, ops_named, record
from simulator.graph import load, sha256
from simulator.graph.ops import SPECS, MatMul
from simulator.numerics.accumulator import OverflowPolicy
from simulator.traces import TRACES

IMAGES = 6  # more than are traced at a time


def recorded(graph, folder, *, patterns=(), batches=None, **settings):
    codes = input_codes(graph, IMAGES)
    recording = Recording(
        graph=graph,
        ops=ops_named(graph, patterns),
        images=IMAGES,
        source="a test",
        **settings,
    )
    executor = Executor(graph, gemm="numba", threads=2)
    return record(recording, executor, batches or [codes], folder)


@pytest.fixture(scope="module")
def golden(block, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    return recorded(block, folder), folder


def test_every_tensor_is_that_of_the_reference_run(block, golden):
    manifest, folder = golden
    codes = input_codes(block, IMAGES)
    arrays = {path: load_array(folder, path, file) for path, file in manifest.files.items()}
    for image in range(IMAGES):
        for name, expected in run_reference(block, codes[image]).items():
            if block.is_constant(name):
                assert np.array_equal(arrays[f"constants/{name}.npy"], expected)
            else:
                assert np.array_equal(arrays[f"tensors/{name}.npy"][image], expected)


def test_the_manifest_says_what_the_files_are(block, golden):
    manifest, folder = golden
    assert read_manifest(folder) == manifest
    check_files(folder, manifest)
    assert manifest.graph == GraphIdentity.of(load(folder))
    text = (folder / "graph.json").read_bytes()
    assert manifest.graph.sha256 == sha256(block) == hashlib.sha256(text).hexdigest()
    on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*.npy")}
    assert on_disk == manifest.files.keys()
    for op, entry in zip(block.ops, manifest.ops, strict=True):
        assert entry.decoded() == op
        inner = [found.name for found in SPECS[type(op)].intermediates(block, op)]
        assert sorted(entry.arrays) == sorted([*array_names(op), *inner])
        for key, name in array_names(op).items():
            file, tensor = manifest.files[entry.arrays[key]], block.tensors[name]
            assert file.type == tensor.type
            assert (file.zero_point, file.scale) == (tensor.zero_point, tensor.scale)
            images = () if block.is_constant(name) else (IMAGES,)
            assert file.shape == (*images, *tensor.shape)


def test_roles_tell_what_is_computed_here(block, tmp_path):
    manifest = recorded(block, tmp_path, patterns=["scores", "probabilities"])
    roles = {path: file.role for path, file in manifest.files.items()}
    assert roles["tensors/q.npy"] is ArrayRole.OPERAND
    assert roles["tensors/scores.npy"] is ArrayRole.RESULT
    assert roles["constants/probabilities.table.npy"] is ArrayRole.CONSTANT
    assert roles["inner/scores.accumulator.npy"] is ArrayRole.INNER
    assert "tensors/mix.npy" not in roles


def test_every_op_runs_again_from_its_entry(golden):
    manifest, folder = golden
    for entry in manifest.ops:
        one = one_op.of_entry(manifest, entry, folder)
        operands = one_op.operands_of_entry(manifest, entry, folder)
        one_op.check_operands(one, operands)
        path = entry.arrays["result"]
        expected = load_array(folder, path, manifest.files[path])
        assert np.array_equal(one_op.run_kernel(one, operands).codes, expected)


def test_counts_are_those_of_the_executor(block, golden):
    manifest, _ = golden
    counts = Executor(block, gemm="numba").run(input_codes(block, IMAGES)).counts
    found = {entry.name: entry.counts for entry in manifest.ops}
    assert sum(one["saturated"] for one in found.values()) > 0
    assert any(one.get("transient") for one in found.values())
    for name, one in counts.items():
        assert found[name]["saturated"] == one.saturated
        if one.sums is not None:
            assert found[name]["persistent"] == one.sums.persistent
            assert found[name]["transient"] == one.sums.transient
            assert found[name]["changed"] == one.sums.changed


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_files_do_not_depend_on_batches(block, golden, tmp_path):
    codes = input_codes(block, IMAGES)
    recorded(block, tmp_path, batches=[codes[:1], codes[1:3], codes[3:]])
    assert contents(tmp_path) == contents(golden[1])


def test_a_kernel_that_is_not_its_formula_is_our_mistake(block, tmp_path, monkeypatch):
    right = TRACES[MatMul]

    def wrong(op, graph, operands):
        found = right(op, graph, operands)
        return {**found, "result": found["result"] + (found["result"] == 3)}

    monkeypatch.setattr("simulator.traces.TRACES", {**TRACES, MatMul: wrong})
    with pytest.raises(RuntimeError, match=r"op embed: its formula and its kernel disagree in"):
        recorded(block, tmp_path)


def test_a_value_outside_its_bounds_is_our_mistake(block, tmp_path, monkeypatch):
    right = TRACES[MatMul]

    def wrong(op, graph, operands):
        found = right(op, graph, operands)
        return {**found, "scaled": found["scaled"] + (1 << 60)}

    monkeypatch.setattr("simulator.traces.TRACES", {**TRACES, MatMul: wrong})
    with pytest.raises(RuntimeError, match=r"op embed: scaled spans .* outside s\d+"):
        recorded(block, tmp_path)


@pytest.mark.parametrize("images", [1, IMAGES - 1, IMAGES + 1])
def test_another_number_of_images_is_refused(block, tmp_path, images):
    with pytest.raises(InputError, match="images of input codes"):
        recorded(block, tmp_path, batches=[input_codes(block, images)])


def test_ops_are_chosen_by_pattern_in_the_order_of_the_graph(block):
    names = [op.name for op in ops_named(block, ["norm*", "embed", "norm1"])]
    assert names == ["embed", "norm1", "norm2"]
    assert ops_named(block, []) == block.ops
    for pattern, told in (
        ("nrm1", "nearest: norm"),
        ("image", "is the input"),
        ("x*", "no such op"),
    ):
        with pytest.raises(InputError, match=told):
            ops_named(block, [pattern])


def test_sums_that_are_only_reported_have_room(block, tmp_path):
    narrow = replace(accumulator((0, 8, SATURATE)), policy=OverflowPolicy.REPORT)
    manifest = recorded(with_op(block, "scores", accumulator=narrow), tmp_path)
    assert manifest.entry("scores").counts["changed"] > 0
    assert manifest.files["inner/scores.accumulator.npy"].bits > 8


def test_random_codes_are_those_of_their_seed(block):
    tensor = block.tensors[block.inputs[0]]
    some = np.concatenate([*random_codes(tensor, 3, 7)])
    assert some.shape == (3, *tensor.shape)
    assert some.dtype == tensor.type.dtype
    assert np.array_equal(np.concatenate([*random_codes(tensor, 2, 7)]), some[:2])
    assert not np.array_equal(np.concatenate([*random_codes(tensor, 3, 8)]), some)
