# SPDX-License-Identifier: Apache-2.0
"""Cycles of one matrix product on the MAC engine: closed forms, no memory stalls.

All results are counts. SCALE-Sim 3.0.0 reports the index of the last cycle instead, which is one
less (scalesim-project/SCALE-Sim issue 125). A fold is one mapping of a part of the product onto the
array; a partly filled fold takes as long as a full one, because its data cross the whole array. The
arrays in ``simulator/rtl`` take exactly these cycles, output and weight stationary.
"""

from __future__ import annotations

from simulator.cost.exact import ceil_div
from simulator.profile import DotEngine, SystolicEngine


def gemm_cycles(m: int, k: int, n: int, engine: SystolicEngine | DotEngine) -> int:
    """Return the cycles of ``[m, k] x [k, n]`` on ``engine``.

    Parameters
    ----------
    m, k, n
        extents of the product, at least 1
    engine
        the profile's ``compute.engine``

    Returns
    -------
    int
        cycles of the compute clock, operands always at hand
    """
    if isinstance(engine, DotEngine):
        steps = ceil_div(m, engine.m) * ceil_div(n, engine.n) * ceil_div(k, engine.k)
        return steps * engine.cycles_per_step + engine.pipeline_depth
    rows, columns = engine.rows, engine.columns
    overlapped = engine.overlap == "fold"
    if engine.dataflow == "output_stationary":
        folds = ceil_div(m, rows) * ceil_div(n, columns)
        return _output_stationary(folds, k, rows, columns, overlapped)
    if engine.dataflow == "weight_stationary":
        folds = ceil_div(k, rows) * ceil_div(n, columns)
        return _operand_stationary(folds, m, rows, columns, overlapped)
    # Input stationary is weight stationary of the transposed product: M and N change places.
    folds = ceil_div(k, rows) * ceil_div(m, columns)
    return _operand_stationary(folds, n, rows, columns, overlapped)


def _output_stationary(folds: int, k: int, rows: int, columns: int, overlapped: bool) -> int:
    """Each multiplier keeps one sum while ``k`` pairs of operands pass through it.

    The pair that the far corner needs last enters at step k - 1 and travels rows + columns - 2
    steps. As in SCALE-Sim, moving the finished sums out of the array is not counted; its authors
    agree that ``rows`` cycles are missing (scalesim-project/scale-sim-v3 issue 4). In the array of
    ``simulator/rtl`` they are missing once per product: the sums of a fold leave, column by column,
    before the operands of the next one come to their place.

    Overlapped, with a second set of sums: a fold's sums are complete at the earliest k cycles after
    its predecessor's, and not before those have moved out of their column (``rows`` cycles).
    """
    fold = k + rows + columns - 2
    if not overlapped:
        return folds * fold
    return (folds - 1) * max(k, rows) + fold


def _operand_stationary(
    folds: int, streamed: int, rows: int, columns: int, overlapped: bool
) -> int:
    """Each multiplier keeps one weight (or input) while ``streamed`` vectors pass through.

    A fold loads ``rows`` rows of weights, then streams; the last vector needs rows + columns - 2
    more steps to leave at the far corner.

    Overlapped, with a second set of weights: a fold's weights load while its predecessor streams,
    right behind its first vector, so folds follow each other every max(streamed, rows) cycles and
    only the first load shows. ONNXim (arXiv 2406.08051) lets that one take 2 * rows - 1 cycles,
    ``rows`` from the buffer and rows - 1 down the array; in the array of ``simulator/rtl`` weights
    move down as they come, in ``rows`` cycles.
    """
    stream = streamed + rows + columns - 2
    if not overlapped:
        return folds * (rows + stream)
    return rows + (folds - 1) * max(streamed, rows) + stream
