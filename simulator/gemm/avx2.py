# SPDX-License-Identifier: Apache-2.0
"""Products by the tile kernel: exact on every CPU with AVX2, faster on those with VNNI."""

from __future__ import annotations

import numpy as np

from simulator.gemm.portable import BlasGemm, NumbaGemm
from simulator.gemm.protocol import LONGEST_INT32_SUM, Product
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2, kernel
from simulator.simd.product.packing import (
    STRIP_ROWS,
    Form,
    Packed,
    left_form,
    multiply_terms,
    pack,
    start_sums,
    take_rows,
)

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
        left = left_form(packed, a.dtype)
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
    """Multiply rows [M, K] strip by strip into ``out`` [M, N]."""
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        start_sums(initial, count, sums)
        multiply_terms(codes, count, first, last, panels, per_step, chunk, sums)
        for i in range(count):
            for j in range(out.shape[1]):
                out[start + i, j] = sums[i, j]
