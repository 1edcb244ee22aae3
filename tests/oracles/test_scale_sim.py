# SPDX-License-Identifier: Apache-2.0
"""Cycles of systolic arrays without overlap against SCALE-Sim: its total plus one."""

from __future__ import annotations

import numpy as np
import pytest
from oracle_process import OracleError
from tally import Tally

from simulator.cost import gemm_cycles
from simulator.profile import SystolicEngine

ARRAYS = 20
SHAPES = 100  # spread over the arrays
DATAFLOWS = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}


def cycles(shapes, rows, columns, dataflow, overlap="none"):
    engine = SystolicEngine(
        kind="systolic", rows=rows, columns=columns, dataflow=dataflow, overlap=overlap
    )
    return np.array([gemm_cycles(m, k, n, engine) for m, k, n in shapes.tolist()])


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_total_cycles_plus_one(scale_sim, record_count, dataflow):
    random = np.random.default_rng(30)
    ours = DATAFLOWS[dataflow]
    other = "weight_stationary" if dataflow == "os" else "output_stationary"
    tally = Tally("SCALE-Sim", f"cycles, {ours.replace('_', ' ')}", record_count)
    for shapes in random.integers(1, 33, (ARRAYS, SHAPES // ARRAYS, 3)):
        rows, columns = random.integers(2, 17, 2).tolist()
        tally.add(
            scale_sim.last_cycles(shapes, rows, columns, dataflow) + 1,
            cycles(shapes, rows, columns, ours),
            {
                "overlap": cycles(shapes, rows, columns, ours, "fold"),
                "dataflow": cycles(shapes, rows, columns, other),
                "side": cycles(shapes, columns, rows, ours),
            },
        )
    tally.check(at_least=SHAPES)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1)])
def test_arrays_of_one_row_or_column(scale_sim, dataflow, rows, columns):
    shapes = np.array([[1, 2, 1], [2, 5, 3], [7, 1, 8], [8, 7, 1], [1, 15, 6]])
    theirs = scale_sim.last_cycles(shapes, rows, columns, dataflow)
    assert np.array_equal(theirs + 1, cycles(shapes, rows, columns, DATAFLOWS[dataflow]))


def test_a_single_cycle_is_none_to_it(scale_sim):
    # It divides by its total, which is the index of the last cycle.
    shapes = np.array([[1, 1, 1]])
    assert cycles(shapes, 1, 1, "output_stationary") == 1
    with pytest.raises(OracleError, match="ZeroDivisionError"):
        scale_sim.last_cycles(shapes, 1, 1, "os")
