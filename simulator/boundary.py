# SPDX-License-Identifier: Apache-2.0
"""Where real numbers become codes and codes real numbers: the two ends of a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.graph.graph import Tensor
from simulator.numerics.integer_type import IntArray


def quantize(values: NDArray[np.floating], tensor: Tensor) -> IntArray:
    """Return ``clamp(round(values / scale) + zero_point)``, ties to even, as codes of ``tensor``.

    This is the host's part: the graph begins with its codes.
    """
    scaled = np.rint(values.astype(np.float32) / np.asarray(tensor.scale, np.float32))
    codes = np.clip(scaled + tensor.zero_point, tensor.type.low, tensor.type.high)
    stored: IntArray = codes.astype(tensor.type.dtype)
    return stored


def dequantize(codes: IntArray, tensor: Tensor) -> NDArray[np.float64]:
    """Return ``scale * (codes - zero_point)``, for reports and for the arg-max of logits."""
    real: NDArray[np.float64] = codes.astype(np.float64)
    real -= tensor.zero_point
    real *= np.asarray(tensor.scale)
    return real
