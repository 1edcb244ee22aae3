# SPDX-License-Identifier: Apache-2.0
"""Matrix products for commands that work without torch."""

from __future__ import annotations


def without_torch(gemm: str) -> str:
    """Return the matrix product to use, in place of ``auto`` the first that works without torch."""
    from simulator.errors import EnvironmentProblem
    from simulator.gemm import backend

    for name in ("avx2", "blas") if gemm == "auto" else ():
        try:
            return backend(name).name
        except EnvironmentProblem:
            continue
    return "numba" if gemm == "auto" else gemm
