# SPDX-License-Identifier: Apache-2.0
"""The C model called from SystemVerilog by DPI-C, under Verilator, against the emulator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_compiler import HEADERS, record_vectors
from test_c_units import emulated
from unit_vectors import CHANNELS, UNITS

from simulator.graph.ops import LayerNorm, MatMul, Rescale, Softmax, SoftmaxIta
from simulator.numerics.accumulator import BiasStage
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops.layernorm import channel_factors

HERE = Path(__file__).parent
ROWS = 48  # of each case
COLUMNS = 5  # of a product


def numbered(word, words):
    """Return the place of a word in its enumeration, which aocq_dpi.sv numbers alike."""
    return list(words).index(word)


def stage_of(op, result):
    kind = result.type
    return [
        op.shift,
        numbered(op.rounding, Rounding),
        numbered(op.overflow, Overflow),
        kind.bits,
        int(kind.signed),
        result.zero_point,
    ]


def rows_of(codes):
    """Return the first rows of an array's image, and one count before them."""
    rows = codes[0].reshape(-1, codes.shape[-1])[:ROWS].astype(np.int64)
    return [len(rows), *rows.reshape(-1).tolist()]


def requantize(case, op, graph, result):
    rule, kind = op.requantize, result.type
    constants = graph.constants
    return [
        1,
        numbered(rule.rounding, Rounding),
        numbered(rule.double_rounding, DoubleRounding),
        numbered(rule.overflow, Overflow),
        numbered(rule.zero_point_stage, ZeroPointStage),
        numbered(rule.left_shift, LeftShift),
        kind.bits,
        int(kind.signed),
        result.zero_point,
        *constants[rule.multiplier].tolist(),
        *constants[rule.shift].tolist(),
        *rows_of(case.operands["a"].astype(np.int64) - graph.tensors[op.a].zero_point),
    ]


def mac(case, op, graph, result):
    levels = [
        number
        for level in op.accumulator.levels
        for number in (level.group, level.bits, numbered(level.overflow, Overflow))
    ]
    a, b, bias = case.operands["a"][0], graph.constants[op.b], graph.constants[op.bias]
    rows = [
        number for row in a[:ROWS] for n in range(COLUMNS) for number in (bias[n], *row, *b[:, n])
    ]
    stage = numbered(op.accumulator.bias, BiasStage)
    return [2, stage, len(op.accumulator.levels), *levels, ROWS * COLUMNS, *map(int, rows)]


def softmax(case, op, graph, result):
    return [
        3,
        op.reciprocal_bits,
        op.shift,
        numbered(op.normalisation, Normalisation),
        *stage_of(op, result)[1:],
        *graph.constants[op.table].tolist(),
        *rows_of(case.operands["a"]),
    ]


def softmax_ita(case, op, graph, result):
    scores = graph.tensors[op.a].type
    kind = result.type
    numbers = [scores.bits, int(scores.signed), op.octave_bits, op.group, op.largest]
    about = [kind.bits, int(kind.signed), result.zero_point]
    return [4, *numbers, *about, *rows_of(case.operands["a"])]


def layernorm(case, op, graph, result):
    return [
        5,
        graph.tensors[op.a].zero_point,
        op.beta_shift,
        op.epsilon,
        op.sqrt_fraction_bits,
        op.reciprocal_bits,
        op.normalized_fraction_bits,
        op.root_steps,
        op.root_start_bits,
        *stage_of(op, result),
        *channel_factors(op, graph).tolist(),
        *graph.constants[op.gamma].tolist(),
        *graph.constants[op.beta].tolist(),
        *rows_of(case.operands["a"]),
    ]


WRITERS = {
    Rescale: requantize,
    MatMul: mac,
    Softmax: softmax,
    SoftmaxIta: softmax_ita,
    LayerNorm: layernorm,
}


@pytest.fixture(scope="module")
def bench(needs, verilator_runtime, tmp_path_factory):
    """The testbench, built once."""
    needs("cc", "verilator")
    from simulators import verilate

    folder = tmp_path_factory.mktemp("dpi")
    sources = [HEADERS / "aocq_dpi.sv", HERE / "dpi_bench.sv", HEADERS / "aocq_dpi.c"]
    options = ("-Wall", "-CFLAGS", f"-I{HEADERS} -Wall -Wextra -Werror=conversion-null")
    return verilate(folder, sources, "dpi_bench", verilator_runtime, options=options)


def answers(bench, folder, cases):
    """Return what the testbench wrote for each case: lines of numbers."""
    numbers, counts = [], []
    for case in cases:
        graph, op = case.graph, case.graph.ops[-1]
        numbers += WRITERS[type(op)](case, op, graph, graph.result(op))
        counts.append(ROWS * COLUMNS if isinstance(op, MatMul) else ROWS)
    (folder / "vectors.txt").write_text(" ".join(map(str, [*numbers, 0])) + "\n", "utf-8")
    subprocess.run([bench], cwd=folder, check=True, capture_output=True)
    lines = (folder / "results.txt").read_text("utf-8").splitlines()
    assert len(lines) == sum(counts)
    lines = iter(lines)
    return [[[int(word) for word in next(lines).split()] for _ in range(n)] for n in counts]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if not unit.startswith(("add", "lookup"))])
def test_imported_functions_equal_the_emulator(bench, request, tmp_path, unit):
    cases = list(UNITS[unit]().values())
    found = answers(bench, tmp_path, cases)
    compared = 0
    for case, lines in zip(cases, found, strict=True):
        wanted = emulated(case).codes
        rows = wanted[0].reshape(-1, wanted.shape[-1])[:ROWS]
        if isinstance(case.graph.ops[-1], MatMul):
            # The sums: multiplier 1, shift 0, and 16 bits for registers of 12, or of 32.
            codes = np.array(lines).reshape(ROWS, COLUMNS)
            assert np.array_equal(codes, rows[:, :COLUMNS]), case.graph.ops[-1]
        else:
            codes = np.array(lines)[:, 1:]
            assert np.array_equal(codes, rows), case.graph.ops[-1]
        compared += codes.size
    record_vectors(request, f"{unit}, by DPI-C", compared, 0)
    assert compared > 10 * CHANNELS


def test_a_changed_vector_changes_the_answer(bench, tmp_path):
    (case, *_) = UNITS["softmax, half_up"]().values()
    changed = type(case)(case.graph, {"a": case.operands["a"] ^ 64})
    one, other = answers(bench, tmp_path, [case, changed])
    assert one != other
