# SPDX-License-Identifier: Apache-2.0
"""Systolic arrays in RTL: every product exact, in exactly the cycles of the cost model."""

from __future__ import annotations

import numpy as np
import pytest
from rtl_units import SOURCES
from systolic_arrays import Array, run_arrays

from simulator.cost import gemm_cycles
from simulator.profile import SystolicEngine

PRODUCTS = 200
LARGEST = 40
DATAFLOWS = ["output_stationary", "weight_stationary"]
OVERLAPS = ["none", "fold"]
# Rows, columns; bits of a, of b, of the accumulator, which wraps in the last one.
SIZES = [
    (1, 1, 8, 8, 32),
    (1, 4, 8, 8, 24),
    (5, 1, 8, 4, 20),
    (4, 4, 8, 8, 32),
    (2, 3, 4, 8, 18),
    (7, 2, 16, 8, 40),
    (3, 8, 8, 8, 12),
]


def array_of(rows, columns, a_bits, b_bits, accumulator_bits, dataflow, overlap):
    engine = SystolicEngine(
        kind="systolic", rows=rows, columns=columns, dataflow=dataflow, overlap=overlap
    )
    return Array(engine=engine, a_bits=a_bits, b_bits=b_bits, accumulator_bits=accumulator_bits)


def arrays_of(sizes):
    return [
        array_of(*size, dataflow, overlap)
        for size in sizes
        for dataflow in DATAFLOWS
        for overlap in OVERLAPS
    ]


def random_products(seed, count):
    """Return operands of all kinds of shapes: half of the extents are 1 to 4."""
    random = np.random.default_rng(seed)
    shapes = np.where(
        random.random((count, 3)) < 0.5,
        random.integers(1, 5, (count, 3)),
        random.integers(1, LARGEST + 1, (count, 3)),
    )
    assert len(np.unique(shapes, axis=0)) > 0.7 * count
    return [
        (random.integers(-(1 << 15), 1 << 15, (m, k)), random.integers(-128, 128, (k, n)))
        for m, k, n in shapes.tolist()
    ]


def check_arrays(arrays, operands, found):
    """Hold every product and every count exactly; return how many products were compared."""
    for array, results in zip(arrays, found, strict=True):
        for (a, b), result in zip(operands, results, strict=True):
            m, k, n = *a.shape, b.shape[1]
            assert result.product is not None, (array, m, k, n)
            assert np.array_equal(result.product, array.expected(a, b)), (array, m, k, n)
            assert result.cycles == gemm_cycles(m, k, n, array.engine), (array, m, k, n)
            # The last sums leave row by row, or the clock after they are complete.
            leave = array.engine.rows if array.engine.dataflow == "output_stationary" else 1
            assert result.last == result.cycles + leave
    return len(arrays) * len(operands)


def test_random_products_reach_folds_that_wait():
    # Fewer operands than rows: they are fed before sums have left, or weights have come.
    shapes = [(*a.shape, b.shape[1]) for a, b in random_products(19, PRODUCTS)]
    for rows, columns, *_ in SIZES:
        outputs = [-(-m // rows) * -(-n // columns) for m, _, n in shapes]
        weights = [-(-k // rows) * -(-n // columns) for _, k, n in shapes]
        assert max(outputs) > 50
        assert max(weights) > 50
        if rows > 1:
            fed = zip(shapes, outputs, weights, strict=True)
            waits = [(k < rows and f > 1, m < rows and g > 1) for (m, k, _), f, g in fed]
            assert np.sum(waits, axis=0).min() >= 25


def test_verilator(needs, verilator_runtime, record_count, tmp_path):
    needs("verilator")
    arrays, operands = arrays_of(SIZES), random_products(19, PRODUCTS)
    found = run_arrays(tmp_path, arrays, operands, verilator_runtime)
    compared = check_arrays(arrays, operands, found)
    record_count("verilator", "RTL systolic arrays, cycles", compared=compared, mismatches=0)


def test_icarus(needs, record_count, tmp_path):
    needs("iverilog")
    arrays, operands = arrays_of([SIZES[3], SIZES[4]]), random_products(20, 12)
    found = run_arrays(tmp_path, arrays, operands)
    compared = check_arrays(arrays, operands, found)
    record_count("iverilog", "RTL systolic arrays, cycles", compared=compared, mismatches=0)


# Hardware that is wrong in one place: what a fold has to wait for, what moves when.
WRONG = {
    "output, none: the next fold does not wait": (
        ("output_stationary", "none", "systolic_output_stationary"),
        ("if (complete) waiting <= 1'b0", "waiting <= 1'b0"),
    ),
    "output, fold: rows take sums from above when the last has come": (
        ("output_stationary", "fold", "systolic_output_stationary"),
        ("(PASSED_BITS'(1) << row) - PASSED_BITS'(1)", "'1"),
    ),
    "output, fold: the last pair does not wait": (
        ("output_stationary", "fold", "systolic_output_stationary"),
        ("last_step && (passed & IN_COLUMN) != '0", "1'b0"),
    ),
    "output, fold: the last pair waits one clock more": (
        ("output_stationary", "fold", "systolic_output_stationary"),
        ("(passed & IN_COLUMN) != '0;", "(passed & {IN_COLUMN, 1'b1}) != '0;"),
    ),
    "weight, none: weights come one clock later": (
        ("weight_stationary", "none", "systolic_weight_stationary"),
        ("loaded || load_ends) && (!", "loaded) && (!"),
    ),
    "weight, none: a row of sums is not held": (
        ("weight_stationary", "none", "weight_stationary_array"),
        (".CLOCKS(1)", ".CLOCKS(0)"),
    ),
    "weight, fold: weights come down over those in use": (
        ("weight_stationary", "fold", "systolic_weight_stationary"),
        ("loading && given > (ROW_BITS + 1)'(row)", "loading"),
    ),
    "weight, fold: weights wait for the end of the stream": (
        ("weight_stationary", "fold", "systolic_weight_stationary"),
        (": stream_begins && !(last_k && last_n)", ": pending && stream_ends"),
    ),
    "weight, fold: sums of other folds are not taken along": (
        ("weight_stationary", "fold", "partial_sums"),
        ("in_first ? '0 : sums[in_index]", "'0"),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_hardware_is_seen(needs, tmp_path, wrong):
    needs("iverilog")
    (dataflow, overlap, unit), (right, broken) = WRONG[wrong]
    text = next(source for source in SOURCES if source.stem == unit).read_text()
    assert text.count(right) == 1
    changed = tmp_path / f"{unit}.sv"
    changed.write_text(text.replace(right, broken))
    sources = [changed if source.stem == unit else source for source in SOURCES]
    array = array_of(*SIZES[6], dataflow, overlap)
    operands = random_products(21, 8)
    found = run_arrays(tmp_path, [array], operands, sources=sources)
    with pytest.raises(AssertionError):
        check_arrays([array], operands, found)
