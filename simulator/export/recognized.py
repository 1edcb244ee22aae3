# SPDX-License-Identifier: Apache-2.0
"""Which function a table holds: a graph says its entries only."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simulator.graph import IntGraph
from simulator.graph.ops import InterpolatedLookup, Lookup

Real = NDArray[np.float64]
NEAR = 1  # code: how far entries may be from the function's, however a tool rounded them
NEAR_SAMPLES = 4  # codes of 16 bits: samples give half of the interpolation's error


def _gelu(x: Real) -> Real:
    return np.asarray(x / 2 * (1 + np.array([math.erf(one / math.sqrt(2)) for one in x.tolist()])))


def _gelu_tanh(x: Real) -> Real:
    return np.asarray(x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def _sigmoid(x: Real) -> Real:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: Mapping[str, Callable[[Real], Real]] = MappingProxyType(
    {
        "gelu": _gelu,
        "gelu_tanh": _gelu_tanh,
        "relu": lambda x: np.maximum(x, 0),
        "silu": lambda x: x * _sigmoid(x),
        "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
        "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    }
)


def function_of(graph: IntGraph, op: Lookup | InterpolatedLookup) -> str | None:
    """Return the function of :data:`FUNCTIONS` whose rounded values a table holds, or None.

    Of several that are within a code everywhere, the one that differs least.
    """
    x, y = graph.tensors[op.a], graph.result(op)
    if len(x.scale) != 1 or len(y.scale) != 1:
        return None
    table = graph.constants[op.table].astype(np.int64)
    near, codes, zero_point = NEAR, np.arange(x.code_type.low, x.code_type.high + 1), y.zero_point
    if isinstance(op, InterpolatedLookup):
        step = 1 << op.fraction_bits
        near, codes = NEAR_SAMPLES, x.code_type.low + step * np.arange(len(table))
    real = np.asarray(x.scale[0] * (codes - x.zero_point), np.float64)
    best: tuple[float, str] | None = None
    for name, function in FUNCTIONS.items():
        wanted = np.floor(function(real) / y.scale[0] + 0.5) + zero_point
        apart = np.abs(np.clip(wanted, y.code_type.low, y.code_type.high) - table)
        if apart.max() <= near and (best is None or apart.sum() < best[0]):
            best = float(apart.sum()), name
    return None if best is None else best[1]
