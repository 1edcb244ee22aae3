# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products, by the fastest backend that is proven exact on this CPU.

===========  ====================================================================================
``torch``    oneDNN's int8 product through ``torch._int_mm``, where torch is importable. On CPUs
             without VNNI some int8 products saturate inside, so extreme values are tried first.
``blas``     float32 BLAS through numpy, exact while every partial sum stays below 2^24: longer
             sums are split over K. Operands of at most 8 bits.
``numba``    a plain loop on 64-bit integers: any operands, always exact.
===========  ====================================================================================

All backends give the same integers; the tests hold them equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from math import prod
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from simulator.errors import EnvironmentProblem
from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel

# Terms of 255 * 255 (u8 x u8) whose sum stays below 2^31.
LONGEST_INT32_SUM = 33_000
# [M, K, N] of the product that backends are timed on: a layer of a small ViT.
PROBE = (197, 192, 576)
PROBE_OPERATIONS = 2 * prod(PROBE)

Product = Callable[[IntArray], IntArray]


class Gemm(Protocol):
    """A backend: prepares a right operand [K, N] once, then multiplies left operands [M, K]."""

    name: str

    def prepare(self, b: IntArray) -> Product:
        """Return a function that maps codes ``a`` [M, K] to the exact ``a @ b`` [M, N]."""
        ...


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


def is_exact(gemm: Gemm) -> bool:
    """Try a backend on values that break inexact int8 products, against int64 arithmetic."""
    for a, b in _trials():
        if not np.array_equal(gemm.prepare(b)(a), a.astype(np.int64) @ b.astype(np.int64)):
            return False
    return True


def _trials() -> Iterator[tuple[IntArray, IntArray]]:
    """Extremes, which overflow 16 bits in pairs, and large odd sums, which float32 rounds."""
    shapes = ((3, 7, 5), (40, 192, 33), (17, 1600, 64))
    for left in ((-128, 127), (0, 255), (-128, -128), (255, 255)):
        for right in ((-128, 127), (-128, -128), (127, 127)):
            dtype = np.dtype(np.uint8 if max(left) > 127 else np.int8)
            for rows, terms, columns in shapes:
                a = np.resize(np.array([left, left[::-1]]), (rows, terms)).astype(dtype)
                yield a, np.resize(np.array(right), (terms, columns)).astype(np.int8)
    random = np.random.default_rng(0)
    for low, high, kind in ((64, 127, np.int8), (128, 255, np.uint8)):
        for rows, terms, columns in shapes:
            a = random.integers(low, high, (rows, terms), kind, endpoint=True)
            yield a, random.integers(64, 127, (terms, columns), np.int8, endpoint=True)


def seconds_of_a_product(gemm: Gemm) -> float:
    """Return how long a product of shape :data:`PROBE` takes on one core, the least of three."""
    random = np.random.default_rng(0)
    rows, terms, columns = PROBE
    a = random.integers(-128, 128, (rows, terms)).astype(np.int8)
    b = random.integers(-128, 128, (terms, columns)).astype(np.int8)
    product = gemm.prepare(b)
    found = []
    with one_thread_per_worker(gemm):
        limit_threads_of_this_thread(gemm)
        for _ in range(4):  # the first one warms up
            start = time.perf_counter()
            product(a)
            found.append(time.perf_counter() - start)
    return min(found[1:])


def _torch_gemm() -> Gemm:
    import torch

    return TorchGemm(torch)


BACKENDS: Mapping[str, Callable[[], Gemm]] = MappingProxyType(
    {"torch": _torch_gemm, "blas": BlasGemm, "numba": NumbaGemm}
)


@cache
def backend(name: str = "auto") -> Gemm:
    """Return a backend by name; ``auto`` takes the fastest that is importable and exact here.

    Which one that is depends on the CPU: without VNNI, torch's int8 product may be thirty times
    slower than float32 BLAS. All give the same integers.

    Raises
    ------
    EnvironmentProblem
        If the named backend is unknown, not importable, or not exact on this CPU.
    """
    if name == "auto":
        exact = []
        for candidate in BACKENDS:
            try:
                exact.append(backend(candidate))
            except EnvironmentProblem:
                continue
        if not exact:
            raise EnvironmentProblem("no matrix product on this CPU is exact, not even Numba's")
        return min(exact, key=seconds_of_a_product)
    if name not in BACKENDS:
        raise EnvironmentProblem(f"GEMM backend {name!r}: choose auto, {', '.join(BACKENDS)}")
    try:
        gemm = BACKENDS[name]()
    except ImportError as error:
        raise EnvironmentProblem(
            f"GEMM backend {name!r}: cannot be imported ({error}); use --gemm auto"
        ) from error
    if not is_exact(gemm):
        raise EnvironmentProblem(f"GEMM backend {name!r}: not exact on this CPU; use --gemm auto")
    return gemm


def limit_threads_of_this_thread(gemm: Gemm) -> None:
    """Make products called from this worker thread use one core (torch counts per thread)."""
    if isinstance(gemm, TorchGemm):
        gemm._torch.set_num_threads(1)


@contextmanager
def one_thread_per_worker(gemm: Gemm) -> Iterator[None]:
    """Keep products to one core each while several workers call them; restore afterwards.

    The setting of a torch worker thread is also the default of threads that start later.
    """
    with threadpool_limits(1, user_api="blas"):
        if not isinstance(gemm, TorchGemm):
            yield
            return
        configured = gemm._torch.get_num_threads()
        try:
            yield
        finally:
            gemm._torch.set_num_threads(configured)
