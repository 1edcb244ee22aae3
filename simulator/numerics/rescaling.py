# SPDX-License-Identifier: Apache-2.0
"""The choices that targets make when they rescale, apart from the rounding mode."""

from __future__ import annotations

from enum import StrEnum


class Arithmetic(StrEnum):
    """In what the product of a sum and its factor is computed."""

    FIXED_POINT = "fixed_point"  # integer multiplier, right shift
    FLOAT32 = "float32"  # XNNPACK, ONNX Runtime, Gemmini
    FLOAT64 = "float64"  # LiteRT's reference fully connected layer


class ZeroPointStage(StrEnum):
    """Whether the result's zero point is added to the rounded code or before rounding."""

    AFTER_ROUND = "after_round"  # TFLite, TOSA, ONNX Runtime
    BEFORE_ROUND = "before_round"  # the reference implementation of ONNX, Ascend


class LeftShift(StrEnum):
    """What becomes of a factor of 1 or more, whose shift is below 31."""

    WIDEN = "widen"  # the shift is smaller, the product as wide as it needs; TOSA
    WRAP = "wrap"  # the sum is shifted left in 32 bits, which wrap, then 31 to the right; TFLite
