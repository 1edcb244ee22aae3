# SPDX-License-Identifier: Apache-2.0
"""The operations that are not integer arithmetic: declared, executed, counted and costed as such.

A method may leave operators in float (PTQ4ViT leaves Add, LayerNorm, Softmax and GELU). Tensors of
type ``f32`` hold their values. Every formula is computed in float64, sums in ascending index, and
rounded once to float32 at the end; ``x`` and the parameters are float32.
Integer products between float operators are a MatMul with multiplier 1 and shift 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from simulator.graph.op import Op, TensorId

FLOAT_ARITHMETIC = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Op):
    """Real numbers to codes, by a step or by thresholds.

    y = clamp(round_half_even(x / step) + z_y)         between the ends of the result's type
    y = lowest code of y + number of thresholds <= x   for codes that are not equally spaced

    step       : float constant, positive; its shape broadcasts against the tensor (one element, one
                 per channel [C], one per head [heads, 1, 1]); or none
    thresholds : float constant [n], strictly ascending, at most 2^bits - 1; or none
    Exactly one of both is given. A value that is not a number gives the lowest code.
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("step", "thresholds")

    a: TensorId
    step: TensorId | None
    thresholds: TensorId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantize(Op):
    """Codes, or raw sums of a MatMul, to real numbers: y = (a - z_a) * step + bias[c].

    step : float constant, positive; its shape broadcasts against the tensor as in Quantize
    bias : float constant [C], added before the rounding to float32; or none
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("step", "bias")

    a: TensorId
    step: TensorId
    bias: TensorId | None


class Function(StrEnum):
    """What a FloatFunction computes of its inputs a, b."""

    ADD = "add"  # a + b; b may be a constant without the leading dimensions of a
    LAYERNORM = "layernorm"  # (a - mean(a)) / sqrt(var(a) + epsilon) * weight[c] + bias[c]
    SOFTMAX = "softmax"  # exp(a - max(a)) / sum(exp(a - max(a))) over the last dimension
    GELU = "gelu"  # a / 2 * (1 + erf(a / sqrt(2)))
    GELU_TANH = "gelu_tanh"  # a / 2 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 * a³)))
    RELU = "relu"  # max(a, 0)
    SILU = "silu"  # a / (1 + exp(-a))
    HARDSWISH = "hardswish"  # a * min(max(a + 3, 0), 6) / 6
    MEAN = "mean"  # mean over dimension ``axis``
    SCALE = "scale"  # a * factor
    LINEAR = "linear"  # a weightᵀ + bias; weight [N, K]
    MATMUL = "matmul"  # a b, or a bᵀ with ``transpose_b``; two activations


ELEMENTWISE = frozenset(
    {
        Function.GELU,
        Function.GELU_TANH,
        Function.RELU,
        Function.SILU,
        Function.HARDSWISH,
        Function.SCALE,
    }
)
PRODUCTS = frozenset({Function.LINEAR, Function.MATMUL})
TWO_INPUTS = frozenset({Function.ADD, Function.MATMUL})


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatFunction(Op):
    """A function of real tensors: see :class:`Function` for the formulas.

    weight      : float constant, γ [C] of layernorm (none: 1) or the matrix [N, K] of linear
    bias        : float constant, β [C] of layernorm or [N] of linear; or none
    epsilon     : of layernorm, positive
    factor      : of scale, a float64
    axis        : of mean
    transpose_b : of matmul
    Parameters that a function has no use for keep their defaults. The order in which linear and
    matmul sum up is not defined; it depends neither on the batch nor on the number of threads.
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    operand_fields: ClassVar[tuple[str, ...]] = ("inputs",)
    constant_fields: ClassVar[tuple[str, ...]] = ("weight", "bias")

    function: Function
    inputs: tuple[TensorId, ...]
    weight: TensorId | None = None
    bias: TensorId | None = None
    epsilon: float = 0.0
    factor: float = 1.0
    axis: int = 0
    transpose_b: bool = False

    @property
    def kind(self) -> str:
        """The function with its arithmetic, as text and tables print it."""
        return f"float_{self.function}"
