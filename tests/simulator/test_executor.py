# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
from small_graphs import S4, SATURATE, U4, Draft, accumulator, encoder_block, input_codes

import simulator
from simulator.counts import OpCounts
from simulator.errors import EnvironmentProblem, InputError
from simulator.executor import IMAGES_PER_TASK, Executor, run_reference
from simulator.gemm import BACKENDS
from simulator.graph import save, verify
from simulator.graph.ops import Lookup
from simulator.ops import BEHAVIOURS
from simulator.ops.behaviour import SumCounts

IMAGES = 2 * IMAGES_PER_TASK + 3


@pytest.fixture(scope="module")
def codes(block):
    return input_codes(block, IMAGES)


@pytest.fixture(scope="module")
def expected(block, codes):
    """The codes of every tensor for every image, by the references."""
    return [run_reference(block, image) for image in codes]


@pytest.fixture(scope="module")
def run(block, codes):
    """One run that taps everything."""
    names = [*block.inputs, *(op.name for op in block.ops)]
    return Executor(block, threads=1).run(codes, taps=names)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, codes in one.items():
        assert codes.dtype == other[name].dtype
        assert np.array_equal(codes, other[name]), name


def test_every_tensor_of_every_image_equals_the_reference(block, codes, expected, run):
    assert len(run.taps) == 1 + len(block.ops)
    for name, tapped in run.taps.items():
        assert tapped.dtype == block.tensors[name].type.dtype
        assert tapped.shape == (IMAGES, *block.tensors[name].shape)
        for image in range(IMAGES):
            assert tapped[image].tolist() == expected[image][name].tolist(), name
    assert run.taps["image"].tolist() == codes.tolist()
    assert run.outputs["head"].tolist() == run.taps["head"].tolist()
    assert run.outputs.keys() == {"head"}


def test_counts_are_the_sums_of_the_references(block, expected, run):
    for op in block.ops:
        results = [
            BEHAVIOURS[type(op)].reference(op, block, [values[name] for name in op.operands])
            for values in expected
        ]
        assert run.counts[op.name] == OpCounts(
            elements=IMAGES * block.result(op).size,
            saturated=sum(result.saturated for result in results),
            sums=reduce(SumCounts.merged, [r.sums for r in results]) if results[0].sums else None,
        )
    counts = run.counts.values()
    assert sum(count.saturated for count in counts) > 0
    assert sum(count.overflowed > 0 for count in counts) > 2
    assert all(type(count.saturated) is type(count.overflowed) is int for count in counts)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("gemm", BACKENDS)
def test_threads_and_backends_give_the_same_bits(block, codes, run, threads, gemm):
    again = Executor(block, gemm=gemm, threads=threads).run(codes, taps=run.taps)
    assert_same(again.outputs, run.outputs)
    assert_same(again.taps, run.taps)
    assert again.counts == run.counts


@pytest.mark.parametrize("size", range(1, IMAGES + 1))
def test_any_number_of_images_gives_the_same_bits(block, codes, run, size):
    parts = Executor(block, threads=2).run(codes[:size])
    assert parts.outputs["head"].tolist() == run.outputs["head"][:size].tolist()
    assert parts.counts["head"].elements == size * 4


def test_two_halves_are_the_whole(block, codes, run):
    executor = Executor(block, threads=1)
    first, second = executor.run(codes[:5]), executor.run(codes[5:])
    for name, count in run.counts.items():
        assert first.counts[name] + second.counts[name] == count


def test_views_of_images_are_images(block, codes, run):
    executor = Executor(block, threads=1)
    backwards = executor.run(codes[::-1]).outputs["head"]
    assert backwards.tolist() == run.outputs["head"][::-1].tolist()
    column_major = executor.run(np.asfortranarray(codes)).outputs["head"]
    assert column_major.tolist() == run.outputs["head"].tolist()


def test_images_and_constants_stay_as_they_were(block, codes):
    before = {name: array.copy() for name, array in block.constants.items()}
    copy = codes.copy()
    Executor(block, threads=2).run(codes)
    assert np.array_equal(codes, copy)
    assert_same(dict(block.constants), before)


def test_only_what_is_asked_for_is_tapped(block, codes, run):
    again = Executor(block, threads=1).run(codes, taps=["split", "qkv"])
    assert again.taps.keys() == {"split", "qkv"}
    assert_same(again.taps, {name: run.taps[name] for name in ("split", "qkv")})
    assert all(array.flags.c_contiguous for array in again.taps.values())
    assert Executor(block, threads=1).run(codes).taps == {}


def test_other_orders_in_memory_are_the_same_codes(block, codes, run):
    for same in (np.asfortranarray(codes), codes[::-1][::-1], np.repeat(codes, 2, axis=0)[::2]):
        outputs = Executor(block, threads=1).run(same).outputs
        assert_same(outputs, {"head": run.outputs["head"]})


def test_several_outputs(block, codes, run):
    graph = replace(block, outputs=("head", "scores", "split"))
    assert verify(graph) == []
    outputs = Executor(graph, threads=1).run(codes).outputs
    assert_same(outputs, {name: run.taps[name] for name in graph.outputs})


