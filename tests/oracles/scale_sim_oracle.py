# SPDX-License-Identifier: Apache-2.0
"""SCALE-Sim, asked from the tests: the fixture ``scale_sim`` is a :class:`ScaleSim`."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from oracle_process import OracleProcess


class ScaleSim:
    """Matrix products on a systolic array without overlap, operands always at hand."""

    def __init__(self, process: OracleProcess) -> None:
        self._process = process

    def last_cycles(
        self,
        shapes: NDArray[np.int64],
        rows: int,
        columns: int,
        dataflow: Literal["os", "ws", "is"],
    ) -> NDArray[np.int64]:
        """Return what it reports as total cycles of products (m, k, n), shapes [count, 3].

        That is the index of the last cycle, counted from 0 (scalesim-project/SCALE-Sim issue 125).

        Raises
        ------
        OracleError
            Where SCALE-Sim fails.
        """
        array = {"rows": rows, "columns": columns, "dataflow": dataflow}
        answer = self._process.ask({"request": "cycles", "array": array}, {"shapes": shapes})
        assert not answer["stalls"].any()
        return answer["total"]
