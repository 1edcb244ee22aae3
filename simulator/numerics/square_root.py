# SPDX-License-Identifier: Apache-2.0
"""The exact integer square root, ``floor(sqrt(v))``; ``math.isqrt`` is its reference."""

from __future__ import annotations

import numpy as np

from simulator.numerics.jit import kernel


@kernel
def isqrt_kernel(value):  # type: ignore[no-untyped-def]
    """Return ``floor(sqrt(value))`` of any int64 that is not negative.

    For r, the exact result, of at most 32 bits, the float64 root of the float64 nearest to r² is r:
    that rounding moves the root by less than half a unit in the last place. Values from r² on have
    no smaller root, so the estimate is never too small. It is one too large where a value just
    below a square is rounded to the square. It is at most the root of 2^63, 3037000499 when
    floored, so its square is an int64.
    """
    if value <= 0:
        return np.int64(0)
    root = np.int64(np.sqrt(np.float64(value)))
    if root * root > value:
        root -= 1
    return root


def newton_root(value: int, steps: int, start_bits: int = 0) -> int:
    """Return what ``steps`` Newton steps make of the root of ``value``: plain Python integers.

    ``k <- floor((k + floor(value / k)) / 2)`` from ``2^ceil(bits / 2)``, or from ``2^start_bits``
    where that is not 0; all steps are done, whether or not they still change anything. From the
    first step on, k is never below ``floor(sqrt(value))``; it may end above, or one above and that
    in turn. The root of 0 is 0.
    """
    if value <= 0:
        return 0
    root = 1 << (start_bits or (value.bit_length() + 1) // 2)
    for _ in range(steps):
        root = (root + value // root) // 2
    return root


@kernel
def newton_root_kernel(value, steps, start_bits):  # type: ignore[no-untyped-def]
    """:func:`newton_root` on int64."""
    if value <= 0:
        return np.int64(0)
    bits = np.int64(0)
    rest = value
    while rest > 0:
        bits += 1
        rest >>= 1
    root = np.int64(1) << (start_bits if start_bits else (bits + 1) >> 1)
    for _ in range(steps):
        root = (root + value // root) >> 1
    return root


def bisect_root(value: int) -> int:
    """Return ``floor(sqrt(value))`` by halving an interval: plain Python integers.

    It is the root that ``math.isqrt`` gives; targets without a division find it in this way.
    """
    low, high = 0, 1 << (value.bit_length() + 1) // 2  # the high end is above the root
    while high - low > 1:
        middle = (low + high) // 2
        if middle * middle <= value:
            low = middle
        else:
            high = middle
    return low


@kernel
def bisect_root_kernel(value):  # type: ignore[no-untyped-def]
    """:func:`bisect_root` on int64, below 2^62."""
    bits = np.int64(0)
    rest = value
    while rest > 0:
        bits += 1
        rest >>= 1
    low = np.int64(0)
    high = np.int64(1) << ((bits + 1) >> 1)
    while high - low > 1:
        middle = (low + high) >> 1
        if middle * middle <= value:
            low = middle
        else:
            high = middle
    return low
