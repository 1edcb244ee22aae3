# SPDX-License-Identifier: Apache-2.0
"""Results of kernels that write whole vectors: with room behind the last row."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from simulator.numerics.integer_type import IntArray

ROOM = 32  # codes that a kernel may write behind a row; the next row overwrites them


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes [...], and the same memory flat, with :data:`ROOM` more."""

    flat: IntArray
    codes: IntArray

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: np.dtype[np.integer]) -> Codes:
        """Allocate codes of a shape."""
        size = prod(shape)
        flat = np.empty(size + ROOM, dtype)
        return cls(flat, flat[:size].reshape(shape))
