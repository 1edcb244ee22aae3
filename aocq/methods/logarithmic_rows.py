# SPDX-License-Identifier: Apache-2.0
"""The quantizer of probabilities whose division by the row's sum comes after the product.

What a chip keeps of a score is how far below the largest of its row its exponential is, on a
logarithmic scale; see :class:`simulator.graph.ops.DeferredSoftmax`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_constants import levels_of_octaves

if TYPE_CHECKING:
    from torch import Tensor

LevelsPerOctave = Literal[1, 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogarithmicQuantizer:
    """Codes of rows of probabilities: ``c = floor(n log2(largest / p) + 1 / 2)``, n per octave.

    The highest code is also that of all that is further away. A code stands for its level over the
    sum of its row's levels, so that every row sums up to 1.

    Attributes
    ----------
    levels
        what codes are worth, 2^bits of them, falling from the largest
    """

    levels: tuple[int, ...]
    levels_per_octave: LevelsPerOctave

    @classmethod
    def of(cls, bits: int, levels_per_octave: LevelsPerOctave) -> LogarithmicQuantizer:
        """Return the quantizer with codes of so many bits."""
        levels = levels_of_octaves(bits, levels_per_octave)
        return cls(levels=levels, levels_per_octave=levels_per_octave)

    @property
    def bits(self) -> int:
        """Width of a code."""
        return (len(self.levels) - 1).bit_length()

    @property
    def type(self) -> IntType:
        """The type of codes."""
        return IntType(bits=self.bits, signed=False)

    @property
    def zero_point(self) -> int:
        """0: the code of a row's largest probability."""
        return 0

    @property
    def scale(self) -> float:
        """1: a product with such rows has the scale of what it is multiplied with."""
        return 1.0

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes of probabilities as whole numbers in their own float type."""
        octaves = (x.amax(-1, keepdim=True) / x).log2_()
        steps = octaves.mul_(self.levels_per_octave).add_(0.5).floor_()
        return steps.clamp_(max=len(self.levels) - 1)

    def integer_codes(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the codes of numpy's float64: those that :meth:`codes` yields."""
        with np.errstate(divide="ignore"):
            octaves = np.log2(x.max(-1, keepdims=True) / x)
        steps = np.floor(octaves * self.levels_per_octave + 0.5)
        return np.asarray(np.minimum(steps, len(self.levels) - 1), np.int64)

    def real(self, codes: Tensor) -> Tensor:
        """Return what rows of codes stand for."""
        levels = codes.new_tensor(self.levels)[codes.long()]
        return levels / levels.sum(-1, keepdim=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Quantize and dequantize rows of probabilities (fake quantization)."""
        return self.real(self.codes(x))
