# SPDX-License-Identifier: Apache-2.0
"""Parts of lines of text that several ops share."""

from __future__ import annotations

from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.op import Requantization, TensorId
from simulator.graph.ranges import code_range
from simulator.numerics.rescaling import LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding


def type_and_shape(tensor: Tensor) -> str:
    """Return a tensor's type and extents: ``s8[64,192]``."""
    return f"{tensor.type}[{','.join(map(str, tensor.shape))}]"


def factor(graph: IntGraph, name: TensorId) -> str:
    """Return a constant of integers: its value where it is one, else ``m[192]``."""
    codes = graph.constants[name]
    return f"{int(codes[0])}" if codes.size == 1 else f"m[{codes.size}]"


def requantization(graph: IntGraph, requantize: Requantization) -> str:
    """Return a requantization: ``→ ×m[192] >> 31..40 half_up saturate``."""
    words = [str(requantize.rounding)]
    if requantize.double_rounding is not DoubleRounding.NONE:
        words.append(f"twice {requantize.double_rounding}")
    if requantize.left_shift is LeftShift.WRAP:
        words.append("left shift wraps")
    if requantize.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        words.append("zero point before")
    words.append(str(requantize.overflow))
    if requantize.shift is None:
        multiplier = graph.constants[requantize.multiplier]
        shown = f"{multiplier[0]:.6g}" if multiplier.size == 1 else f"m[{multiplier.size}]"
        return f"→ ×{shown} {requantize.arithmetic} {' '.join(words)}"
    low, high = code_range(graph, requantize.shift)
    shift = f"{low}" if low == high else f"{low}..{high}"
    return f"→ ×{factor(graph, requantize.multiplier)} >> {shift} {' '.join(words)}"


def parameter(graph: IntGraph, name: TensorId | None) -> str:
    """Return a float constant: its value where it is one number, else its type and extents."""
    if name is None:
        return "none"
    values = graph.constants[name]
    if values.size == 1:
        return f"{float(values.item()):.4g}"
    return type_and_shape(graph.tensors[name])
