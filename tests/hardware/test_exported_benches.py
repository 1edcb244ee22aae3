# SPDX-License-Identifier: Apache-2.0
"""Testbenches that ``aocq export rtl`` writes: units pass, and fail when one thing is swapped."""

from __future__ import annotations

import re

import numpy as np
import pytest
from op_modes import FAMILIES
from simulators import check, run_testbench

from simulator.executor import Executor
from simulator.export.rtl.bench import Part
from simulator.export.rtl.folder import OwnModule, bench_files, write_files
from simulator.export.rtl.vectors import of_operands, of_random_run, of_run
from simulator.golden.one_op import of_graph
from simulator.graph import GraphBuilder
from simulator.graph.ops import MatMul, Mean, Mul, Rescale
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

S8 = IntType(bits=8)
# What is swapped in the module of our units, by the family of ops and the place of its mode.
SWAPS = {
    "mac": [(2, "ACCUMULATOR_OVERFLOW", 2), (2, "BIAS_STAGE", 1), (6, "INNER_LEVELS", 0)],
    "add": [(6, "ROUNDING", 3), (6, "OVERFLOW", 2), (6, "SHIFT", 8), (6, "SCALED_WIDTH", 15)],
    "lookup": [(0, "IN_SIGNED", 0)],
    "softmax_exp_table, reciprocal": [
        (15, "ROUNDING", 2),
        (15, "OVERFLOW", 2),
        (15, "RECIPROCAL_BITS", 19),
        (15, "NORMALISATION", 1),
    ],
    "softmax_exp_table, division": [(5, "ROUNDING", 2), (5, "OVERFLOW", 1), (5, "SHIFT", 14)],
    "softmax_ita": [(1, "GROUP", 9), (1, "OCTAVE_BITS", 4), (1, "LARGEST", 127)],
    "layernorm": [
        (5, "ROUNDING", 2),
        (5, "OVERFLOW", 2),
        (5, "ROOT_STEPS", 1),
        (5, "NORMALIZED_FRACTION_BITS", 5),
    ],
    "hadamard, order 24": [
        (5, "ROUNDING", 2),
        (5, "OVERFLOW", 2),
        (5, "SYLVESTER", 1),
    ],
    "group_scale": [(0, "BITS", 4), (1, "BITS", 0), (1, "IN_SIGNED", 0)],
    "group_quantize": [(6, "ROUNDING", 3), (6, "OVERFLOW", 2), (6, "SHIFT", 10)],
    "group_shift": [(6, "ROUNDING", 3), (6, "OVERFLOW", 2), (6, "A_ZERO_POINT", 0)],
}


def written(folder, vectors, **choices):
    folder.mkdir()
    write_files(folder, bench_files(vectors, **choices))
    return folder


def swapped(folder, module, parameter, value):
    """Change one parameter of the module of our units."""
    path = folder / module
    text = path.read_text()
    changed = re.sub(rf"\.{parameter}\(\d+\)", f".{parameter}({value})", text)
    assert changed != text
    path.write_text(changed)


