# SPDX-License-Identifier: Apache-2.0
"""Quantizers: uniform ones with channel factors, ones with given levels, integer weights.

Methods quantize torch's tensors with them, the lowering numpy's arrays, which needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from simulator.numerics.integer_type import IntType

if TYPE_CHECKING:
    from torch import Tensor

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivationQuantizer:
    """A uniform quantizer: ``code = clamp(round(x / (scale α)) + zero_point)``, ties to even.

    Attributes
    ----------
    alpha
        one positive factor for each index of ``axis``, or none: the tensor is held balanced, as
        ``x / α``, under one scale (AOCQ, doi 10.1631/FITEE.2400994)
    axis
        the dimension that ``alpha`` runs along, counted from the end, so that it means the same
        with a batch dimension in front: -1 are the channels, -3 the heads of attention
    table_scale
        where ``alpha`` balances the result of a function's table, the scale of the wide codes that
        the table yields and that are then rescaled channel by channel; 0: there is no such step
    """

    type: IntType
    scale: float
    zero_point: int
    alpha: tuple[float, ...] = ()
    axis: int = -1
    table_scale: float = 0.0

    def scales(self) -> Tensor:
        """Return ``scale α``, float64, shaped to broadcast with the tensor."""
        return (_as_tensor(self.alpha or (1.0,)) * self.scale).reshape(-1, *(1,) * (-1 - self.axis))

    def scale_array(self) -> Real:
        """Return :meth:`scales` as numpy's array."""
        scales: Real = np.array(self.alpha or (1.0,)) * self.scale
        return scales.reshape(-1, *(1,) * (-1 - self.axis))

    @property
    def span(self) -> tuple[int, int]:
        """Lowest and highest code, less the zero point."""
        return self.type.low - self.zero_point, self.type.high - self.zero_point

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes of ``x`` as whole numbers in its own float type."""
        return self.steps(x).add_(self.zero_point)

    def steps(self, x: Tensor) -> Tensor:
        """Return the codes of ``x`` less the zero point, as :meth:`codes`."""
        return self.ratio(x, self.scales().to(x)).round_().clamp_(*self.span)

    def integer_codes(self, x: Real) -> NDArray[np.int64]:
        """Return the codes of numpy's float64: those that :meth:`codes` yields."""
        if self.table_scale:
            x = np.rint(x / self.table_scale) * self.table_scale
        codes = np.clip(np.rint(x / self.scale_array()), *self.span) + self.zero_point
        return np.asarray(codes, np.int64)

    def ratio(self, x: Tensor, scales: Tensor) -> Tensor:
        """Return ``x / scales`` in a new tensor; ``x`` as the table yields it, where there is one.

        What follows can be done in place: new tensors would take as long as the arithmetic.
        """
        return self.through_table(x) / scales

    def through_table(self, x: Tensor) -> Tensor:
        """Return ``x`` in the wide codes of its table, where there is one."""
        if not self.table_scale:
            return x
        return (x / self.table_scale).round_().mul_(self.table_scale)

    def real(self, codes: Tensor) -> Tensor:
        """Return the real values of codes."""
        return (codes - self.zero_point) * self.scales().to(codes)

    def __call__(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` (fake quantization)."""
        scales = self.scales().to(x)
        return self.ratio(x, scales).round_().clamp_(*self.span).mul_(scales)


# A search quantizes by the same factors for hundreds of candidates and thousands of parts.
@lru_cache(maxsize=256)
def _as_tensor(factors: tuple[float, ...]) -> Tensor:
    import torch

    return torch.tensor(factors, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelQuantizer:
    """A quantizer to given levels, such as powers of two: ``x ≈ scale * level``.

    Attributes
    ----------
    levels
        whole numbers, ascending; what the codes stand for, and what enters matrix products
    thresholds
        one fewer than levels, ascending, in units of ``scale``: ``x`` takes level i if i
        thresholds are at most ``x / scale``
    bits
        of the stored code: 2^bits is at least the number of levels
    """

    levels: tuple[int, ...]
    thresholds: tuple[float, ...]
    scale: float
    bits: int

    @property
    def type(self) -> IntType:
        """The narrowest type that holds all levels."""
        low, high = self.levels[0], self.levels[-1]
        if low >= 0:
            return IntType(bits=max(high.bit_length(), 2), signed=False)
        return IntType(bits=max((-low - 1).bit_length(), high.bit_length()) + 1)

    @property
    def zero_point(self) -> int:
        """0: the real value of level 0 is 0."""
        return 0

    def codes(self, x: Tensor) -> Tensor:
        """Return the levels of ``x`` as whole numbers in its own float type."""
        import torch

        borders = torch.tensor(self.thresholds, dtype=torch.float64)
        index = torch.bucketize((x / self.scale).double(), borders, right=True)
        return torch.tensor(self.levels, dtype=x.dtype)[index]

    def steps(self, x: Tensor) -> Tensor:
        """Return the levels of ``x``, whose zero point is 0: as :meth:`codes`."""
        return self.codes(x)

    def integer_codes(self, x: Real) -> NDArray[np.int64]:
        """Return the levels of numpy's float64: those that :meth:`codes` yields."""
        index = np.searchsorted(self.thresholds, x / self.scale, side="right")
        return np.array(self.levels, np.int64)[index]

    def of_probability_codes(self, bits: int) -> LevelQuantizer:
        """Return the quantizer that first rounds ``x`` to a multiple of ``2^-bits``, half up.

        That is what a chip computes whose softmax yields unsigned codes of ``bits`` bits, and a
        table then levels: those that no code reaches are gone.
        """
        grid = np.arange(1 << bits) / (1 << bits)
        level_of_code = [int(level) for level in self.integer_codes(grid)]
        firsts = [
            code
            for code in range(1, len(level_of_code))
            if level_of_code[code] != level_of_code[code - 1]
        ]
        return LevelQuantizer(
            levels=(level_of_code[0], *(level_of_code[code] for code in firsts)),
            thresholds=tuple((code - 0.5) / (1 << bits) / self.scale for code in firsts),
            scale=self.scale,
            bits=self.bits,
        )

    def real(self, codes: Tensor) -> Tensor:
        """Return the real values of levels."""
        return codes * self.scale

    def __call__(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` (fake quantization)."""
        return self.real(self.codes(x))


Quantizer = ActivationQuantizer | LevelQuantizer | LogarithmicQuantizer


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedWeight:
    """Integer weights [N, K] and their scales, [N] or [1].

    ``weight ≈ codes * scale[n] / alpha[k]``: where the layer's input is held balanced, as
    ``x / α``, its columns carry α, so that the product of codes needs one factor per row only.

    Attributes
    ----------
    alpha
        the factors of the layer's input, [K], or none
    """

    bits: int
    codes: NDArray[np.int8]
    scale: NDArray[np.float64]
    alpha: tuple[float, ...] = ()

    def real(self) -> Real:
        """Return the real weights, float64 [N, K]."""
        columns = np.array(self.alpha or (1.0,))
        weights: Real = self.codes.astype(np.float64) * self.scale[:, None] / columns
        return weights

    def dequantized(self) -> Tensor:
        """Return the real weights as torch's tensor, float64 [N, K]."""
        import torch

        return torch.from_numpy(self.real())
