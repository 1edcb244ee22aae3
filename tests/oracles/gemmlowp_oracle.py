# SPDX-License-Identifier: Apache-2.0
"""gemmlowp's fixed-point functions, from Debian's header: the fixture ``gemmlowp``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from environments import HERE
from numpy.typing import ArrayLike


class Gemmlowp:
    """A program of ours, compiled against the header; all numbers are int32."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "gemmlowp"
        command = ["g++", "-O2", "-std=c++14", "-o", str(self._program), str(HERE / "gemmlowp.cpp")]
        subprocess.run(command, check=True)

    def high_mul(self, a: ArrayLike, b: ArrayLike) -> np.ndarray:
        """SaturatingRoundingDoublingHighMul: the high half of 2ab, rounded."""
        return self._run("high_mul", a, b)

    def divide_by_pot(self, a: ArrayLike, exponent: ArrayLike) -> np.ndarray:
        """RoundingDivideByPOT: a / 2^exponent, 0 <= exponent <= 31."""
        return self._run("divide_by_pot", a, exponent)

    def exp_on_negative_values(self, a: ArrayLike) -> np.ndarray:
        """Exponential of a number in Q5.26 that is not positive, in Q0.31."""
        return self._run("exp_on_negative_values", a)

    def one_over_one_plus_x(self, a: ArrayLike) -> np.ndarray:
        """1 / (1 + x) of a number in [0, 1) in Q0.31, in Q0.31."""
        return self._run("one_over_one_plus_x", a)

    def _run(self, function: str, *operands: ArrayLike) -> np.ndarray:
        columns = np.broadcast_arrays(*(np.asarray(operand) for operand in operands))
        table = np.stack(columns, axis=-1)
        stored = table.astype(np.int32)
        if not np.array_equal(stored, table):
            raise ValueError("operands do not fit 32 bits")
        result = subprocess.run(
            [str(self._program), function],
            input=stored.tobytes(),
            stdout=subprocess.PIPE,
            check=True,
        )
        return np.frombuffer(result.stdout, np.int32).reshape(columns[0].shape)
