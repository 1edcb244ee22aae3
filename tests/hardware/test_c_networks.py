# SPDX-License-Identifier: Apache-2.0
"""Whole networks in C against the emulator."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from c_compiler import compile_c, mismatches
from small_graphs import Draft, encoder_block, input_codes

from simulator.executor import Executor
from simulator.export.c_network import CONSTANTS_NAME, Constants, export_c

IMAGES = 100


def compiled(graph, folder, constants=None, checked=True):
    """Return the command of a network's program."""
    written = export_c(graph, folder, constants)
    sources = [folder / "main.c", folder / "network.c"]
    compile_c("gcc", sources, folder / "network", folder, checked=checked)
    in_file = written.constants is Constants.FILE
    return [folder / "network", *([folder / CONSTANTS_NAME] if in_file else [])]


def run(command, codes, *more):
    little = codes.astype(codes.dtype.newbyteorder("<"))
    return subprocess.run(
        [*command, *more], input=little.tobytes(), capture_output=True, check=False
    )


def computed(graph, command, codes, name=None):
    """Return what the program computes: the output, or the result of one op."""
    done = run(command, codes, *([] if name is None else ["--tap", name]))
    assert done.returncode == 0, done.stderr.decode()
    tensor = graph.tensors[name or graph.outputs[0]]
    little = tensor.type.dtype.newbyteorder("<")
    return np.frombuffer(done.stdout, little).reshape(-1, *tensor.shape).astype(tensor.type.dtype)


@pytest.fixture(scope="module")
def block_program(needs, tmp_path_factory):
    needs("cc")
    graph = encoder_block()
    return graph, compiled(graph, tmp_path_factory.mktemp("block"))


@pytest.mark.parametrize("constants", Constants)
@pytest.mark.parametrize("checked", [True, False])
def test_demo_in_c_equals_the_emulator(needs, demo_run, tmp_path, constants, checked):
    needs("cc")
    graph, codes = demo_run
    codes = codes[:IMAGES]
    logits = Executor(graph, gemm="numba").run(codes).outputs[graph.outputs[0]]
    assert len(logits) == IMAGES
    command = compiled(graph, tmp_path, constants, checked)
    assert mismatches(computed(graph, command, codes), logits) == 0


def test_every_result_of_the_demo_is_that_of_the_emulator(needs, demo_run, tmp_path):
    needs("cc")
    graph, codes = demo_run
    names = [op.name for op in graph.ops]
    taps = Executor(graph, gemm="numba").run(codes[:3], taps=names).taps
    command = compiled(graph, tmp_path)
    for name in names:
        assert mismatches(computed(graph, command, codes[:3], name), taps[name]) == 0, name


def test_a_block_with_narrow_accumulators_equals_the_emulator(block_program):
    graph, command = block_program
    codes = input_codes(graph, IMAGES)
    outcome = Executor(graph, gemm="numba").run(codes)
    assert sum(counts.overflowed for counts in outcome.counts.values()) > 0
    assert mismatches(computed(graph, command, codes), outcome.outputs[graph.outputs[0]]) == 0


def test_another_weight_gives_other_logits(needs, block_program, tmp_path):
    graph, command = block_program
    weights = graph.constants["head.weight"].copy()
    weights[0, 0] ^= 1
    changed = replace(graph, constants={**graph.constants, "head.weight": weights})
    codes = input_codes(graph, IMAGES)
    one, other = (
        computed(graph, program, codes) for program in (command, compiled(changed, tmp_path))
    )
    assert mismatches(one, other) > 0


@pytest.mark.parametrize("constants", Constants)
def test_a_network_without_constants_compiles(needs, tmp_path, constants):
    needs("cc")
    d = Draft()
    d.transpose("y", d.input("a", (2, 3)), 1, 0)
    graph = d.graph()
    codes = input_codes(graph, 2)
    found = computed(graph, compiled(graph, tmp_path, constants), codes)
    assert mismatches(found, codes.transpose(0, 2, 1)) == 0


# --- what main says -------------------------------------------------------------------------------


def test_input_that_ends_within_an_image_is_told(block_program):
    graph, command = block_program
    done = run(command, input_codes(graph, 2).reshape(-1)[:-1])
    assert done.returncode == 3
    assert b"ends within an image" in done.stderr


def test_no_input_is_no_output(block_program):
    _, command = block_program
    done = run(command, np.empty(0, np.uint8))
    assert (done.returncode, done.stdout) == (0, b"")


@pytest.mark.parametrize("images", [0, 1])
def test_an_op_that_does_not_exist_is_told_before_any_image_is_read(block_program, images):
    graph, command = block_program
    done = run(command, input_codes(graph, images), "--tap", "nothing")
    assert done.returncode == 3
    assert b"--tap nothing: no op has this name" in done.stderr


def test_wrong_usage_is_told(block_program):
    _, command = block_program
    done = run(command, np.empty(0, np.uint8), "--help")
    assert done.returncode == 2
    assert b"usage:" in done.stderr


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"\0", None])
def test_constants_of_another_size_are_told(needs, tmp_path, damage):
    needs("cc")
    graph = encoder_block()
    command = compiled(graph, tmp_path, Constants.FILE)
    path = tmp_path / CONSTANTS_NAME
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    done = run(command, input_codes(graph, 1))
    assert done.returncode == 3
    assert (b"cannot be opened" if damage is None else b"the constants of this network") in (
        done.stderr
    )
