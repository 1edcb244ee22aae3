# SPDX-License-Identifier: Apache-2.0
"""Functions of one value in float64, in plain Python: references of float operators, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

ROOT_HALF = math.sqrt(0.5)
ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def gelu(x: float) -> float:
    """``x / 2 (1 + erf(x / √2))``."""
    return 0.5 * x * (1 + math.erf(x * ROOT_HALF))


def gelu_tanh(x: float) -> float:
    """GELU's approximation by the hyperbolic tangent."""
    return 0.5 * x * (1 + math.tanh(ROOT_2_OVER_PI * (x + CUBIC * x * x * x)))


def relu(x: float) -> float:
    """Negative values become 0."""
    return max(x, 0.0)


def silu(x: float) -> float:
    """``x / (1 + exp(-x))``."""
    small = math.exp(-abs(x))  # exp of a positive number may be too large
    return x * (1.0 if x >= 0 else small) / (1 + small)


def quick_gelu(x: float) -> float:
    """``x / (1 + exp(-1.702 x))``."""
    small = math.exp(-abs(1.702 * x))
    return x * (1.0 if x >= 0 else small) / (1 + small)


def hardswish(x: float) -> float:
    """``x * min(max(x + 3, 0), 6) / 6``."""
    return x * min(max(x + 3, 0.0), 6.0) / 6


REAL_FUNCTIONS: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {
        "gelu": gelu,
        "gelu_tanh": gelu_tanh,
        "relu": relu,
        "silu": silu,
        "hardswish": hardswish,
        "quick_gelu": quick_gelu,
    }
)
