# SPDX-License-Identifier: Apache-2.0
"""Between real values and codes, in float arithmetic.

Operators that a method does not quantize stay in float, and say so: their ``arithmetic`` is
``float32``, and runs count them. Tensors of type ``f32`` hold their values. Formulas are computed
in float64, sums in ascending index, and rounded once to float32. Two implementations agree within
two units in the last place of float32; within this one, an image's bits depend neither on its batch
nor on the number of threads. Codes made of equal real values are equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from simulator.graph.graph import IntGraph
from simulator.graph.op import FLOAT_ARITHMETIC, Op, TensorId
from simulator.graph.ops.spec import OpSpec, no_intermediates
from simulator.graph.shapes import Shape, broadcasts, same_shape
from simulator.graph.text_parts import parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantize(Op):
    """Real values to codes, by a step or by thresholds.

    ::

        y = clamp(round_half_even(a / step) + z_y)         between the ends of y's type
        y = lowest code of y + number of thresholds <= a   for codes that are not equally spaced

    Exactly one of both is given. A value that is not a number gives the lowest code.

    Attributes
    ----------
    step
        float constant, positive; its shape broadcasts against the tensor: one element, one per
        channel [C], one per head [heads, 1, 1]
    thresholds
        float constant [n], strictly ascending, at most 2^bits - 1
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("step", "thresholds")

    a: TensorId
    step: TensorId | None
    thresholds: TensorId | None


def _quantize_rules(graph: IntGraph, op: Quantize) -> Iterator[str]:
    if op.step is not None:
        yield from _step_fits(graph, op.step, graph.result(op).shape)
    if (op.step is None) == (op.thresholds is None):
        yield "must have either a step or thresholds"
    if op.thresholds is None:
        return
    values, kind = graph.constants[op.thresholds], graph.result(op).code_type
    if values.ndim != 1 or not (np.diff(values) > 0).all():
        yield f"thresholds {op.thresholds}: must be a vector that ascends"
    elif len(values) >= 1 << kind.bits:
        yield f"{len(values)} thresholds {op.thresholds} for the {1 << kind.bits} codes of {kind}"


def _step_fits(graph: IntGraph, step: TensorId, shape: Shape) -> Iterator[str]:
    steps = graph.tensors[step].shape
    if not broadcasts(steps, shape):
        yield f"step {step} has shape {steps}, which does not broadcast to {shape}"
    elif graph.constants[step].min() <= 0:
        yield f"step {step}: must be positive"


def _quantize_text(graph: IntGraph, op: Quantize) -> str:
    if op.step is None:
        return f"{op.a} by thresholds {parameter(graph, op.thresholds)}"
    return f"{op.a} / {parameter(graph, op.step)} half_even saturate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequantize(Op):
    """Codes, often the sums of a MatMul, to real values.

    ::

        y = (a - z_a) * step + bias[c]

    Attributes
    ----------
    a
        codes of any integer type
    step
        float constant, positive; its shape broadcasts against the tensor as in :class:`Quantize`
    bias
        float constant [C], added before the rounding to float32; or none
    """

    arithmetic: ClassVar[str] = FLOAT_ARITHMETIC
    constant_fields: ClassVar[tuple[str, ...]] = ("step", "bias")

    a: TensorId
    step: TensorId
    bias: TensorId | None


def _dequantize_rules(graph: IntGraph, op: Dequantize) -> Iterator[str]:
    shape = graph.result(op).shape
    yield from _step_fits(graph, op.step, shape)
    if op.bias is not None:
        bias = graph.tensors[op.bias].shape
        if bias != shape[-1:]:
            yield f"bias {op.bias} has shape {bias}, wanted ({shape[-1]},)"


def _dequantize_text(graph: IntGraph, op: Dequantize) -> str:
    bias = f" + {parameter(graph, op.bias)} bias" if op.bias else ""
    return f"{op.a} × {parameter(graph, op.step)}{bias}"


SPECS = (
    OpSpec(
        op=Quantize,
        name="quantize",
        shape=same_shape,
        intermediates=no_intermediates,
        text=_quantize_text,
        rate="float",
        rules=_quantize_rules,
        own_shapes=("step", "thresholds"),
        real=frozenset({"operand", "constant"}),
    ),
    OpSpec(
        op=Dequantize,
        name="dequantize",
        shape=same_shape,
        intermediates=no_intermediates,
        text=_dequantize_text,
        rate="float",
        rules=_dequantize_rules,
        own_shapes=("step", "bias"),
        real=frozenset({"constant", "result"}),
    ),
)
