# SPDX-License-Identifier: Apache-2.0
"""Schema of a FloatGraph's node attributes: a table from operations to keys, types and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from aocq.capture.float_graph import FloatOp
from aocq.capture.interpreter import UNARY_FUNCTIONS
from simulator.numerics.hadamard import factors
from simulator.numerics.hadamard_orders import LARGEST_ORDER

MOST_DIMENSIONS = 16
LARGEST_TENSOR = 1 << 28  # elements: the attention of 16 heads over 4,096 tokens
# Of convolutions whose windows overlap: each position in the kernel becomes an op.
LARGEST_KERNEL = 64
# What scores can be multiplied by, in SCALE and by the gain of L2NORM.
SMALLEST_FACTOR, LARGEST_FACTOR = 2.0**-64, 2.0**64


def _known_function(name: str) -> str:
    if name not in UNARY_FUNCTIONS:
        raise ValueError(f"wanted one of {', '.join(UNARY_FUNCTIONS)}")
    return name


def _order_of_a_matrix(order: int) -> int:
    factors(order)  # refuses others
    return order


Axis = Annotated[int, Field(ge=0, lt=MOST_DIMENSIONS)]
Extent = Annotated[int, Field(ge=1, le=LARGEST_TENSOR)]
Offset = Annotated[int, Field(ge=0, le=LARGEST_TENSOR)]
Kernel = Annotated[int, Field(ge=1, le=LARGEST_KERNEL)]


class Attributes(BaseModel):
    """The attributes of an operation that has none."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Constant(Attributes):
    parameter: str


class _Linear(Attributes):
    weight: str
    bias: str | None


class _MatMul(Attributes):
    transpose_b: bool


class _Unary(Attributes):
    function: Annotated[str, AfterValidator(_known_function)]


class _LayerNorm(Attributes):
    weight: str | None
    bias: str | None
    epsilon: Annotated[float, Field(gt=0, le=1)]


class _L2Norm(Attributes):
    gain: str | None
    epsilon: Annotated[float, Field(gt=0, le=1)]


class _Scale(Attributes):
    factor: Annotated[float, Field(ge=SMALLEST_FACTOR, le=LARGEST_FACTOR)]


class _Hadamard(Attributes):
    order: Annotated[int, Field(ge=2, le=LARGEST_ORDER), AfterValidator(_order_of_a_matrix)]


class _OnAxis(Attributes):
    axis: Axis


class _Slice(_OnAxis):
    start: Offset
    stop: Extent
    step: Extent = 1


class _Transpose(Attributes):
    permutation: tuple[Axis, ...]


class _Roll(_OnAxis):
    shift: Extent


class _Pad(_OnAxis):
    before: Offset
    after: Offset


class _Patches(Attributes):
    kernel: tuple[Kernel, Kernel]
    stride: tuple[Extent, Extent]


ATTRIBUTES: Mapping[FloatOp, type[Attributes]] = MappingProxyType(
    {
        FloatOp.INPUT: Attributes,
        FloatOp.CONSTANT: _Constant,
        FloatOp.LINEAR: _Linear,
        FloatOp.MATMUL: _MatMul,
        FloatOp.SOFTMAX: Attributes,
        FloatOp.UNARY: _Unary,
        FloatOp.LAYERNORM: _LayerNorm,
        FloatOp.L2NORM: _L2Norm,
        FloatOp.ADD: Attributes,
        FloatOp.SCALE: _Scale,
        FloatOp.MEAN: _OnAxis,
        FloatOp.CONCAT: _OnAxis,
        FloatOp.SLICE: _Slice,
        FloatOp.RESHAPE: Attributes,
        FloatOp.TRANSPOSE: _Transpose,
        FloatOp.ROLL: _Roll,
        FloatOp.PAD: _Pad,
        FloatOp.PATCHES: _Patches,
        FloatOp.MASK: _Constant,
        FloatOp.HADAMARD: _Hadamard,
        FloatOp.REQUANTIZE: Attributes,
    }
)
