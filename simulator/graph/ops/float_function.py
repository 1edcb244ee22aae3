# SPDX-License-Identifier: Apache-2.0
"""Functions of real values: declared, executed, counted and costed as such.

Formulas are computed as those of :class:`Quantize`. An integer product between float operators is a
MatMul with multiplier 1 and shift 0, whose result has the type of the outermost register, followed
by a Dequantize. A Lookup turns the few-bit numbers that thresholds give into wide levels (twin
ranges, powers of two) before they are multiplied.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from simulator.graph.graph import IntGraph
from simulator.graph.op import FLOAT_ARITHMETIC, Op, TensorId
from simulator.graph.ops.spec import OpSpec, no_intermediates, operand_size, result_size
from simulator.graph.parameters import first_has_images, only_constants_broadcast
from simulator.graph.shapes import Shape, product_shape, sum_shape
from simulator.graph.text_parts import parameter


class Function(StrEnum):
    """Functions of a FloatFunction; its docstring has the formulas."""

    ADD = "add"
    LAYERNORM = "layernorm"
    L2NORM = "l2norm"
    SOFTMAX = "softmax"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    RELU = "relu"
    SILU = "silu"
    HARDSWISH = "hardswish"
    MEAN = "mean"
    SCALE = "scale"
    LINEAR = "linear"
    MATMUL = "matmul"


_PRODUCTS = frozenset({Function.LINEAR, Function.MATMUL})
_TWO_INPUTS = frozenset({Function.ADD, Function.MATMUL})
_NORMALIZING = frozenset({Function.LAYERNORM, Function.L2NORM})
_WITH_WEIGHT = _NORMALIZING | {Function.LINEAR}
_WITH_BIAS = frozenset({Function.LAYERNORM, Function.LINEAR})


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatFunction(Op):
    """A function of real tensors a and b, its ``inputs``.

    ::

        add        a + b; a constant b may repeat, as in Add
        layernorm  (a - mean(a)) / sqrt(var(a) + epsilon) * weight[c] + bias[c]
        l2norm     a / max(sqrt(sum(a²)), epsilon) * weight[h], over the last dimension
        softmax    exp(a - max(a)) / sum(exp(a - max(a))), over the last dimension
        gelu       a / 2 * (1 + erf(a / sqrt(2)))
        gelu_tanh  a / 2 * (1 + tanh(sqrt(2 / pi) * (a + 0.044715 * a^3)))
        relu       max(a, 0)
        silu       a / (1 + exp(-a))
        hardswish  a * min(max(a + 3, 0), 6) / 6
        mean       mean over dimension axis, never the last
        scale      a * factor
        linear     a weightᵀ + bias, weight [N, K]
        matmul     a b, or a bᵀ with transpose_b; two activations

    Parameters that a function has no use for keep their defaults. The order in which linear and
    matmul sum up is not defined; it depends neither on the batch nor on the number of threads.

    Attributes
    ----------
    weight
        float constant, γ [C] of layernorm (none: 1), the gain of l2norm, [1] or [H, 1, 1] with one
        for each index h of dimension -3 (none: 1), or the matrix [N, K] of linear
    bias
        float constant, β [C] of layernorm or [N] of linear; or none
    epsilon
        of layernorm and l2norm, positive
    factor
        of scale, a float64
    axis
        of mean
    transpose_b
        of matmul
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


def _name(op: FloatFunction) -> str:
    return f"float_{op.function}"


