# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products: backends by name, each proven exact on this CPU before it is used.

===========  ====================================================================================
``avx2``     our own tiles in vector registers (:mod:`simulator.simd.product.tile`), on x86 CPUs
             with AVX2: codes of 8 or 16 bits. Only here product and requantization are one pass.
``torch``    oneDNN's int8 product through ``torch._int_mm``, where torch is importable. On CPUs
             without VNNI some int8 products saturate inside, so extreme values are tried first.
``blas``     float32 BLAS through numpy, exact while every partial sum stays below 2^24: longer
             sums are split over K. Operands of at most 8 bits.
``numba``    a plain loop on 64-bit integers: any operands, always exact.
===========  ====================================================================================

All backends give the same integers; the tests hold them equal. Which one runs a product is chosen
by :mod:`simulator.product_choice`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from math import prod
from types import MappingProxyType

import numpy as np
from threadpoolctl import ThreadpoolController

from simulator.errors import EnvironmentProblem
from simulator.gemm.exactness import is_exact
from simulator.gemm.portable import BlasGemm, NumbaGemm, TorchGemm
from simulator.gemm.protocol import Gemm

# [M, K, N] of the product that backends are timed on: a layer of a small ViT.
PROBE = (197, 192, 576)
PROBE_OPERATIONS = 2 * prod(PROBE)


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


def _avx2_gemm() -> Gemm:
    from simulator.gemm.avx2 import Avx2Gemm

    return Avx2Gemm()


def _torch_gemm() -> Gemm:
    import torch

    return TorchGemm(torch)


BACKENDS: Mapping[str, Callable[[], Gemm]] = MappingProxyType(
    {"avx2": _avx2_gemm, "torch": _torch_gemm, "blas": BlasGemm, "numba": NumbaGemm}
)


UNTRIED = "not tried"
EXACT = "exact"
_probed: dict[str, str] = {}


def probe_results() -> dict[str, str]:
    """Return, per backend, ``exact``, why it cannot be used here, or that nobody asked for it."""
    return {name: _probed.get(name, UNTRIED) for name in BACKENDS}


@cache
def backend(name: str) -> Gemm:
    """Return a backend by name; all give the same integers.

    Raises
    ------
    EnvironmentProblem
        If there is none of this name, or it is not importable or not exact on this CPU.
    """
    if name not in BACKENDS:
        raise EnvironmentProblem(f"GEMM backend {name!r}: choose auto, {', '.join(BACKENDS)}")
    try:
        gemm = BACKENDS[name]()
    except ImportError as error:
        _probed[name] = f"cannot be imported ({error})"
        raise EnvironmentProblem(
            f"GEMM backend {name!r}: {_probed[name]}; use --gemm auto"
        ) from error
    _probed[name] = EXACT if is_exact(gemm) else "not exact on this CPU"
    if _probed[name] != EXACT:
        raise EnvironmentProblem(f"GEMM backend {name!r}: {_probed[name]}; use --gemm auto")
    return gemm


def limit_threads_of_this_thread(*gemms: Gemm) -> None:
    """Make products called from this worker thread use one core (torch counts per thread)."""
    for gemm in gemms:
        if isinstance(gemm, TorchGemm):
            gemm._torch.set_num_threads(1)


@cache
def _libraries() -> ThreadpoolController:
    """Return what limits numpy's BLAS: found once, for it reads the maps of the whole process."""
    return ThreadpoolController()


@contextmanager
def one_thread_per_worker(*gemms: Gemm) -> Iterator[None]:
    """Keep products to one core each while several workers call them; restore afterwards.

    The setting of a torch worker thread is also the default of threads that start later.
    """
    torch = next((gemm._torch for gemm in gemms if isinstance(gemm, TorchGemm)), None)
    with _libraries().limit(limits=1, user_api="blas"):
        if torch is None:
            yield
            return
        configured = torch.get_num_threads()
        try:
            yield
        finally:
            torch.set_num_threads(configured)
