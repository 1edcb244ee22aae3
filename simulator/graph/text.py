# SPDX-License-Identifier: Apache-2.0
"""A graph as text that two people can discuss over the phone: one line per op."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from simulator.graph.float_ops import Function
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.meta import graph_meta
from simulator.graph.names import printable
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Quantize,
    Requantization,
    Rescale,
    Reshape,
    ShiftGelu,
    Slice,
    SquaredDifference,
    Transpose,
)
from simulator.graph.ranges import bounds, code_range, signed_bits
from simulator.graph.softmax_text import SOFTMAX_FORMS
from simulator.graph.storage import sha256
from simulator.numerics.rescaling import LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding
from simulator.settings import typed


def text(graph: IntGraph) -> str:
    """Return the whole graph as text, header first; ops are numbered as in ``layers.csv``."""
    header = (
        f"graph {graph.name}   profile {graph.profile}   sha256 {sha256(graph)[:16]}…   "
        f"{len(graph.ops)} ops   {graph.float_ops} float   {graph.macs / 1e6:.2f} MMAC"
        f"{_network(graph)}"
    )
    names = [*graph.inputs, *(op.name for op in graph.ops)]
    width = max(len(name) for name in names)
    types = max(len(_type(graph.tensors[name])) for name in names)
    rows = [("", graph.tensors[name], "input") for name in graph.inputs]
    rows += [
        (str(index), graph.result(op), _describe(graph, op)) for index, op in enumerate(graph.ops)
    ]
    lines = [
        f"{index:>4}  {tensor.name:{width}}  {_type(tensor):{types}}  {_real(tensor)}{what}"
        for index, tensor, what in rows
    ]
    return "\n".join([header, *lines]) + "\n"


def _network(graph: IntGraph) -> str:
    """Return what ``meta`` says of the network: its classes, what it is built with."""
    meta = graph_meta(graph)
    if meta is None:
        return ""
    arguments = printable(typed(meta.model_arguments))
    return f"   {meta.classes} classes" + f"   built with {arguments}" * bool(arguments)


def _type(tensor: Tensor) -> str:
    return f"{tensor.type}[{','.join(map(str, tensor.shape))}]"


def _real(tensor: Tensor) -> str:
    if tensor.is_float:
        return " " * 21
    scale = f"s={tensor.scale[0]:<10.4g}" if len(tensor.scale) == 1 else " " * 12
    return f"{scale} z={tensor.zero_point:<5d} "


def _describe(graph: IntGraph, op: Op) -> str:
    return _FORMS[type(op)](graph, op)


def _requantization(graph: IntGraph, requantize: Requantization) -> str:
    multiplier = graph.constants[requantize.multiplier]
    words = [str(requantize.rounding)]
    if requantize.double_rounding is not DoubleRounding.NONE:
        words.append(f"twice {requantize.double_rounding}")
    if requantize.left_shift is LeftShift.WRAP:
        words.append("left shift wraps")
    if requantize.zero_point_stage is ZeroPointStage.BEFORE_ROUND:
        words.append("zero point before")
    words.append(str(requantize.overflow))
    if requantize.shift is None:
        factor = f"×{multiplier[0]:.6g}" if multiplier.size == 1 else f"×m[{multiplier.size}]"
        return f"→ {factor} {requantize.arithmetic} {' '.join(words)}"
    low, high = code_range(graph, requantize.shift)
    factor = f"×{int(multiplier[0])}" if multiplier.size == 1 else f"×m[{multiplier.size}]"
    shift = f"{low}" if low == high else f"{low}..{high}"
    return f"→ {factor} >> {shift} {' '.join(words)}"


def _accumulator(graph: IntGraph, op: MatMul | Mean) -> str:
    known = bounds(graph, op)
    assert known.accumulator is not None
    proof = "proven" if known.proven_free else "may need"
    return f"acc {op.accumulator}, {proof} {signed_bits(*known.accumulator)} bits"


def _matmul(graph: IntGraph, op: MatMul) -> str:
    b = graph.tensors[op.b]
    other = f"{b.name}ᵀ" if op.transpose_b else b.name
    if graph.is_constant(op.b):
        other = _type(b) + (f" + {graph.tensors[op.bias].type} bias" if op.bias else "")
    requantized = _requantization(graph, op.requantize)
    if op.residual_multiplier is not None:
        multiplier = graph.constants[op.residual_multiplier]
        factor = f"{int(multiplier[0])}" if multiplier.size == 1 else f"m[{multiplier.size}]"
        requantized += f" onto {op.residual} × {factor} >> {op.residual_fraction_bits}"
    return f"matmul {op.a} × {other}   {_accumulator(graph, op)}   {requantized}"


def _add(graph: IntGraph, op: Add) -> str:
    factors = [
        f"{int(codes[0])}" if codes.size == 1 else f"m[{codes.size}]"
        for codes in (graph.constants[op.multiplier_a], graph.constants[op.multiplier_b])
    ]
    return (
        f"add {op.a} × {factors[0]} + {op.b} × {factors[1]} >> {op.shift} "
        f"{op.rounding} {op.overflow}"
    )


def _constant(graph: IntGraph, name: str | None) -> str:
    """A float parameter: its value where it is one number, else its shape."""
    if name is None:
        return "none"
    values = graph.constants[name]
    return f"{float(values.item()):.4g}" if values.size == 1 else _type(graph.tensors[name])


def _quantize(graph: IntGraph, op: Quantize) -> str:
    if op.step is None:
        return f"quantize {op.a} by thresholds {_constant(graph, op.thresholds)}"
    return f"quantize {op.a} / {_constant(graph, op.step)} half_even saturate"


def _dequantize(graph: IntGraph, op: Dequantize) -> str:
    bias = f" + {_constant(graph, op.bias)} bias" if op.bias else ""
    return f"dequantize {op.a} × {_constant(graph, op.step)}{bias}"


def _float_function(graph: IntGraph, op: FloatFunction) -> str:
    described = [f"{op.kind} {', '.join(op.inputs)}{'ᵀ' * op.transpose_b}"]
    if op.weight or op.bias:
        described.append(f"weight {_constant(graph, op.weight)} bias {_constant(graph, op.bias)}")
    extras = {
        Function.LAYERNORM: f"epsilon {op.epsilon:g}",
        Function.SCALE: f"factor {op.factor:.6g}",
        Function.MEAN: f"over {op.axis}",
    }
    described.append(extras.get(op.function, ""))
    return "   ".join(part for part in described if part)


def _channel_factors(graph: IntGraph, op: LayerNorm) -> str:
    """Show the range of each kind of factor that channels have: `` × 3..255 << 0..2``."""
    shown = ""
    for sign, name in (("×", op.channel_multiplier), ("<<", op.channel_shift)):
        if name is not None:
            codes = graph.constants[name]
            shown += f" {sign} {codes.min()}..{codes.max()}"
    return shown


def _root(op: LayerNorm) -> str:
    if not op.root_steps:
        return "isqrt exact"
    start = f" from 2^{op.root_start_bits}" if op.root_start_bits else ""
    return f"isqrt {op.root_steps} Newton steps{start}"


def _common_scale(_: IntGraph, op: AddShifted | SquaredDifference) -> str:
    a = f"({op.a} << {op.input_left_shift} × {op.multiplier_a} >> {op.shift_a})"
    b = f"({op.b} << {op.input_left_shift} × {op.multiplier_b} >> {op.shift_b})"
    sign = "+" if isinstance(op, AddShifted) and not op.subtract else "-"
    rounding = str(op.rounding)
    if op.double_rounding is not DoubleRounding.NONE:
        rounding += f" twice {op.double_rounding}"
    return f"{op.kind} {a} {sign} {b}   → ×{op.multiplier} >> {op.shift} {rounding} {op.overflow}"


def _interpolated_lookup(graph: IntGraph, op: InterpolatedLookup) -> str:
    kept = f"{op.fraction_bits} bits between"
    return (
        f"interpolated_lookup {op.a} in table[{graph.tensors[op.table].size}], {kept} "
        f">> {op.shift} {op.rounding} {op.overflow}"
    )


def _gelu_polynomial(graph: IntGraph, op: GeluPolynomial) -> str:
    sign = "-" if op.negated else "+"
    low = "" if op.clip_low is None else f", codes from {op.clip_low}"
    return (
        f"gelu_polynomial {op.a}   clip {op.clip}{low}; {op.constant} {sign} d² >> "
        f"{op.erf_shift}, + {op.one} >> {op.sum_shift} in s{op.intermediate_bits}   "
        f"{_requantization(graph, op.requantize)}"
    )


_FORMS: Mapping[type[Op], Callable[[IntGraph, Any], str]] = MappingProxyType(
    {
        MatMul: _matmul,
        Rescale: lambda g, op: f"rescale {op.a} {_requantization(g, op.requantize)}",
        Add: _add,
        LayerNorm: lambda g, op: (
            f"layernorm {op.a}{_channel_factors(g, op)}   {_root(op)}, "
            f"2^-{op.sqrt_fraction_bits}; normalized 2^-{op.normalized_fraction_bits} × γ + "
            f"{f'(β << {op.beta_shift})' if op.beta_shift else 'β'} "
            f">> {op.shift} {op.rounding} {op.overflow}"
        ),
        **SOFTMAX_FORMS,
        Lookup: lambda g, op: f"lookup {op.a} in table[{g.tensors[op.table].size}]",
        Mean: lambda g, op: (
            f"mean {op.a} over {op.axis}{', kept' * op.keep_dimension}   {_accumulator(g, op)}   "
            f"{_requantization(g, op.requantize)}"
        ),
        AddShifted: _common_scale,
        SquaredDifference: _common_scale,
        Mul: lambda g, op: f"mul {op.a} × {op.b}   {_requantization(g, op.requantize)}",
        InterpolatedLookup: _interpolated_lookup,
        GeluPolynomial: _gelu_polynomial,
        ShiftGelu: lambda g, op: (
            f"shift_gelu {op.a}   octave {op.octave}, 2^-{op.fraction_bits}, σ {op.output_bits} "
            f"bits   {_requantization(g, op.requantize)}"
        ),
        LayerNormBisection: lambda g, op: (
            f"layernorm_bisection {op.a}   whole mean and root × weight + bias >> {op.shift} "
            f"{op.rounding} {op.overflow}"
        ),
        Concat: lambda g, op: f"concat {' ⧺ '.join(op.inputs)} along {op.axis}",
        Slice: lambda g, op: (
            f"slice {op.a} {op.start}:{op.stop}{f':{op.step}' * (op.step > 1)} of {op.axis}"
        ),
        Reshape: lambda g, op: f"reshape {op.a}",
        Transpose: lambda g, op: f"transpose {op.a} {op.permutation}",
        Quantize: _quantize,
        Dequantize: _dequantize,
        FloatFunction: _float_function,
    }
)
