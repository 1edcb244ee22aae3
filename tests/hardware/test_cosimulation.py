# SPDX-License-Identifier: Apache-2.0
"""The first encoder block of the demo network, op by op through the RTL units.

Every op is fed with what the units computed for the ops before it; ops that only move codes are
wiring, which the emulator does.
"""

from __future__ import annotations

import pytest
from simulators import run_testbench

from simulator.executor import Executor
from simulator.export.rtl.folder import bench_files, write_files
from simulator.export.rtl.vectors import OpVectors
from simulator.export.rtl.words import memory_codes
from simulator.gemm import backend
from simulator.golden.one_op import of_graph
from simulator.graph.ops import SPECS
from simulator.ops import BEHAVIOURS

BLOCK = "blocks.0."
ENTRY = "add"  # what the block reads


def through_units(graph, op, values, expected, folder, simulator, runtime):
    """Return what the units make of an op's operands; all must equal the emulator's results."""
    one = of_graph(graph, op.name)
    operands = {name: values[name] for name in one.activations}
    vectors = OpVectors(one=one, activations=operands, result=expected)
    folder.mkdir()
    write_files(folder, bench_files(vectors))
    outcome = run_testbench(folder, simulator, runtime)
    assert outcome.passed, outcome.text
    assert (outcome.checked, outcome.mismatches) == (expected.size, 0)
    text = (folder / ".build" / simulator / f"{op.name}.hex").read_text()
    codes = memory_codes(text, vectors.tensor(op.name).code_type)
    return codes.astype(expected.dtype).reshape(expected.shape)


@pytest.mark.parametrize(("simulator", "images"), [("verilator", 4), ("iverilog", 1)])
def test_the_first_block(needs, request, demo_run, tmp_path, simulator, images):
    needs(simulator)
    runtime = request.getfixturevalue("verilator_runtime") if simulator == "verilator" else None
    graph, codes = demo_run
    block = [op for op in graph.ops if op.name.startswith(BLOCK)]
    run = Executor(graph).run(codes[:images], taps=[ENTRY, *(op.name for op in block)])
    values = {ENTRY: run.taps[ENTRY]}
    seen = set()
    for op in block:
        if SPECS[type(op)].moves_codes:
            kernel = BEHAVIOURS[type(op)].build(op, graph, backend("numba"))
            values[op.name] = kernel([values[name] for name in op.operands]).codes
            continue
        seen.add(type(op).__name__)
        folder = tmp_path / op.name
        name = "icarus" if simulator == "iverilog" else simulator
        values[op.name] = through_units(graph, op, values, run.taps[op.name], folder, name, runtime)
    assert {"MatMul", "Softmax", "LayerNorm", "Lookup"} <= seen
