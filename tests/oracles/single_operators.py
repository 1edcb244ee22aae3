# SPDX-License-Identifier: Apache-2.0
"""Matrix products and QUANTIZE as .tflite models of one operator, with their exact sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from lite_oracle import Engine, Lite
from numpy.typing import NDArray
from vectors import codes

from simulator.export.tflite_file import TfliteFile

Integers = NDArray[np.integer[Any]]
Reals = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales and zero points; the file holds them in float32, so these are float32 values."""

    x: float
    w: Reals  # [1] or [columns]
    y: float
    x_zero: int = 0
    y_zero: int = 0

    @property
    def factors(self) -> Reals:
        """What TFLite multiplies sums by: from float32 scales, in double precision."""
        return np.float64(self.x) * self.w / np.float64(self.y)


def scales(
    x: float, w: float | NDArray[Any], y: float, *, x_zero: int = 0, y_zero: int = 0
) -> Scales:
    """Round scales to float32."""
    return Scales(
        x=float(np.float32(x)),
        w=np.atleast_1d(np.float32(w)).astype(np.float64),
        y=float(np.float32(y)),
        x_zero=x_zero,
        y_zero=y_zero,
    )


def power_of_two(places: int, zero_points: tuple[int, int] = (0, 0)) -> Scales:
    """Scales by which sums are divided by 2^places exactly."""
    return scales(0.25, 0.125, 2.0 ** (places - 5), x_zero=zero_points[0], y_zero=zero_points[1])


@dataclass(frozen=True, kw_only=True)
class FullyConnected:
    """FULLY_CONNECTED of x [rows, depth] by weights [columns, depth]."""

    x: Integers
    weights: Integers
    bias: Integers
    scales: Scales
    bias_type: str = "int32"

    @property
    def sums(self) -> NDArray[np.int64]:
        """The accumulators [rows, columns], bias included."""
        x = self.x.astype(np.int64) - self.scales.x_zero
        return x @ self.weights.astype(np.int64).T + self.bias

    def run(self, lite: Lite, engine: Engine) -> Integers:
        """Return the codes [rows, columns] of an engine."""
        model, by = TfliteFile(), self.scales
        kind = self.x.dtype.name
        columns = len(self.weights)
        x = model.tensor("x", kind, self.x.shape, scale=by.x, zero_point=by.x_zero)
        w = model.tensor("w", "int8", data=self.weights, scale=by.w)
        bias = model.tensor("bias", self.bias_type, data=self.bias, scale=by.x * by.w)
        shape = (len(self.x), columns)
        y = model.tensor("y", kind, shape, scale=by.y, zero_point=by.y_zero)
        # LiteRT takes the bias of int16 layers for int64 unless it is told.
        told = (
            {"quantizedBiasType": "INT32"} if (kind, self.bias_type) == ("int16", "int32") else {}
        )
        model.op("FULLY_CONNECTED", [x, w, bias], [y], keepNumDims=True, **told)
        model.inputs, model.outputs = [x], [y]
        return lite.run(model, {"x": self.x}, engine=engine)["y"]


@dataclass(frozen=True, kw_only=True)
class BatchMatMul:
    """BATCH_MATMUL of x [batch, rows, depth] by b [batch, depth, columns]; b's zero point is 0."""

    x: Integers
    b: Integers
    scales: Scales

    @property
    def sums(self) -> NDArray[np.int64]:
        """The accumulators [batch, rows, columns]."""
        return (self.x.astype(np.int64) - self.scales.x_zero) @ self.b.astype(np.int64)

    def run(self, lite: Lite, engine: Engine) -> Integers:
        """Return the codes [batch, rows, columns] of an engine."""
        model, by = TfliteFile(), self.scales
        kind = self.x.dtype.name
        x = model.tensor("x", kind, self.x.shape, scale=by.x, zero_point=by.x_zero)
        b = model.tensor("b", kind, self.b.shape, scale=by.w[0])
        shape = (*self.x.shape[:-1], self.b.shape[-1])
        y = model.tensor("y", kind, shape, scale=by.y, zero_point=by.y_zero)
        model.op("BATCH_MATMUL", [x, b], [y])
        model.inputs, model.outputs = [x, b], [y]
        return lite.run(model, {"x": self.x, "b": self.b}, engine=engine)["y"]


def quantize(lite: Lite, engine: Engine, x: Integers, by: Scales) -> Integers:
    """QUANTIZE of codes at ``by.x`` to codes at ``by.y``; ``by.w`` is not used."""
    model = TfliteFile()
    kind = x.dtype.name
    source = model.tensor("x", kind, x.shape, scale=by.x, zero_point=by.x_zero)
    y = model.tensor("y", kind, x.shape, scale=by.y, zero_point=by.y_zero)
    model.op("QUANTIZE", [source], [y])
    model.inputs, model.outputs = [source], [y]
    return lite.run(model, {"x": x}, engine=engine)["y"]


def fully_connected(
    random: np.random.Generator,
    by: Scales,
    *,
    rows: int = 512,
    columns: int = 256,
    depth: int = 16,
    bits: int = 8,
    bias_type: str = "int32",
) -> FullyConnected:
    """Draw operands whose sums, times the scales' factor, are spread over the codes."""
    factor = float(np.median(by.factors))
    wanted = 2.0 ** (bits - 1) / factor  # a sum at the end of the codes
    largest = int(np.clip(wanted / (2 ** (bits - 1) * 0.6 * depth**0.5), 1, 127))
    weights = codes(random, (columns, depth), low=-largest, high=largest)
    reach = int(min(wanted / 4, 1 << 20)) + 1
    return FullyConnected(
        x=codes(random, (rows, depth), bits),
        weights=weights,
        bias=random.integers(-reach, reach + 1, columns),
        scales=by,
        bias_type=bias_type,
    )


def batch_matmul(
    random: np.random.Generator,
    by: Scales,
    *,
    batch: int = 4,
    rows: int = 197,
    columns: int = 197,
    depth: int = 16,
    bits: int = 8,
) -> BatchMatMul:
    """Draw two activations whose sums, times the scales' factor, are spread over the codes."""
    wanted = 2.0 ** (bits - 1) / float(by.factors[0])
    high = (1 << (bits - 1)) - 1
    largest = int(np.clip(wanted / (2 ** (bits - 1) * 0.6 * depth**0.5), 1, high))
    return BatchMatMul(
        x=codes(random, (batch, rows, depth), bits),
        b=codes(random, (batch, depth, columns), bits, low=-largest, high=largest),
        scales=by,
    )
