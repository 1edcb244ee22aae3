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
    scaled = np.rint(values.astype(np.float32) / np.float32(tensor.scale))
    codes = np.clip(scaled + tensor.zero_point, tensor.type.low, tensor.type.high)
    return codes.astype(tensor.type.dtype)


def dequantize(codes: IntArray, tensor: Tensor) -> NDArray[np.float64]:
    """Return ``scale * (codes - zero_point)``, for reports and for the arg-max of logits."""
    return (codes.astype(np.float64) - tensor.zero_point) * np.asarray(tensor.scale)
