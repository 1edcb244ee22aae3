# SPDX-License-Identifier: Apache-2.0
"""Matrix products for commands that work without torch."""

from __future__ import annotations


def without_torch(gemm: str) -> str:
    """Return the matrix product to use, in place of ``auto`` the first that works without torch."""
    from simulator import gemm as products

    return products.without_torch(gemm)
