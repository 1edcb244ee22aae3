# SPDX-License-Identifier: Apache-2.0
"""Matrix products that run anywhere: a plain loop, float32 BLAS, torch."""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.gemm.protocol import LONGEST_INT32_SUM, Product
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel


@kernel
def multiply_kernel(a, b, out):  # type: ignore[no-untyped-def]
    """``out[i, j] = sum_k a[i, k] * b[j, k]`` on int64; ``b`` holds the columns as rows."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            total = np.int64(0)
            for k in range(a.shape[1]):
                total += np.int64(a[i, k]) * np.int64(b[j, k])
            out[i, j] = total


class NumbaGemm:
    """A plain loop."""

    name = "numba"

    def prepare(self, b: IntArray) -> Product:
        """See :class:`Gemm`."""
        columns = np.ascontiguousarray(b.T)

        def product(a: IntArray) -> IntArray:
            out = np.empty((a.shape[0], columns.shape[0]), np.int64)
            multiply_kernel(np.ascontiguousarray(a), columns, out)
            return out

        return product


class BlasGemm:
    """Float32 BLAS over blocks of K short enough for 24-bit mantissas."""

    name = "blas"

    def prepare(self, b: IntArray) -> Product:
        """See :class:`Gemm`."""
        if b.dtype.itemsize > 1 or len(b) > LONGEST_INT32_SUM:
            return NumbaGemm().prepare(b)
        # 255 * 128 is the largest product of two 8-bit codes (u8 x s8).
        block = (1 << 24) // (255 * 128 if b.dtype == np.int8 else 255 * 255)
        parts = [
            np.ascontiguousarray(b[start : start + block], dtype=np.float32)
            for start in range(0, b.shape[0], block)
        ]

        def product(a: IntArray) -> IntArray:
            if a.dtype.itemsize > 1:
                return NumbaGemm().prepare(b)(a)
            codes = a.astype(np.float32)
            total = (codes[:, :block] @ parts[0]).astype(np.int32)
            for index, part in enumerate(parts[1:], start=1):
                start = index * block
                total += (codes[:, start : start + block] @ part).astype(np.int32)
            return total

        return product


class TorchGemm:
    """``torch._int_mm``: signed bytes; an unsigned left operand is shifted to signed and back."""

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def prepare(self, b: IntArray) -> Product:
        """See :class:`Gemm`."""
        if b.dtype != np.int8 or len(b) > LONGEST_INT32_SUM:
            return BlasGemm().prepare(b)
        # oneDNN is a little faster on a column-major right operand.
        columns = self._tensor(b.T).t()
        column_sums: list[IntArray] = []

        def product(a: IntArray) -> IntArray:
            if a.dtype == np.uint8:
                if not column_sums:
                    column_sums.append(128 * b.sum(axis=0, dtype=np.int32))
                signed = (a ^ np.uint8(128)).view(np.int8)
                out = self._multiply(signed, columns)
                out += column_sums[0]
                return out
            if a.dtype != np.int8:
                return NumbaGemm().prepare(b)(a)
            return self._multiply(a, columns)

        return product

    def _multiply(self, a: IntArray, columns: Any) -> IntArray:
        result: IntArray = self._torch._int_mm(self._tensor(a), columns).numpy()
        return result

    def _tensor(self, codes: IntArray) -> Any:
        # Torch warns of read-only arrays, although nothing here writes to them.
        return self._torch.from_numpy(np.require(codes, requirements=("C", "W")))
