# SPDX-License-Identifier: Apache-2.0
"""Cycles of one matrix product on the MAC engine: closed forms, no memory stalls.

All results are counts. SCALE-Sim 3.0.0 reports the index of the last cycle instead, which is one
less (scalesim-project/SCALE-Sim issue 125). A fold is one mapping of a part of the product onto the
array; a partly filled fold takes as long as a full one, because its data cross the whole array. The
arrays in ``simulator/rtl`` take exactly these cycles, output and weight stationary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.graph.graph import IntGraph
from simulator.graph.ops import NormalizedMatMul, Op
from simulator.profile import DotEngine, SystolicEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmExtents:
    """``heads`` products of ``[m, k] x [k, n]``, with the widths of their operands in bits.

    ``multiplied``: the widths of what the multipliers take, see :func:`multiplied_bits`.
    """

    heads: int
    m: int
    k: int
    n: int
    a_bits: int
    b_bits: int
    multiplied: tuple[int, int]


def multiplied_bits(graph: IntGraph, op: Op) -> tuple[int, int]:
    """Return the widths of what the array multiplies: those of the op's first and last factor.

    They are those of its operands, but codes of levels are decoded in front of the multipliers,
    which take the levels. Levels that are powers of two do no more than shift the other operand:
    they count as wide as their codes.
    """
    widths = [graph.tensors[name].type.bits for name in op.operands[:2]]
    if isinstance(op, NormalizedMatMul):
        levels = graph.constants[op.levels].astype(np.int64)
        if (levels & levels - 1).any():
            widths[0] = max(widths[0], int(levels.max()).bit_length())
    return widths[0], widths[-1]


def gemm_extents(graph: IntGraph, op: Op) -> GemmExtents:
    """Return the products of ``op`` and the extents of each.

    Operands with leading dimensions are one product per index of these. A matrix ``b`` that all
    rows of ``a`` share makes one product, with all leading dimensions of ``a`` in M.
    """
    a, b = (graph.tensors[name] for name in op.operands[:2])
    heads = math.prod(a.shape[:-2]) if len(b.shape) > 2 else 1
    return GemmExtents(
        heads=heads,
        m=math.prod(a.shape[:-1]) // heads,
        k=a.shape[-1],
        n=graph.result(op).shape[-1],
        a_bits=a.type.bits,
        b_bits=b.type.bits,
        multiplied=multiplied_bits(graph, op),
    )


def heads_cycles(product: GemmExtents, engine: SystolicEngine | DotEngine) -> int:
    """Return the cycles of all products of an op, operands always at hand.

    As many heads are computed at once as the array can; each of the others has its own fill and
    drain. Operands narrower than the array's are faster only where the profile says so.
    """
    rounds = ceil_div(product.heads, engine.heads_parallel or 1)
    cycles = rounds * gemm_cycles(product.m, product.k, product.n, engine)
    return ceil_times(cycles, 1 / as_written(width_speed(engine, *product.multiplied)))


def width_speed(engine: SystolicEngine | DotEngine, a_bits: int, b_bits: int) -> float:
    """Return how many times as fast an array is with operands of these widths; 1 unless stated."""
    speeds = [
        width.speed
        for width in engine.widths or ()
        if a_bits <= width.a_bits and b_bits <= width.b_bits
    ]
    return max(speeds, default=1.0)


def padded_rows(m: int, engine: DotEngine) -> int:
    """Return how many steps of ``engine.m`` rows a product of ``m`` rows takes.

    Where the array takes its rows as a rectangle, the rows of the product lie in a picture of
    height x width whose product is ``m``; the best one counts.
    """
    if engine.rectangle is None:
        return ceil_div(m, engine.m)
    height, width = engine.rectangle
    small = [rows for rows in range(1, math.isqrt(m) + 1) if m % rows == 0]
    return min(
        ceil_div(rows, height) * ceil_div(m // rows, width)
        for divisor in small
        for rows in (divisor, m // divisor)
    )


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
        steps = padded_rows(m, engine) * ceil_div(n, engine.n) * ceil_div(k, engine.k)
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
