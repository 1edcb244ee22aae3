# SPDX-License-Identifier: Apache-2.0
"""Forms of scales that a chip can hold: any, powers of two, or float32 numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from aocq.recipes.limits import ChipLimits

if TYPE_CHECKING:
    from torch import Tensor

Array = NDArray[np.float64]

# How many powers of two below the one that clips nothing a search tries: 2^-7 of the range is the
# last that leaves 8-bit codes with one bit.
HALVINGS = 7
# Smaller numbers lose bits in float32, and become 0 in the end.
SMALLEST_FLOAT32 = 2.0**-126


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleForm:
    """The form of a chip's scales.

    Attributes
    ----------
    power_of_two
        every scale is 2^k, so that the chip rescales by shifts alone (ESP-DL, DPU, VTA)
    float32
        every scale is a float32: files of TFLite and ONNX hold such scales, and the chip derives
        its multipliers from them
    """

    power_of_two: bool = False
    float32: bool = False

    @property
    def restricts(self) -> bool:
        """Whether there are scales that the chip cannot hold."""
        return self.power_of_two or self.float32

    @overload
    def nearest(self, scale: float) -> float: ...
    @overload
    def nearest(self, scale: Array) -> Array: ...
    @overload
    def nearest(self, scale: Tensor) -> Tensor: ...
    def nearest(self, scale: float | Array | Tensor) -> float | Array | Tensor:
        """Return the scale that the chip holds for ``scale`` (above 0; float64, by element).

        The smallest power of two that is not below it, so that nothing is clipped that was not
        before; the nearest float32; or ``scale`` itself. What has the form already stays.
        """
        if not self.restricts:
            return scale
        if isinstance(scale, np.ndarray):
            return self._nearest(scale)
        if isinstance(scale, (int, float, np.number)):
            return float(self._nearest(np.float64(scale)))
        import torch

        return torch.from_numpy(self._nearest(scale.numpy()))

    def _nearest(self, scale: Array | np.float64) -> Array:
        if self.power_of_two:
            share, exponent = np.frexp(scale)  # share is at least 1/2, and 1/2 for powers of two
            return np.asarray(np.ldexp(1.0, np.where(share > 0.5, exponent, exponent - 1)))
        in_float32 = np.asarray(scale).astype(np.float32).astype(np.float64)
        return np.asarray(np.maximum(in_float32, SMALLEST_FLOAT32))

    def below(self, scale: float) -> float:
        """Return the same, but of powers of two the largest that is not above ``scale``."""
        nearest = self.nearest(scale)
        return nearest / 2 if self.power_of_two and nearest > scale else nearest

    @overload
    def candidates(self, full: Array, shares: Iterable[float]) -> list[Array]: ...
    @overload
    def candidates(self, full: Tensor, shares: Iterable[float]) -> list[Tensor]: ...
    def candidates(
        self, full: Array | Tensor, shares: Iterable[float]
    ) -> list[Array] | list[Tensor]:
        """Return candidate scales for tensors, rows or heads whose range has the scale ``full``.

        Each candidate has the shape of ``full``: ``full`` times one of ``shares``, or for each
        element the power of two that clips nothing and the :data:`HALVINGS` ones below it.
        """
        if self.power_of_two:
            shares = [0.5**k for k in range(HALVINGS + 1)]
            full = self.nearest(full)
        if isinstance(full, np.ndarray):
            return [self.nearest(full * share) for share in shares]
        return [self.nearest(full * share) for share in shares]


ANY_SCALE = ScaleForm()


def weight_form(limits: ChipLimits) -> ScaleForm:
    """Return the form of a chip's weight scales."""
    powers = limits.weight_scale == "power_of_two"
    return ScaleForm(power_of_two=powers, float32=limits.float32_scales)


def activation_form(limits: ChipLimits) -> ScaleForm:
    """Return the form of a chip's activation scales."""
    powers = limits.activation_scale == "power_of_two"
    return ScaleForm(power_of_two=powers, float32=limits.float32_scales)
