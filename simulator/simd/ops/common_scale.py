# SPDX-License-Identifier: Apache-2.0
"""Two operands at a common scale in vector registers: as :mod:`simulator.ops.common_scale`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import SquaredDifference
from simulator.graph.ranges import code_range
from simulator.numerics.integer_type import IntArray, IntType, Overflow
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.requantization import Requantizer
from simulator.numerics.rounding import offsets
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.broadcasting import rows_repeat
from simulator.ops.common_scale import CommonScaleOp, Join, join_of
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import LANE_BITS, SimdRequantizer
from simulator.simd.lanes.requantize_row import requantize_row
from simulator.simd.lanes.vectors import LANES

LANE = IntType(bits=LANE_BITS)


@dataclass(frozen=True, slots=True)
class Step:
    """A multiplication and a rounded shift of numbers that are first shifted left, exactly.

    Attributes
    ----------
    left
        places of that shift; ``requantizer`` may shift more to the right in return
    requantizer
        ``arguments`` of a :class:`SimdRequantizer`; none where the shift to the left is all
    largest
        no result is larger, whatever its sign
    """

    left: int
    requantizer: tuple[object, ...] | None
    largest: int


def simd_kernel(op: CommonScaleOp, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    result = graph.result(op)
    steps = _steps(op, graph)
    repeated = all(
        rows_repeat(graph.tensors[name].shape, result.shape, constant=graph.is_constant(name))
        for name in op.operands
    )
    if steps is None or not repeated or graph.tensors[op.a].shape != result.shape:
        return None
    first, second, last = steps
    channels = result.shape[-1]
    zero_points = [graph.tensors[name].zero_point for name in op.operands]

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        a, b = (np.ascontiguousarray(operand) for operand in operands)
        out = PaddedCodes.empty(a.shape, result.type.dtype)
        saturated = join_rows_simd(
            a.reshape(-1, channels),
            b.reshape(-1, b.shape[-1]),
            *zero_points,
            first.left,
            second.left,
            first.requantizer,
            second.requantizer,
            int(join_of(op)),
            last.left,
            last.requantizer,
            out.flat,
        )
        return OpResult(out.codes, int(saturated))

    return kernel


def _steps(op: CommonScaleOp, graph: IntGraph) -> tuple[Step, Step, Step] | None:
    """Return what is done to a, to b and to what they are joined to, or none."""
    if op.overflow is Overflow.WRAP:
        return None
    result = graph.result(op)
    operands = []
    for name, multiplier, shift in (
        (op.a, op.multiplier_a, op.shift_a),
        (op.b, op.multiplier_b, op.shift_b),
    ):
        scaling = (_largest(graph, name), op.input_left_shift, multiplier, shift)
        # Of operands with one code a row, eight rows are rescaled together.
        channels = max(graph.tensors[name].shape[-1], LANES)
        operands.append(_exact(*scaling) or _rounded(op, *scaling, LANE, 0, channels))
    if None in operands:
        return None
    first, second = (step for step in operands if step is not None)
    joined = first.largest + second.largest
    if isinstance(op, SquaredDifference):
        joined *= joined
    finish = (result.code_type, result.zero_point, result.shape[-1])
    last = _rounded(op, joined, 0, op.multiplier, op.shift, *finish)
    return None if last is None else (first, second, last)


def _largest(graph: IntGraph, name: str) -> int:
    zero_point = graph.tensors[name].zero_point
    return max(abs(end - zero_point) for end in code_range(graph, name))


def _exact(largest: int, left: int, multiplier: int, shift: int) -> Step | None:
    """Return a step without a fraction: a shift to the left, by a power of two as multiplier."""
    if multiplier < 1:  # a factor so small that its fixed point is 0
        return None
    exponent = multiplier.bit_length() - 1
    places = left + exponent - shift
    if multiplier != 1 << exponent or places < 0 or largest << places >= 1 << (LANE_BITS - 1):
        return None
    return Step(places, None, largest << places)


def _rounded(
    op: CommonScaleOp,
    largest: int,
    left: int,
    multiplier: int,
    shift: int,
    kind: IntType,
    zero_point: int,
    channels: int,
) -> Step | None:
    """Return a step whose product is shifted right by more than 32, or none where that is too far.

    Shifting numbers and ``R`` further to the left changes nothing where the shift to the right
    takes it back.
    """
    farther = max(0, LANE_BITS + 1 - shift)
    offset = offsets(np.array([shift]), op.rounding, op.double_rounding) << farther
    # HALF_EVEN's last part is a bit of the number, which the lanes take from where it was.
    if largest << (left + farther) >= 1 << (LANE_BITS - 1) or (farther and offset[2].any()):
        return None
    requantizer = Requantizer(
        multiplier=np.full(channels, multiplier),
        shift=np.full(channels, shift + farther),
        left=None,
        pre_shift_offset=np.zeros(channels, np.int64),
        offset=np.repeat(offset, channels, axis=1),
        zero_point=zero_point,
        kind=kind,
        overflow=op.overflow,
    )
    simd = SimdRequantizer.of(requantizer, -(-channels // LANES) * LANES)
    if simd is None:
        return None
    return Step(left + farther, simd.arguments, ((largest << left) * multiplier >> shift) + 1)


@compiled
def join_rows_simd(
    a, b, zero_a, zero_b, left_a, left_b, requantizer_a, requantizer_b, join, left, requantizer,
    out,
):  # fmt: skip
    """Join each row [channels] of ``a`` with one of ``b`` into ``out``, flat; count what saturates.

    Rows of ``b`` repeat, and may be one code each. ``requantizer_a`` and ``requantizer_b`` are
    those of the operands' steps, ``requantizer`` that of the last one, ``join`` is a :class:`Join`.
    """
    channels = a.shape[1]
    padded = requantizer[0].shape[0]
    shifted = np.zeros(padded, np.int32)  # 8 or more
    first = np.zeros(padded, np.int32)
    second = np.zeros(padded, np.int32)
    eight = np.zeros(LANES, np.int32)
    extremes = np.zeros(2 * LANES, np.int32)
    first_zero, first_unit = np.int32(zero_a), np.int32(1 << left_a)
    unit = np.int32(1 << left)
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    saturated = 0
    for i in range(a.shape[0]):
        if requantizer_a is not None:
            at = i * channels
            rescale(flat_a, at, channels, zero_a, left_a, requantizer_a, shifted, first, extremes)
        row = i % b.shape[0]
        if b.shape[1] == 1:
            if row % LANES == 0:
                rows = min(LANES, b.shape[0] - row)
                rescale(flat_b, row, rows, zero_b, left_b, requantizer_b, shifted, eight, extremes)
            for c in range(channels):
                second[c] = eight[row % LANES]
        elif i == 0 or b.shape[0] > 1:
            at = row * channels
            rescale(flat_b, at, channels, zero_b, left_b, requantizer_b, shifted, second, extremes)
        for c in range(channels):
            # A product with a power of two, unlike a shift, stays in 32-bit lanes.
            if requantizer_a is None:
                x = np.int32(np.int32(np.int32(a[i, c]) - first_zero) * first_unit)
            else:
                x = first[c]
            if join == Join.SUM:
                shifted[c] = np.int32(np.int32(x + second[c]) * unit)
            elif join == Join.DIFFERENCE:
                shifted[c] = np.int32(np.int32(x - second[c]) * unit)
            else:
                distance = np.int32(x - second[c])
                shifted[c] = np.int32(np.int32(distance * distance) * unit)
        saturated += requantize_row(shifted, 0, out, i * channels, requantizer, extremes)
    return saturated


@compiled
def rescale(codes, start, count, zero_point, left, requantizer, shifted, out, extremes):
    """Bring ``count`` of the flat ``codes`` from ``start`` on to the common scale.

    ``out`` is int32, with as many entries as ``requantizer`` has factors.
    """
    target = out if requantizer is None else shifted
    zero, unit = np.int32(zero_point), np.int32(1 << left)
    for c in range(count):
        target[c] = np.int32(np.int32(np.int32(codes[start + c]) - zero) * unit)
    if requantizer is not None:
        requantize_row(shifted, 0, out, 0, requantizer, extremes)
