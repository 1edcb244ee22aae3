# SPDX-License-Identifier: Apache-2.0
"""How the float network's values lie in the types that hold their codes, tensor by tensor."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aocq.records.run import QUANTILES, DistributionRecord
from simulator.graph import Tensor
from simulator.numerics.float_type import FloatType

_SAMPLED = 4096  # values of one batch that quantiles are taken of


class Distribution:
    """What is gathered of one tensor over batches: its ends, and values for its quantiles.

    Quantiles are those of at most :data:`_SAMPLED` values of each batch, evenly spaced in memory;
    the ends are those of all values.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor
        self._least, self._most = math.inf, -math.inf
        self._sample: list[NDArray[np.float32]] = []

    def add(self, values: NDArray[np.floating]) -> None:
        """Add the values of a batch, of any shape."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        self._least = min(self._least, float(flat.min()))
        self._most = max(self._most, float(flat.max()))
        step = -(-flat.size // _SAMPLED)
        self._sample.append(flat[::step].astype(np.float32))

    def record(self) -> DistributionRecord | None:
        """Return what a run's record says of it; None without a finite value."""
        if not self._sample or not math.isfinite(self._most - self._least):
            return None
        quantiles = np.quantile(np.concatenate(self._sample).astype(np.float64), QUANTILES)
        low, high = representable(self._tensor)
        return DistributionRecord(
            op=self._tensor.name,
            least=_brief(self._least),
            most=_brief(self._most),
            quantiles=[_brief(value) for value in quantiles],
            low=None if low is None else _brief(low),
            high=None if high is None else _brief(high),
        )


def _brief(value: float) -> float:
    """Return a value to six digits: a record is read by people too."""
    return float(f"{value:.6g}")


def representable(tensor: Tensor) -> tuple[float | None, float | None]:
    """Return the least and the largest real value that a code can stand for; None for floats.

    Of a tensor with a scale for each channel they are those of the channels with the widest range.
    """
    if isinstance(tensor.type, FloatType):
        return None, None
    scale = np.asarray(tensor.scale)
    return (
        float(np.min((tensor.type.low - tensor.zero_point) * scale)),
        float(np.max((tensor.type.high - tensor.zero_point) * scale)),
    )
