# SPDX-License-Identifier: Apache-2.0
"""Softmax by one reciprocal per row, in vector registers: as :mod:`simulator.ops.softmax`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Softmax
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.ops.behaviour import Kernel, OpResult
from simulator.ops.requantizing import output_stage
from simulator.simd.lanes.lookup import ENTRIES
from simulator.simd.lanes.padded_codes import PaddedCodes
from simulator.simd.lanes.requantization import LANE_BITS, is_bit_mask
from simulator.simd.lanes.softmax_row import (
    BLOCK,
    exponentiate_row,
    normalize_row,
    table_in_bytes,
)

WORD_BITS = 31  # of exponentials and reciprocals: their products have 62
EXPONENTIALS = (
    2048  # that are held at once, where a row is not longer: they stay in the first cache
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxConstants:
    """The constants of a softmax as :func:`softmax_rows_simd` takes them.

    Attributes
    ----------
    words, planes
        the table of exponentials in both forms that :func:`exponentiate_row` takes
    reciprocal_bits
        fraction bits of the reciprocal of a row's sum
    stage
        of :func:`normalize_row`
    """

    words: NDArray[np.int32]
    planes: NDArray[np.uint8]
    reciprocal_bits: int
    stage: tuple[int, ...]

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what kernels take."""
        return self.words, self.planes, self.reciprocal_bits, self.stage


def simd_kernel(op: Softmax, graph: IntGraph, _: Gemm) -> Kernel | None:
    """Return a kernel for batches in vector registers, or none where numbers are too wide."""
    constants = softmax_constants(op, graph)
    if constants is None:
        return None
    arguments = constants.arguments
    dtype = graph.result(op).type.dtype

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        scores = np.ascontiguousarray(operands[0])
        columns = scores.shape[-1]
        out = PaddedCodes.empty(scores.shape, dtype)
        codes = scores.reshape(-1)
        # Behind the last rows there is nothing that may be read: they move to where there is.
        last = max(len(codes) - -(-BLOCK // columns) * columns, 0)
        moved = np.zeros(len(codes) - last + BLOCK, codes.dtype)
        moved[:-BLOCK] = codes[last:]
        saturated = 0
        for rows, begin, end in ((codes, 0, last), (moved, last, len(codes))):
            saturated += softmax_rows_simd(
                rows, (end - begin) // columns, columns, *arguments, out.flat[begin:], columns
            )
        return OpResult(out.codes, int(saturated))

    return kernel


def softmax_constants(op: Softmax, graph: IntGraph, shifted: int = 0) -> SoftmaxConstants | None:
    """Return the constants of a softmax in vector registers, or none where it has no such form.

    ``shifted`` is what is added to every code of the result.
    """
    result, table = graph.result(op), graph.constants[op.table]
    shift, always, _, if_odd, zero_point, low, high, wraps = output_stage(op, result).arguments
    largest_inverse = _largest_inverse(op, int(table[0]))
    words = max(int(table.max()), largest_inverse) < 1 << WORD_BITS and int(table.min()) >= 0
    bytes_only = graph.tensors[op.a].type.dtype.itemsize == 1 and len(table) == ENTRIES
    distance = shift - LANE_BITS
    if (
        op.normalisation is not Normalisation.RECIPROCAL
        or wraps
        or not words
        or not bytes_only
        or not 0 < distance < LANE_BITS
        or not is_bit_mask(np.array(if_odd))
        or not low <= zero_point <= high  # no padding is counted
    ):
        return None
    upper = zero_point + shifted << distance
    plain = if_odd == 0 and always % (1 << LANE_BITS) == 0
    if plain:
        upper += always >> LANE_BITS
    largest = (int(table.max()) * largest_inverse + always + 1 >> LANE_BITS) + max(upper, 0)
    if max(largest, -upper) >= 1 << WORD_BITS:
        return None
    rounding = () if plain else (always, if_odd)
    return SoftmaxConstants(
        words=table.astype(np.int32),
        planes=table_in_bytes(table),
        reciprocal_bits=op.reciprocal_bits,
        stage=(distance, *rounding, upper, high + shifted),
    )


def _largest_inverse(op: Softmax, first: int) -> int:
    """Return the largest reciprocal of a row: the exponential of its largest score is there."""
    return ((1 << op.reciprocal_bits) + first // 2) // first


@compiled
def softmax_rows_simd(rows, count, columns, words, planes, reciprocal_bits, stage, out, width):
    """Softmax of ``count`` rows of codes into ``out``; count what does not fit.

    Parameters
    ----------
    rows
        codes, flat: rows of ``columns``, and a :data:`BLOCK` more that may be read
    words, planes, reciprocal_bits, stage
        see :class:`SoftmaxConstants`
    out
        flat; rows of results start ``width`` apart. Up to 16 are stored behind each
    """
    # Rows do not wait for each other's sums and divisions where each step takes a few of them.
    width_of_row = (columns + BLOCK - 1) // BLOCK * BLOCK
    together = max(1, EXPONENTIALS // width_of_row)
    exponentials = np.empty(together * width_of_row, np.int32)
    inverses = np.empty(together, np.uint64)
    one = np.uint64(1) << np.uint64(reciprocal_bits)
    saturated = 0
    for first in range(0, count, together):
        some = min(together, count - first)
        for i in range(some):
            place = (first + i) * columns
            inverses[i] = exponentiate_row(
                rows, place, columns, words, planes, exponentials, i * width_of_row
            )
        for i in range(some):
            # Unsigned: a division without cases.
            inverses[i] = (one + (inverses[i] >> np.uint64(1))) // inverses[i]
        for i in range(some):
            place = (first + i) * width
            saturated += normalize_row(
                exponentials, i * width_of_row, columns, np.int64(inverses[i]), stage, out, place
            )
    return saturated
