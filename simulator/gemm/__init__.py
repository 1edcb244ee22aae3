# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products by backends, each proven exact on this CPU before it is used."""

from simulator.gemm.exactness import is_exact
from simulator.gemm.portable import BlasGemm, NumbaGemm, TorchGemm
from simulator.gemm.protocol import Gemm, Product
from simulator.gemm.selection import (
    BACKENDS,
    PROBE_OPERATIONS,
    backend,
    limit_threads_of_this_thread,
    one_thread_per_worker,
    probe_results,
    seconds_of_a_product,
)

__all__ = [
    "BACKENDS",
    "PROBE_OPERATIONS",
    "BlasGemm",
    "Gemm",
    "NumbaGemm",
    "Product",
    "TorchGemm",
    "backend",
    "is_exact",
    "limit_threads_of_this_thread",
    "one_thread_per_worker",
    "probe_results",
    "seconds_of_a_product",
]
