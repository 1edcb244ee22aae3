# SPDX-License-Identifier: Apache-2.0
"""Memory for results of kernels that store whole registers, also over the end of the last row."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from simulator.numerics.integer_type import IntArray

PADDING = 32  # codes that a kernel may store behind a row; the next row overwrites them


@dataclass(frozen=True, slots=True)
class PaddedCodes:
    """Codes [...], and the same memory flat, with :data:`PADDING` codes more.

    Attributes
    ----------
    flat
        all the memory, one dimension
    codes
        a view of it without the padding
    """

    flat: IntArray
    codes: IntArray

    @classmethod
    def empty(cls, shape: tuple[int, ...], dtype: np.dtype[np.integer]) -> PaddedCodes:
        """Allocate codes of a shape."""
        size = prod(shape)
        flat = np.empty(size + PADDING, dtype)
        return cls(flat, flat[:size].reshape(shape))
