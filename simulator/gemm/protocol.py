# SPDX-License-Identifier: Apache-2.0
"""Protocol of a backend: it prepares a right operand once, then multiplies left ones by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simulator.numerics.integer_type import IntArray

# Terms of 255 * 255 (u8 x u8) whose sum stays below 2^31.
LONGEST_INT32_SUM = 33_000

Product = Callable[[IntArray], IntArray]


class Gemm(Protocol):
    """A backend: prepares a right operand [K, N] once, then multiplies left operands [M, K]."""

    name: str

    def prepare(self, b: IntArray) -> Product:
        """Return a function that maps codes ``a`` [M, K] to the exact ``a @ b`` [M, N]."""
        ...
