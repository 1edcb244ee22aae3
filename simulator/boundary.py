# SPDX-License-Identifier: Apache-2.0
"""Quantization of a graph's inputs and dequantization of its outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.graph.graph import Tensor
from simulator.numerics.float_type import Array, FloatType

_FLOAT32_BITS = 24  # whole numbers up to 2^24 are all there in float32


def quantize(values: NDArray[np.floating], tensor: Tensor) -> Array:
    """Return ``clamp(round(values / scale) + zero_point)``, ties to even, as codes of ``tensor``.

    This is the host's part: the graph begins with its codes. Where the graph begins with real
    values, they are only rounded to float32.

    Raises
    ------
    InputError
        If the tensor does not say what its codes are worth, or a value is not a number.
    """
    if isinstance(tensor.type, FloatType):
        return values.astype(np.float32)
    _require_scale(tensor)
    if np.isnan(values).any():
        raise InputError(f"input {tensor.name}: has values that are not numbers")
    scaled = np.rint(values.astype(np.float32) / np.asarray(tensor.scale, np.float32))
    low, high = tensor.type.low, tensor.type.high
    if tensor.type.bits > _FLOAT32_BITS:
        # The ends of the type must be numbers of the arithmetic that clips to them.
        scaled = scaled.astype(np.float64)
        while float(high) > high:
            high = int(np.nextafter(float(high), 0))
    codes = np.clip(scaled + tensor.zero_point, low, high)
    stored: Array = codes.astype(tensor.type.dtype)
    return stored


def dequantize(codes: Array, tensor: Tensor) -> NDArray[np.float64]:
    """Return ``scale * (codes - zero_point)``, for reports and for the arg-max of logits.

    Real values are returned as they are, in float64.

    Raises
    ------
    InputError
        If the tensor does not say what its codes are worth.
    """
    real: NDArray[np.float64] = codes.astype(np.float64)
    if isinstance(tensor.type, FloatType):
        return real
    _require_scale(tensor)
    real -= tensor.zero_point
    real *= np.asarray(tensor.scale)
    return real


def _require_scale(tensor: Tensor) -> None:
    if not tensor.scale:
        raise InputError(
            f"tensor {tensor.name}: has no scale, so nobody knows what its codes are worth; give "
            "codes (--inputs) in place of images"
        )


def problem_of_storage(shape: tuple[int, ...], dtype: np.dtype[Any], tensor: Tensor) -> str | None:
    """Return why an array of such a shape and type cannot hold codes of ``tensor``, or None."""
    wanted = f"[images, {', '.join(map(str, tensor.shape))}]"
    if not shape or shape[1:] != tensor.shape:
        return f"codes of shape {shape} given, {wanted} wanted"
    if shape[0] == 0:
        return f"codes of shape {shape} given: no images, {wanted} wanted"
    if dtype != tensor.type.dtype:
        return f"codes of type {dtype} given, {tensor.type.dtype} ({tensor.type}) wanted"
    return None


def problem_of_codes(codes: Array, tensor: Tensor) -> str | None:
    """Return why ``codes`` [images, ...] are no codes of ``tensor``; None if they are."""
    problem = problem_of_storage(codes.shape, codes.dtype, tensor)
    if problem is not None:
        return problem
    if isinstance(tensor.type, FloatType):
        finite = bool(np.isfinite(codes).all())
        return None if finite else "has values that are not finite numbers"
    for code in (int(codes.min()), int(codes.max())):  # a narrow type does not fill its storage
        if not tensor.type.low <= code <= tensor.type.high:
            return f"code {code} is outside {tensor.type}"
    return None
