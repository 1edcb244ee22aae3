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
    """IEEE 754 binary32. There is one instance, :data:`FLOAT32`."""

    @property
    def bits(self) -> int:
        """Width of an element."""
        return 32

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """The numpy type that holds an element."""
        return np.dtype(np.float32)

    def __str__(self) -> str:
        return "f32"


FLOAT32 = FloatType()
TensorType = IntType | FloatType


def parse_type(text: str) -> TensorType:
    """Read the form that ``str`` writes: ``f32``, or that of an integer type (``s8``, ``u4``).

    Raises
    ------
    ValueError
        If it is neither.
    """
    return FLOAT32 if text == "f32" else IntType.parse(text)