def test_progress_adds_up_and_comes_from_this_thread(block, codes):
    seen = []

    def note(images):
        assert threading.current_thread() is threading.main_thread()
        seen.append(images)

    Executor(block, threads=2).run(codes, on_progress=note)
    # Two rounds of as many images for both workers, and the last image for both together.
    assert IMAGES_PER_TASK < IMAGES // 2 <= 2 * IMAGES_PER_TASK
    assert seen == [5, 5, 5, 3, 1]


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4), (4, 4), (3, 1, 4, 4), (0, 4, 4)])
def test_images_of_another_shape_are_refused(block, shape):
    with pytest.raises(InputError, match="input image: codes of shape") as caught:
        Executor(block, threads=1).run(np.zeros(shape, np.uint8))
    assert "[images, 4, 4] wanted" in str(caught.value)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float32, np.bool_])
def test_images_of_another_type_are_refused(block, kind):
    with pytest.raises(InputError, match=r"codes of type .* given, uint8 .u8. wanted"):
        Executor(block, threads=1).run(np.zeros((2, 4, 4), kind))


@pytest.mark.parametrize(("kind", "code"), [(S4, 8), (S4, -9), (U4, 16)])
def test_codes_outside_a_narrow_type_are_refused(kind, code):
    d = Draft()
    d.input("image", (2, 3), kind)
    d.op(Lookup, "y", "image", table=range(16))  # it has no entry for such a code
    images = np.zeros((1, 2, 3), kind.dtype)
    assert Executor(d.graph(), threads=1).run(images).outputs
    images[0, 1, 2] = code
    with pytest.raises(InputError, match=f"input image: code {code} is outside {kind}"):
        Executor(d.graph(), threads=1).run(images)


@pytest.mark.parametrize("tap", ["nothing", ""])
def test_unknown_taps_are_refused(block, codes, tap):
    with pytest.raises(InputError, match=f"tap {tap}: graph small has no such tensor"):
        Executor(block, threads=1).run(codes, taps=["head", tap])


def test_a_tap_of_a_constant_is_refused_as_one(block, codes):
    with pytest.raises(InputError, match="tap positions: is a constant of graph small"):
        Executor(block, threads=1).run(codes, taps=["positions"])


def test_unknown_backends_are_refused(block):
    with pytest.raises(EnvironmentProblem, match="GEMM backend 'nonsense'"):
        Executor(block, gemm="nonsense")


def test_threads_default_to_the_environment(block, monkeypatch):
    monkeypatch.setenv("AOCQ_THREADS", "3")
    assert Executor(block).threads == 3
    assert Executor(block, threads=2).threads == 2


def test_an_error_in_a_worker_reaches_the_caller(block, codes, monkeypatch):
    executor = Executor(block, threads=2)

    def fail(_):
        raise RuntimeError("a broken kernel")

    monkeypatch.setattr(executor, "_steps", [replace(executor._steps[0], kernel=fail)])
    with pytest.raises(RuntimeError, match="a broken kernel"):
        executor.run(codes)


WITHOUT_TORCH = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "aocq"}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocker())
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
from simulator.executor import Executor
from simulator.graph import load

folder = Path(sys.argv[2])
executor = Executor(load(folder), threads=2)
run = executor.run(np.load(folder / "codes.npy"), taps=["add1"])
np.savez(folder / "results.npz", **run.outputs, **run.taps)
print(*executor.backends, sum(count.overflowed for count in run.counts.values()))
assert "torch" not in sys.modules
"""


def test_a_saved_graph_runs_without_torch_and_gives_the_same_bits(block, codes, tmp_path):
    pytest.importorskip("torch")
    save(block, tmp_path)
    np.save(tmp_path / "codes.npy", codes)
    root = str(Path(simulator.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, root, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    here = Executor(block, gemm="torch", threads=1).run(codes, taps=["add1"])
    with np.load(tmp_path / "results.npz") as there:
        assert_same({**here.outputs, **here.taps}, dict(there))
    overflowed = sum(count.overflowed for count in here.counts.values())
    name, counted = done.stdout.split()
    assert name in set(BACKENDS) - {"torch"}
    assert int(counted) == overflowed


def test_narrow_accumulators_give_the_same_bits_with_every_backend(codes):
    block = encoder_block(seed=2)
    ops = [
        replace(op, accumulator=accumulator((3, 10, SATURATE), (0, 12, SATURATE), bias_last=True))
        if hasattr(op, "accumulator")
        else op
        for op in block.ops
    ]
    graph = replace(block, ops=tuple(ops))
    assert verify(graph) == []
    runs = [Executor(graph, gemm=name, threads=2).run(codes, taps=["add2"]) for name in BACKENDS]
    for other in runs[1:]:
        assert_same(other.taps, runs[0].taps)
        assert other.counts == runs[0].counts
    reference = run_reference(graph, codes[0])["add2"]
    assert runs[0].taps["add2"][0].tolist() == reference.tolist()
