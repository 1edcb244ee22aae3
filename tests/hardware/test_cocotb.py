# SPDX-License-Identifier: Apache-2.0
"""Handshakes under cocotb, with random pauses on both sides: sums, and rows of two units."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from many_ops import element_words
from op_modes import FAMILIES
from simulators import environment

from simulator.executor import Executor
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.folder import bench_files, write_files
from simulator.export.rtl.vectors import of_run
from simulator.export.rtl.wrappers import wrapper_of

SCRIPT = Path(__file__).parent / "cocotb_run.py"
PASSED = "cocotb: 2 tests, 0 failures"


def write_design(folder, unit, mode, images):
    """Write the module of a unit and its vectors; return the module's name."""
    family = FAMILIES[unit]()
    graph = [*family.graphs.values()][mode]
    operands = family.operands(np.random.default_rng(64), images)
    vectors = of_run(Executor(graph, gemm="numba", threads=1), "y", operands)
    bench = bench_of(vectors)
    wrapper = wrapper_of(bench, vectors)
    write_files(folder, bench_files(vectors))
    (folder / "testbench.sv").unlink()
    used = [stream.name for stream in bench.streams if stream.name not in wrapper.unused]
    fields, last = element_words(bench, used)
    masks = {stream.name: (1 << stream.kind.bits) - 1 for stream in bench.streams}
    columns = [(fields[name].astype(np.int64) & masks[name]).tolist() for name in used]
    row = bench.loops[-1].extent
    results = vectors.result.reshape(-1).astype(np.int64) & ((1 << bench.result_kind.bits) - 1)
    content = {
        "seed": 5,
        "ports": [f"in_{name}" for name in used],
        "elements": [[codes, int(end)] for *codes, end in zip(*columns, last, strict=True)],
        "results": results.tolist(),
        "row": row,
        "results_of_row": 1 if bench.sums else row,
    }
    (folder / "vectors.json").write_text(json.dumps(content))
    return next(path.stem for path in folder.glob("*_device.sv"))


def run_cocotb(folder, simulator, top):
    import environments

    return subprocess.run(
        [environments.python("rtl"), SCRIPT, simulator, folder, top],
        cwd=folder,
        env={**environment(), "VECTORS": str(folder / "vectors.json")},
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize(
    ("simulator", "unit", "mode", "images"),
    [
        ("icarus", "mac", 6, 1),
        ("icarus", "softmax_exp_table, reciprocal", 6, 6),
        ("icarus", "layernorm", 5, 6),
        ("verilator", "softmax_ita", 1, 12),
    ],
)
def test_random_pauses(needs, tmp_path, simulator, unit, mode, images):
    needs("cocotb", "iverilog")
    top = write_design(tmp_path, unit, mode, images)
    done = run_cocotb(tmp_path, simulator, top)
    assert done.returncode == 0, done.stdout[-4000:]
    assert PASSED in done.stdout


def test_a_result_that_does_not_wait_fails(needs, tmp_path):
    needs("cocotb", "iverilog")
    top = write_design(tmp_path, "lookup", 0, 4)
    path = tmp_path / "lookup.sv"
    path.write_text(path.read_text().replace("!out_valid || out_ready", "1'b1"))
    done = run_cocotb(tmp_path, "icarus", top)
    assert done.returncode == 1, done.stdout[-4000:]
    assert "a result changed, or went, before it was taken" in done.stdout