@pytest.mark.parametrize(
    ("unit", "mode", "parameter", "value"),
    [(unit, *swap) for unit, swaps in SWAPS.items() for swap in swaps],
)
def test_a_swapped_choice_fails(needs, tmp_path, unit, mode, parameter, value):
    needs("iverilog")
    family = FAMILIES[unit]()
    graph = [*family.graphs.values()][mode]
    operands = family.operands(np.random.default_rng(62), -(-1500 // family.per_image))
    vectors = of_run(Executor(graph, gemm="numba", threads=1), "y", operands)
    folder = written(tmp_path / "bench", vectors)
    outcome = run_testbench(folder, "icarus", None, stalls=True)
    assert outcome.passed, outcome.text
    assert outcome.checked == vectors.result.size
    (module,) = (path.name for path in folder.glob("*_device.sv"))
    swapped(folder, module, parameter, value)
    outcome = run_testbench(folder, "icarus", None)
    assert not outcome.passed
    assert outcome.mismatches > 0
    assert "MISMATCH result" in outcome.text


def _builder():
    level = AccumulatorLevel(group=0, bits=20, overflow=Overflow.SATURATE)
    return GraphBuilder(
        "one",
        defaults={
            "rounding": Rounding.HALF_EVEN,
            "overflow": Overflow.SATURATE,
            "accumulator": Accumulator(levels=(level,)),
        },
    )


def _rescale(builder, x):
    return builder.op(Rescale, "y", x, multiplier=[1, 3, 5, 7], shift=[1, 2, 3, 2], type=S8)


def _mul(builder, x):
    b = builder.constant("b", [[-7], [9], [100]], S8, zero_point=3)
    return builder.op(Mul, "y", x, b, multiplier=3, shift=9, type=S8, zero_point=-4)


def _mean(builder, x):
    return builder.op(Mean, "y", x, axis=0, multiplier=[43], shift=[7], type=S8, zero_point=5)


def _mean_of_channels(builder, x):
    return builder.op(Mean, "y", x, axis=1, keep_dimension=True, multiplier=1, shift=2, type=S8)


@pytest.mark.parametrize("build", [_rescale, _mul, _mean, _mean_of_channels])
def test_ops_that_are_a_requantizer(needs, tmp_path, build):
    needs("iverilog")
    builder = _builder()
    build(builder, builder.input("x", (3, 4), S8, zero_point=-11))
    executor = Executor(builder.build(), gemm="numba", threads=1)
    folder = written(tmp_path / "bench", of_random_run(executor, "y", 100))
    outcome = run_testbench(folder, "icarus", None, stalls=True)
    assert outcome.passed, outcome.text
    (module,) = (path.name for path in folder.glob("*_device.sv"))
    swapped(folder, module, "ROUNDING", 0)
    assert not run_testbench(folder, "icarus", None).passed


def _linear():
    builder = _builder()
    x = builder.input("x", (3, 6), S8)
    weights = builder.constant("w", np.arange(24).reshape(4, 6) * 10 - 110, S8)
    builder.op(
        MatMul, "y", x, weights, transpose_b=True, bias=[9000, 0, -7, 41], multiplier=[1, 3, 5, 7],
        shift=[8, 9, 10, 9], type=S8, zero_point=2,
    )  # fmt: skip
    return of_graph(builder.build(), "y")


def _linear_vectors(images=50):
    operands = np.random.default_rng(63).integers(-128, 128, (images, 3, 6)).astype(np.int8)
    return of_operands(_linear(), {"x": operands})


@pytest.mark.parametrize("part", list(Part))
def test_the_parts_of_a_layer(needs, tmp_path, part):
    needs("iverilog")
    folder = written(tmp_path / "bench", _linear_vectors(), part=part)
    outcome = run_testbench(folder, "icarus", None)
    assert outcome.passed, outcome.text
    assert outcome.checked == 600


# As somebody writes it who has read the skeleton, in one clock, rounding ties up.
OWN = """\
module my_requantizer (
    input wire clock, input wire reset, input wire in_valid, output wire in_ready,
    input wire in_last, input wire [19:0] in_accumulator, input wire [{multiplier}:0] in_multiplier,
    input wire [{shift}:0] in_shift, output reg out_valid, input wire out_ready,
    output reg [7:0] out_code
);
  assign in_ready = !out_valid || out_ready;
  wire signed [39:0] product = $signed(in_accumulator) * $signed({{1'b0, in_multiplier}});
  wire signed [39:0] half = 40'sd1 <<< (in_shift - 1);
  wire signed [39:0] even = $signed({{39'd0, product[in_shift]}});
  wire signed [39:0] code = ((product + half - 40'sd1 + {tie}) >>> in_shift) + 40'sd2;
  always @(posedge clock) begin
    if (in_ready) begin
      out_valid <= in_valid;
      out_code <= code > 127 ? 8'd127 : code < -128 ? 8'd128 : code[7:0];
    end
    if (reset) out_valid <= {reset};
  end
endmodule
"""


@pytest.mark.parametrize(
    ("tie", "reset", "verdict"),
    [
        ("even", "1'b0", "PASS"),
        ("40'sd1", "1'b0", "MISMATCH result"),
        ("even", "1'bx", "undefined"),
    ],
)
def test_a_module_of_ones_own(needs, tmp_path, tie, reset, verdict):
    needs("iverilog")
    vectors = _linear_vectors(300)  # of whose sums some are at ties
    constants = vectors.graph.constants
    widths = {
        name: vectors.tensor(f"y.{name}").code_type.bits - 1 for name in ("multiplier", "shift")
    }
    assert constants["y.multiplier"].max() == 7
    source = OWN.format(tie=tie, reset=reset, **widths)
    own = OwnModule(name="my_requantizer", sources={"mine.sv": source})
    folder = written(tmp_path / "bench", vectors, own=own, part=Part.REQUANTIZATION)
    outcome = run_testbench(folder, "icarus", None)
    assert outcome.passed == (verdict == "PASS"), outcome.text
    assert verdict in outcome.text


def test_a_skeleton_says_what_ports_carry_and_does_not_pass(needs, tmp_path):
    needs("iverilog")
    own = OwnModule(name="my_matmul", sources={})
    folder = written(tmp_path / "bench", _linear_vectors(), own=own)
    text = (folder / "my_matmul.sv").read_text()
    assert "// in_a: s8" in text
    assert "// rounding = half_even" in text
    assert not run_testbench(folder, "icarus", None).passed


def test_files_with_too_few_words_are_refused(needs, tmp_path):
    needs("iverilog")
    folder = written(tmp_path / "bench", _linear_vectors())
    lines = (folder / "a.hex").read_text().splitlines()
    (folder / "a.hex").write_text("\n".join(lines[:-1]) + "\n")
    outcome = run_testbench(folder, "icarus", None)
    assert not outcome.passed
    assert "FILE a.hex: has 899 words, wanted 900" in outcome.text


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (".in_valid(sum_valid)", ".in_valid(1'b0)", "0 of 600 results came, 0 too many"),
        (".out_ready(out_ready)", ".out_ready(1'b0)", "600 of 600 results came, 257 too many"),
    ],
)
def test_a_device_with_too_few_or_too_many_results_fails(needs, tmp_path, old, new, verdict):
    needs("iverilog")
    folder = written(tmp_path / "bench", _linear_vectors())
    path = folder / "matmul_device.sv"
    path.write_text(path.read_text().replace(old, new))
    outcome = run_testbench(folder, "icarus", None)
    assert not outcome.passed
    assert verdict in outcome.text


def test_the_units_are_clean_in_lint(needs, verilator_runtime, tmp_path):
    needs("verilator")
    folder = written(tmp_path / "bench", _linear_vectors())
    check(["make", "lint"], folder)
    outcome = run_testbench(folder, "verilator", verilator_runtime, stalls=True)
    assert outcome.passed, outcome.text
