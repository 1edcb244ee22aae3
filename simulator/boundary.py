# SPDX-License-Identifier: Apache-2.0
"""Where real numbers become codes and codes real numbers: the two ends of a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import Tensor
from simulator.numerics.float_type import Array, FloatType


def quantize(values: NDArray[np.floating], tensor: Tensor) -> Array:
    """Return ``clamp(round(values / scale) + zero_point)``, ties to even, as codes of ``tensor``.

    This is the host's part: the graph begins with its codes. Where the graph begins with real
    values, they are only rounded to float32.
    """
    if isinstance(tensor.type, FloatType):
        return values.astype(np.float32)
    scaled = np.rint(values.astype(np.float32) / np.asarray(tensor.scale, np.float32))
    codes = np.clip(scaled + tensor.zero_point, tensor.type.low, tensor.type.high)
    stored: Array = codes.astype(tensor.type.dtype)
    return stored


def dequantize(codes: Array, tensor: Tensor) -> NDArray[np.float64]:
    """Return ``scale * (codes - zero_point)``, for reports and for the arg-max of logits.

    Real values are returned as they are, in float64.
    """
    real: NDArray[np.float64] = codes.astype(np.float64)
    if isinstance(tensor.type, FloatType):
        return real
    real -= tensor.zero_point
    real *= np.asarray(tensor.scale)
    return real
