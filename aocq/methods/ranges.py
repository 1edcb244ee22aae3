# SPDX-License-Identifier: Apache-2.0
"""Observed ranges, and quantizers of the full range or of least squared error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aocq.methods.code_kernels import squared_errors
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight
from aocq.methods.scale_form import ANY_SCALE, HALVINGS, Array, ScaleForm
from simulator.numerics.integer_type import IntType

if TYPE_CHECKING:
    from torch import Tensor

# Candidates of the search, as shares of the observed range.
SHRINK = np.linspace(1.0, 0.3, 71)
BINS = 2048
# Rows of weights fainter than this share of the largest have its scale times the share: a row of
# zeros has a scale at which a bias fits, and which serves other rows where all share one.
FAINTEST_ROW = 2.0**-12


@dataclass(slots=True)
class ObservedRange:
    """Smallest and largest value of a tensor over all images, and a histogram in between."""

    low: float = float("inf")
    high: float = float("-inf")
    histogram: NDArray[np.float64] | None = None

    def see(self, x: Tensor) -> None:
        """Widen the range to hold ``x``."""
        self.low = min(self.low, float(x.min()))
        self.high = max(self.high, float(x.max()))

    def count(self, x: Tensor, weights: Tensor | None = None) -> None:
        """Add ``x`` to the histogram over the final range; every value counts, none is sampled.

        A sparse sample misses the rare large values; a scale that clips those ruins the network.
        With ``weights``, of the shape of ``x`` or with one channel, a value counts so often. Values
        beyond the range count where it ends.

        Rounded to float32, so that values which differ in the last bits of float64 from CPU to CPU
        are in one bin.
        """
        if self.histogram is None:
            self.histogram = np.zeros(BINS)
        low = float(np.float32(self.low))
        # Wide enough for as many bins as there are, of values of this size.
        least = max(abs(low) * 1e-9, 1e-30)
        ends = (low, low + max(float(np.float32(self.high)) - low, least))
        values = x.float().double().clamp(*ends).flatten().numpy()
        often = None if weights is None else weights.double().expand_as(x).flatten().numpy()
        self.histogram += np.histogram(values, BINS, ends, weights=often)[0]


def activation_quantizer(
    low: float, high: float, bits: int, zero_point: str, form: ScaleForm = ANY_SCALE
) -> ActivationQuantizer:
    """Return the quantizer whose codes span ``low`` to ``high`` (and 0, which stays exact).

    Parameters
    ----------
    zero_point
        ``symmetric``: the zero point is 0; ``asymmetric``: it makes use of all codes
    form
        of the scale; the codes of a power of two may span more
    """
    int_type = IntType(bits=bits)
    low, high = min(low, 0.0), max(high, 0.0)
    if zero_point == "symmetric":
        scale = form.nearest(max(-low, high) / int_type.high or 1.0)
        return ActivationQuantizer(type=int_type, scale=scale, zero_point=0)
    scale = form.nearest((high - low) / (int_type.high - int_type.low) or 1.0)
    offset = int(np.clip(round(int_type.low - low / scale), int_type.low, int_type.high))
    return ActivationQuantizer(type=int_type, scale=scale, zero_point=offset)


def least_squares_quantizer(
    seen: ObservedRange, bits: int, zero_point: str, form: ScaleForm = ANY_SCALE
) -> ActivationQuantizer:
    """Return the quantizer of least squared error over the histogram, among shrunken ranges."""
    import torch

    assert seen.histogram is not None
    edges = np.linspace(seen.low, seen.high, BINS + 1)
    centres = torch.from_numpy((edges[:-1] + edges[1:]) / 2)
    weights = torch.from_numpy(seen.histogram)
    best, least = None, float("inf")
    for candidate in _shrunken(seen, bits, zero_point, form):
        error = float((weights * (candidate(centres) - centres) ** 2).sum())
        if error < least:
            best, least = candidate, error
    assert best is not None
    return best


def _shrunken(
    seen: ObservedRange, bits: int, zero_point: str, form: ScaleForm
) -> Iterator[ActivationQuantizer]:
    """Yield quantizers of ever smaller parts of the observed range.

    Powers of two: the one that clips nothing and those below, which clip both ends alike.
    """
    if not form.power_of_two:
        for share in SHRINK:
            yield activation_quantizer(seen.low * share, seen.high * share, bits, zero_point, form)
        return
    whole = activation_quantizer(seen.low, seen.high, bits, zero_point, form)
    # A shrunken range that fills all codes has the zero point of the range that it shrank from.
    filled = activation_quantizer(seen.low, seen.high, bits, zero_point)
    yield whole
    for halvings in range(1, HALVINGS + 1):
        yield replace(filled, scale=whole.scale * 0.5**halvings)


def row_magnitudes(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the magnitude that each row of a weight matrix [N, K] must reach, above 0, [N, 1]."""
    largest = np.abs(weight).max(axis=1, keepdims=True)
    reached: NDArray[np.float64] = np.maximum(largest, FAINTEST_ROW * (largest.max() or 1.0))
    return reached


def quantize_weight(
    weight: Tensor, bits: int, granularity: str, search: str, form: ScaleForm = ANY_SCALE
) -> QuantizedWeight:
    """Quantize a weight matrix [N, K] symmetrically, one scale per row or one for all.

    ``search`` is ``minmax`` (nothing is clipped) or ``mse`` (the clipping of least squared error
    per row among :data:`SHRINK`), or powers of two (``form``) chosen by the same errors. Rounding,
    after the scale is chosen, is to nearest, ties to even.
    """
    int_type = IntType(bits=bits)
    real = weight.double().numpy()
    rows = real if granularity == "per_channel" else real.reshape(1, -1)
    full = row_magnitudes(rows) / int_type.high
    scale, least = form.nearest(full), np.full(full.shape, np.inf)
    rows = np.ascontiguousarray(rows)
    buffer, alike = np.empty_like(rows), np.ones(rows.shape[1])
    for candidate in form.candidates(full, SHRINK) if search == "mse" else []:
        squared_errors(rows, candidate, float(int_type.low), float(int_type.high), alike, buffer)
        error = buffer.sum(axis=1, keepdims=True)
        scale = np.where(error < least, candidate, scale)
        least = np.minimum(error, least)
    codes = _nearest_codes(rows, scale, int_type, buffer).reshape(real.shape)
    return QuantizedWeight(bits=bits, codes=codes.astype(np.int8), scale=scale[:, 0])


def _nearest_codes(rows: Array, scale: Array, int_type: IntType, buffer: Array) -> Array:
    """Return the codes of ``rows`` [N, K] under ``scale`` [N, 1], written into ``buffer``."""
    np.divide(rows, scale, out=buffer)
    np.rint(buffer, out=buffer)
    np.maximum(buffer, int_type.low, out=buffer)
    return np.minimum(buffer, int_type.high, out=buffer)
