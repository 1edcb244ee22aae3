# SPDX-License-Identifier: Apache-2.0
"""ScaledMatMul in hardware: every small graph by its exported bench; units built wrong differ."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from many_ops import through_hardware
from scaled_product_graphs import SCALED_CASES
from simulators import run_testbench
from small_graphs import Draft
from unit_family import codes

from simulator.errors import InputError
from simulator.export.rtl.bench import Part
from simulator.export.rtl.benches import bench_of
from simulator.export.rtl.folder import bench_files, write_files
from simulator.export.rtl.vectors import OpVectors, of_operands
from simulator.golden.one_op import of_op
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding

EXPONENTS = "exponents, blocks, then shifted in groups"
RESIDUAL = "onto a residual, exponents, per channel"
SCORES = "scores"
# By the case: what is swapped in the module of our units.
SWAPS = [
    (EXPONENTS, r"\.SHIFTED_LEVEL\(1\)", ".SHIFTED_LEVEL(2)"),
    (EXPONENTS, r"\.SHIFTED_LEVEL\(1\)", ".SHIFTED_LEVEL(-1)"),
    (EXPONENTS, r"\.in_exponent\(in_block_exponent\)", ".in_exponent(3'd1)"),
    (RESIDUAL, r"\.in_row_factor\(row_factor\)", ".in_row_factor(8'd1)"),
    (RESIDUAL, r"\.in_bias\(bias\)", ".in_bias(32'd0)"),
    (RESIDUAL, r"\.BIASED_WIDTH\(\d+\)", ".BIASED_WIDTH(20)"),
    (SCORES, r"\.in_column_factor\(column_factor\)", ".in_column_factor(8'd1)"),
    (SCORES, r"\.ROW_SCALED_WIDTH\(\d+\)", ".ROW_SCALED_WIDTH(12)"),
]


def vectors_of(
    case: str,
    images: int,
    rounding: Rounding = Rounding.HALF_EVEN,
    overflow: Overflow = Overflow.SATURATE,
) -> OpVectors:
    draft = Draft(rounding, overflow)
    SCALED_CASES[case](draft)
    graph = draft.graph()
    one = of_op(graph.ops[-1], graph)
    random = np.random.default_rng(71)
    operands = {
        name: codes(random, (images, *one.graph.tensors[name].shape), one.graph.tensors[name].type)
        for name in one.activations
    }
    return of_operands(one, operands)


def written(folder: Path, vectors: OpVectors) -> Path:
    folder.mkdir()
    write_files(folder, bench_files(vectors))
    return folder


@pytest.mark.parametrize("case", SCALED_CASES)
def test_the_bench_of_every_case_passes(needs, tmp_path, case):
    needs("iverilog")
    vectors = vectors_of(case, 40)
    outcome = run_testbench(written(tmp_path / "bench", vectors), "icarus", None, stalls=True)
    assert outcome.passed, outcome.text
    assert outcome.checked == vectors.result.size


@pytest.mark.parametrize(("case", "old", "new"), SWAPS)
def test_a_swapped_choice_fails(needs, tmp_path, case, old, new):
    needs("iverilog")
    folder = written(tmp_path / "bench", vectors_of(case, 40))
    path = folder / "scaledmatmul_device.sv"
    changed, count = re.subn(old, new, path.read_text())
    assert count == 1
    path.write_text(changed)
    outcome = run_testbench(folder, "icarus", None)
    assert not outcome.passed
    assert "MISMATCH result" in outcome.text


@pytest.mark.parametrize("simulator", ["icarus", "verilator"])
@pytest.mark.parametrize("case", [EXPONENTS, RESIDUAL, SCORES])
def test_every_rounding_and_overflow_side_by_side(
    needs, verilator_runtime, tmp_path, case, simulator
):
    needs("iverilog" if simulator == "icarus" else "verilator")
    images = 100 if simulator == "icarus" else 500
    modes = [(rounding, overflow) for rounding in Rounding for overflow in Overflow]
    vectors = [vectors_of(case, images, *mode) for mode in modes]
    found = through_hardware(vectors, tmp_path, simulator, verilator_runtime)
    for mode, one, hardware in zip(modes, vectors, found, strict=True):
        assert np.array_equal(hardware.reshape(one.result.shape), one.result), mode
    assert len({one.result.tobytes() for one in vectors}) > len(Rounding)


def test_there_are_no_parts():
    with pytest.raises(InputError, match="ScaledMatMul has no part sums, only MatMul and Mean"):
        bench_of(vectors_of(SCORES, 1), Part.SUMS)
