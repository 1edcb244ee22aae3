# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of a profile through the RTL units: equal, and a wrong rounding is found."""

from __future__ import annotations

import re
import subprocess
import sys
from math import prod

import pytest
from simulators import run_testbench

from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.folder import bench_files, write_files
from simulator.export.rtl.vectors import of_golden
from simulator.golden.manifest import read_manifest

# Elements above which Icarus takes longer than Verilator's build.
MANY = 200_000
PROFILE = "narrow_acc_20"  # saturates in 20 bits, at every addition


@pytest.fixture(scope="module")
def directed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directed") / "vectors"
    command = [sys.executable, "-m", "aocq", "golden", "directed", PROFILE, "--out", folder]
    subprocess.run(command, check=True)
    return folder, read_manifest(folder)


def test_every_set_of_vectors(needs, directed, record_count, verilator_runtime, tmp_path):
    needs("iverilog", "verilator")
    folder, manifest = directed
    seen, compared = set(), 0
    for entry in manifest.ops:
        vectors = of_golden(manifest, entry.name, folder)
        bench = tmp_path / entry.name
        bench.mkdir()
        write_files(bench, bench_files(vectors))
        elements = prod(loop.extent for loop in bench_of(vectors).loops)
        simulator = "verilator" if elements > MANY else "icarus"
        outcome = run_testbench(bench, simulator, verilator_runtime)
        assert outcome.passed, f"{entry.name}\n{outcome.text}"
        compared += outcome.checked
        seen.add(type(vectors.op).__name__)
    assert {"MatMul", "Mean", "Add", "Rescale", "Lookup", "Softmax", "LayerNorm"} <= seen
    record_count(
        "both simulators", f"RTL, directed vectors of {PROFILE}", compared=compared, mismatches=0
    )


@pytest.mark.parametrize("rounding", [0, 1, 3, 4, 5])
@pytest.mark.parametrize("name", ["linear_w8.ties", "add.shift15", "mean.ties", "rescale.ties"])
def test_a_wrong_rounding_is_found(needs, directed, tmp_path, name, rounding):
    needs("iverilog")
    folder, manifest = directed
    write_files(tmp_path, bench_files(of_golden(manifest, name, folder)))
    (device,) = tmp_path.glob("*_device.sv")
    text = device.read_text()
    right = re.search(r"\.ROUNDING\((\d)\)", text)
    assert right[1] == "2"  # half_up
    device.write_text(text.replace(right[0], f".ROUNDING({rounding})"))
    outcome = run_testbench(tmp_path, "icarus", None)
    assert not outcome.passed
    assert outcome.mismatches > 0
