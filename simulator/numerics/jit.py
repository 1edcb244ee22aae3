# SPDX-License-Identifier: Apache-2.0
"""The one place that calls Numba.

Compiled kernels are cached on disk in a folder named by a hash of all kernel sources: Numba's own
cache looks only at the file of a kernel and does not see edits in the functions it calls
(numba issue 9483), and it fails where the package's folder cannot be written (issue 4908).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import binding
from numba.core import config as numba_config

from simulator.config import cache_folder


@cache
def kernel_cache_folder() -> Path:
    """Return the cache folder that belongs to the kernel sources and Numba version of now."""
    digest = hashlib.sha256(numba.__version__.encode())
    package = Path(__file__).parent.parent
    folders = ("numerics", "gemm", "ops")
    for source in sorted(path for name in folders for path in package.glob(f"{name}/*.py")):
        digest.update(source.read_bytes())
    return cache_folder() / f"kernels-{digest.hexdigest()[:16]}"


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` at its first call: no GIL, no relaxed arithmetic.

    Kernels take arrays and integers, widen to int64 explicitly (Numba's int64 wraps silently, so
    :mod:`simulator.graph.ranges` proves that nothing passes 63 bits) and write into arrays that
    the caller allocated.
    """
    config: Any = numba_config  # its attributes are set at run time
    configured = config.CACHE_DIR
    config.CACHE_DIR = str(kernel_cache_folder())
    try:
        compiled: Callable[..., Any] = numba.njit(
            cache=True, nogil=True, fastmath=False, error_model="python", boundscheck=False
        )(function)
    finally:
        config.CACHE_DIR = configured
    return compiled


def has_avx2() -> bool:
    """Tell whether kernels are compiled for an x86 CPU with AVX2."""
    return is_compiling() and bool(binding.get_host_cpu_features().get("avx2"))


def is_compiling() -> bool:
    """Tell whether kernels are compiled; without (NUMBA_DISABLE_JIT) they run as plain Python."""
    config: Any = numba_config
    return not config.DISABLE_JIT
