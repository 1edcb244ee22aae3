# SPDX-License-Identifier: Apache-2.0
"""TOSA's reference model, asked from the tests: the fixture ``tosa`` is a :class:`Tosa`.

Formulas: TOSA specification 1.0, sections on RESCALE, MATMUL and TABLE.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from oracle_process import OracleProcess


class Tosa:
    """The reference model, one operator at a time."""

    def __init__(self, process: OracleProcess) -> None:
        self._process = process

    def rescale(
        self,
        values: np.ndarray,
        multiplier: ArrayLike,
        shift: ArrayLike,
        *,
        rounding: Literal["single", "double"],
        input_type: Literal["int8", "int16", "int32", "int48"] = "int32",
        output_type: Literal["int8", "int16", "int32"] = "int8",
        input_zero_point: int = 0,
        output_zero_point: int = 0,
        scale32: bool = True,
    ) -> np.ndarray:
        """RESCALE.

        Parameters
        ----------
        values
            Integers of any shape; 48-bit ones as int64.
        multiplier, shift
            One number, or one per entry of the last dimension; 2 <= shift <= 62, and
            -2^(shift-1) <= value < 2^(shift-1) for every value.
        rounding
            SINGLE_ROUND or DOUBLE_ROUND; the latter is of the extension DOUBLEROUND and needs
            ``scale32``.
        scale32
            Multipliers of 32 bits; otherwise of 16, as for 48-bit values.

        Raises
        ------
        OracleError
            Where the specification's conditions are violated.
        """
        header = {
            "request": "rescale",
            "rounding": rounding,
            "input": input_type,
            "output": output_type,
            "input_zero_point": input_zero_point,
            "output_zero_point": output_zero_point,
            "scale32": scale32,
        }
        arrays = {
            "values": values,
            "multiplier": np.atleast_1d(np.asarray(multiplier, np.int64)),
            "shift": np.atleast_1d(np.asarray(shift, np.int64)),
        }
        return self._process.ask(header, arrays)["y"]

    def matmul(
        self, a: np.ndarray, b: np.ndarray, *, zero_points: tuple[int, int] = (0, 0)
    ) -> np.ndarray:
        """MATMUL of [B, M, K] and [B, K, N]: int8 to int32, int16 to int48 (as int64)."""
        header = {"request": "matmul", "input": a.dtype.name, "zero_points": zero_points}
        return self._process.ask(header, {"a": a, "b": b})["y"]

    def table(self, values: np.ndarray, table: ArrayLike) -> np.ndarray:
        """TABLE: int8 codes by 256 int8 entries, or int16 codes by 513 int16 entries (to int32)."""
        header = {"request": "table", "input": values.dtype.name}
        arrays = {"values": values, "table": np.asarray(table, values.dtype)}
        return self._process.ask(header, arrays)["y"]