def _shape(op: FloatFunction, shapes: Sequence[Shape], result: Shape) -> Shape:
    count = 2 if op.function in _TWO_INPUTS else 1
    if len(shapes) != count:
        raise ValueError(f"{op.function} has {len(shapes)} inputs, wanted {count}")
    if not shapes[0] or not shapes[-1]:
        raise ValueError("an input without dimensions")
    a, b = shapes[0], shapes[-1]
    if op.function is Function.ADD:
        return sum_shape(shapes)
    if op.function is Function.MEAN:
        if not 0 <= op.axis < len(a) - 1:
            raise ValueError(f"axis {op.axis} of {a}: the last dimension holds the channels")
        return a[: op.axis] + a[op.axis + 1 :]
    if op.function is Function.MATMUL:
        product = product_shape(a, b, op.transpose_b)
        if len(a) != len(b):
            raise ValueError(f"cannot multiply {a} by {b}")
        return product
    if op.function is Function.LINEAR:
        return (*a[:-1], *result[-1:])  # the weight is held against both
    return a


def _batch(graph: IntGraph, op: FloatFunction) -> Iterator[str]:
    if op.function is Function.ADD:
        yield from only_constants_broadcast(graph, op, "add")
        return
    yield from first_has_images(graph, op)
    if op.function is Function.MATMUL:
        for name in op.inputs[1:2]:
            if graph.is_constant(name):
                yield f"operand {name} is a constant: use linear"


def _rules(graph: IntGraph, op: FloatFunction) -> Iterator[str]:
    channels = graph.result(op).shape[-1:]
    if not all(
        isinstance(value, float) and math.isfinite(value) for value in (op.epsilon, op.factor)
    ):
        yield "epsilon and factor must be finite floats"
    if op.function in _NORMALIZING and not op.epsilon > 0:
        yield f"epsilon {op.epsilon}: must be positive"
    if op.function not in _WITH_WEIGHT and (op.weight is not None or op.bias is not None):
        yield f"{op.function} has no weight and no bias"
    elif op.function not in _WITH_BIAS and op.bias is not None:
        yield f"{op.function} has no bias"
    if op.function is Function.LINEAR and op.weight is None:
        yield "linear needs a weight"
    wanted = channels
    if op.function is Function.LINEAR:
        wanted = (*channels, *graph.tensors[op.inputs[0]].shape[-1:])
    elif op.function is Function.L2NORM:
        heads = graph.result(op).shape[-3:-2]
        by_head = op.weight is not None and graph.tensors[op.weight].shape != (1,)
        wanted = (*heads, 1, 1) if by_head and heads else (1,)
    for field, name, shape in (("weight", op.weight, wanted), ("bias", op.bias, channels)):
        if name is not None and graph.tensors[name].shape != shape:
            yield f"{field} {name} has shape {graph.tensors[name].shape}, wanted {shape}"


def _macs(graph: IntGraph, op: FloatFunction) -> int:
    if op.function not in _PRODUCTS:
        return 0
    return graph.result(op).size * graph.tensors[op.inputs[0]].shape[-1]


def _elements(graph: IntGraph, op: FloatFunction) -> int:
    """Products have no array of multipliers: each multiply-accumulate counts as an element."""
    if op.function in _PRODUCTS:
        return _macs(graph, op)
    return (operand_size if op.function is Function.MEAN else result_size)(graph, op)


def _text(graph: IntGraph, op: FloatFunction) -> str:
    described = [f"{', '.join(op.inputs)}{'ᵀ' * op.transpose_b}"]
    if op.weight or op.bias:
        described.append(f"weight {parameter(graph, op.weight)} bias {parameter(graph, op.bias)}")
    extras = {
        Function.LAYERNORM: f"epsilon {op.epsilon:g}",
        Function.SCALE: f"factor {op.factor:.6g}",
        Function.MEAN: f"over {op.axis}",
    }
    described.append(extras.get(op.function, ""))
    return "   ".join(part for part in described if part)


SPECS = (
    OpSpec(
        op=FloatFunction,
        name=_name,
        shape=_shape,
        intermediates=no_intermediates,
        text=_text,
        rate="float",
        rules=_rules,
        batch=_batch,
        own_shapes=("weight", "bias"),
        real=frozenset({"operand", "constant", "result"}),
        macs=_macs,
        elements=_elements,
    ),
)
