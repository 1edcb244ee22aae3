# SPDX-License-Identifier: Apache-2.0
"""The exact integer square root, ``floor(sqrt(v))``; ``math.isqrt`` is its reference."""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel


@kernel
def isqrt_kernel(value):  # type: ignore[no-untyped-def]
    """Return ``floor(sqrt(value))`` of an int64 that is not negative, by Newton from above.

    The start ``2^ceil(bits/2)`` is never below the root; from there the iterates fall until they
    reach it (Hacker's Delight, 2nd edition, section 11-1).
    """
    if value <= 0:
        return np.int64(0)
    bits = np.int64(0)
    rest = value
    while rest > 0:
        bits += 1
        rest >>= 1
    root = np.int64(1) << ((bits + 1) >> 1)
    while True:
        following = (root + value // root) >> 1
        if following >= root:
            return root
        root = following
