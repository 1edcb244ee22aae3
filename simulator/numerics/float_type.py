# SPDX-License-Identifier: Apache-2.0
"""The type of tensors that hold real numbers, beside the integer types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntType

# Codes of any integer type, or float32.
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class FloatType:
    """IEEE 754 binary32 or binary64: :data:`FLOAT32`, :data:`FLOAT64`.

    Activations are binary32; binary64 is for the factors of requantizations in that arithmetic.
    """

    bits: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that holds an element."""
        return np.dtype(f"float{self.bits}")

    def __str__(self) -> str:
        return f"f{self.bits}"


FLOAT32 = FloatType(32)
FLOAT64 = FloatType(64)
TensorType = IntType | FloatType


def parse_type(text: str) -> TensorType:
    """Read the form that ``str`` writes: ``f32``, ``f64`` or an integer type's (``s8``, ``u4``).

    Raises
    ------
    ValueError
        If it is neither.
    """
    real = {str(kind): kind for kind in (FLOAT32, FLOAT64)}
    return real.get(text) or IntType.parse(text)
