# SPDX-License-Identifier: Apache-2.0
"""Products by the tile kernel: exact on every CPU with AVX2, faster on those with VNNI."""

from __future__ import annotations

import numpy as np

from simulator.gemm.portable import BlasGemm, NumbaGemm
from simulator.gemm.protocol import LONGEST_INT32_SUM, Product
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2, kernel
from simulator.simd.product.forms import Form
from simulator.simd.product.packing import (
    STRIP_ROWS,
    LeftForm,
    Packed,
    left_form,
    multiply_from,
    pack,
    take_rows,
)
from simulator.simd.product.tile import TILE_COLUMNS

# Terms of 16-bit times 8-bit codes whose sum stays below 2^31, as a multiple of a block.
TERMS_OF_16_BITS = 256


class Avx2Gemm:
    """Tiles of 6 rows and 16 columns in registers; packs the right operand once."""

    name = "avx2"

    def __init__(self) -> None:
        if not has_avx2():
            raise ImportError("needs a CPU with AVX2, and Numba's compiler")

    def prepare(self, b: IntArray) -> Product:
        """See :class:`simulator.gemm.Gemm`."""
        if b.dtype.itemsize > 1 or len(b) > LONGEST_INT32_SUM:
            return BlasGemm().prepare(b)
        return PackedProduct(b)


class PackedProduct:
    """``a @ b`` for codes of 8 bits, or signed ones of 16, ``b`` packed."""

    def __init__(self, b: IntArray) -> None:
        self.packed = pack(b)
        self._b = b
        self._pairs: Packed | None = None  # for left codes of 16 bits, when there are any
        self._left: dict[np.dtype, LeftForm] = {}  # by the types of left codes that there were

    def __call__(self, a: IntArray) -> IntArray:
        """Return int32 [M, N], or int64 where the left codes have 16 bits."""
        a = np.ascontiguousarray(a)
        if a.dtype.itemsize == 1:
            return self._part(a, self.packed, 0, self.packed.padded_terms)
        if a.dtype != np.int16:
            return NumbaGemm().prepare(self._b)(a)
        if self._pairs is None:
            self._pairs = pack(self._b, form=Form.PAIRS)
        total = np.zeros((len(a), self._pairs.columns), np.int64)
        for first in range(0, self._pairs.terms, TERMS_OF_16_BITS):
            last = min(first + TERMS_OF_16_BITS, self._pairs.padded_terms)
            total += self._part(a, self._pairs, first, last)
        return total

    def _part(self, a: IntArray, packed: Packed, first: int, last: int) -> IntArray:
        left = self._left.get(a.dtype)
        if left is None:
            left = self._left[a.dtype] = left_form(packed, a.dtype)
        out = np.empty((len(a), packed.columns), np.int32)
        multiply_rows(
            a,
            first,
            last,
            left.shifted,
            packed.panels,
            packed.per_step,
            packed.chunk,
            left.initial,
            np.empty((STRIP_ROWS, packed.padded_terms), left.dtype),
            np.empty((STRIP_ROWS, len(left.initial)), np.int32),
            out,
        )
        return out


@kernel
def multiply_rows(  # type: ignore[no-untyped-def]
    a, first, last, shifted, panels, per_step, chunk, initial, codes, sums, out
):
    """Multiply rows [M, K] strip by strip into ``out`` [M, N].

    Whole strips of whole panels are written at once, others by way of ``sums``.
    """
    columns = out.shape[1]
    flat_out, flat_sums = out.reshape(-1), sums.reshape(-1)
    whole = columns == panels.shape[0] * TILE_COLUMNS
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        if whole and count == STRIP_ROWS:
            multiply_from(
                initial, codes, count, first, last, panels, per_step, chunk, flat_out,
                start * columns, columns,
            )  # fmt: skip
            continue
        multiply_from(
            initial, codes, count, first, last, panels, per_step, chunk, flat_sums, 0, sums.shape[1]
        )
        for i in range(count):
            for j in range(columns):
                out[start + i, j] = sums[i, j]
