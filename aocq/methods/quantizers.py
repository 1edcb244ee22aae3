# SPDX-License-Identifier: Apache-2.0
"""Quantizers: uniform ones with channel factors, ones with given levels, integer weights.

Methods quantize torch's tensors with them, the lowering numpy's arrays, which needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

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


StepForm = Literal["multiplier", "power_of_two"]
SPARE_BITS = 8  # of reciprocals: the code's error is at most 2^-8 before it is rounded


def step_numerator(base: IntType, bits: int, share: float = 1.0) -> int:
    """Return what a group's largest magnitude divides: ``floor(q 2^S / share)``.

    q = 2^(bits-1) - 1 is the largest narrow code, S the bits of ``base`` and :data:`SPARE_BITS`.

    Parameters
    ----------
    base
        of the wide codes
    share
        of the largest magnitude that the largest code stands for, more than 0.5 and at most 1
    """
    return int((IntType(bits=bits).high << base.bits + SPARE_BITS) / share)


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicQuantizer:
    """A quantizer whose step is found as the chip runs, one for each group of neighbours.

    The tensor gets wide codes b of ``base``; in each ``group`` of the last dimension their
    largest magnitude m, at least 1, decides about the step, in steps of ``base``::

        multiplier:    m 2^S / numerator; r = floor(numerator / m)
                       code = floor(b r / 2^S + 1/2)
        power_of_two:  2^e with e = max(0, bit_length(m') - (bits - 1)),
                       m' = m - (m >> trim), or m where trim is 0
                       code = floor(b / 2^e + 1/2)

    and the code is fitted to ``bits``. A numerator of q 2^S, q = 2^(bits-1) - 1, gives the largest
    magnitude the largest code; a greater one, or a trim, clips it and makes the step smaller.

    A group of a whole row of a product's operand is a step per token (ZeroQuant, arXiv 2206.01861),
    groups with powers of two are blocks with a shared exponent (OCP Microscaling Formats v1.0).

    Attributes
    ----------
    base
        of the wide codes: one scale and the zero point 0
    bits
        of the narrow codes, which are signed
    group
        elements of the last dimension that share a step; divides it
    numerator
        of a multiplier's reciprocal, q 2^S to 2 q 2^S: see :func:`step_numerator`; 0 for powers
        of two
    trim
        of powers of two: how many places m is shifted before it is taken off, 1 to 7, or 0
    """

    base: ActivationQuantizer
    bits: int
    group: int
    form: StepForm
    numerator: int = 0
    trim: int = 0

    @property
    def type(self) -> IntType:
        """Of the narrow codes."""
        return IntType(bits=self.bits)

    @property
    def zero_point(self) -> int:
        """0: the largest magnitude decides, on either side."""
        return 0

    @property
    def reciprocal_bits(self) -> int:
        """S, places that a code times its reciprocal is shifted to the right."""
        return self.base.type.bits + SPARE_BITS

    @property
    def scale(self) -> float:
        """The real value of code 1 in a group whose factor (see :meth:`split`) is 1."""
        if self.form == "power_of_two":
            return self.base.scale
        return self.base.scale * 2.0**self.reciprocal_bits / self.numerator

    def on(self, base: ActivationQuantizer) -> DynamicQuantizer:
        """Return the quantizer on other wide codes, with the same share of the largest magnitude.

        On fewer bits its numerator is exactly that of :func:`step_numerator`.
        """
        longer = base.type.bits - self.base.type.bits
        numerator = self.numerator << longer if longer > 0 else self.numerator >> -longer
        return replace(self, base=base, numerator=numerator)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes [..., K] and the factor of each group [..., K / group], float64.

        Both are whole numbers: ``x`` is about ``scale * factor * code``. Factors are m, or 2^e.
        """
        import torch

        wide = self.base.steps(x).double().unflatten(-1, (-1, self.group))
        largest = wide.abs().amax(-1, keepdim=True).clamp_(min=1)
        if self.form == "multiplier":
            reciprocal = torch.floor(self.numerator / largest)
            codes, factors = wide.mul_(reciprocal).div_(2.0**self.reciprocal_bits), largest
        else:
            trimmed = largest - (largest / (1 << self.trim)).floor_() if self.trim else largest
            exponents = (torch.frexp(trimmed).exponent - (self.bits - 1)).clamp_(min=0)
            factors = torch.ldexp(torch.ones_like(largest), exponents)
            codes = wide.div_(factors)
        codes = codes.add_(0.5).floor_().clamp_(self.type.low, self.type.high)
        return codes.flatten(-2), factors.squeeze(-1)

    def codes(self, x: Tensor) -> Tensor:
        """Return the narrow codes of ``x`` as whole numbers in its own float type."""
        return self.split(x)[0].to(x.dtype)

    def steps(self, x: Tensor) -> Tensor:
        """Return the narrow codes, whose zero point is 0: as :meth:`codes`."""
        return self.codes(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Quantize and dequantize ``x`` (fake quantization)."""
        codes, factors = self.split(x)
        real: Tensor = codes.unflatten(-1, (-1, self.group)) * (factors * self.scale)[..., None]
        return real.flatten(-2).to(x.dtype)


StaticQuantizer = ActivationQuantizer | LevelQuantizer | LogarithmicQuantizer
Quantizer = StaticQuantizer | DynamicQuantizer


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
