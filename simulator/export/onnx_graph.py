# SPDX-License-Identifier: Apache-2.0
"""An IntGraph as ONNX: every operator between DequantizeLinear and QuantizeLinear.

The form that onnxruntime and other tools read quantized networks in; they fuse what they have
integer kernels for and compute the rest in float32. Codes, zero points and factors are the graph's.
Layers are Gemm, because onnxruntime's integer kernel of that takes the bias as 32-bit codes; what
only moves values moves codes. Tables of functions that have an operator are that operator, others
are tables here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.export.onnx_deferred import DEFERRED
from simulator.export.onnx_file import OnnxFile, Value, same_everywhere
from simulator.export.onnx_float import float_function
from simulator.export.onnx_groups import GROUPS
from simulator.export.onnx_nonlinear import NONLINEAR
from simulator.export.real_numbers import (
    WIDEST_CODES,
    factors,
    layer_scales,
    power,
    residual_scales,
    result_scales,
    scales,
    unfolded_bias,
)
from simulator.graph import IntGraph
from simulator.graph.bounds import intermediates
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Dequantize,
    FloatFunction,
    MatMul,
    Mean,
    Mul,
    Quantize,
    Rescale,
    Reshape,
    Slice,
    SquaredDifference,
    Transpose,
    op_name,
)
from simulator.graph.ranges import holds
from simulator.numerics.integer_type import Overflow

OPSET = 21  # Gelu came with 20, 16-bit codes with 21
INT32 = (-(1 << 31), (1 << 31) - 1)


def describe(graph: IntGraph, images: int, *, offset: int = 0) -> OnnxFile:
    """Return a file that takes and yields codes [images, ...].

    Parameters
    ----------
    offset
        what is added to signed codes of activations: 0, they are int8, or 128, uint8

    Raises
    ------
    InputError
        If the graph holds something that the form has no words for; the op is named.
    """
    file = OnnxFile(graph=graph, images=images, offset=offset)
    for name in graph.inputs:
        tensor = graph.tensors[name]
        file.values[name] = Value(name=name, real=True) if tensor.is_float else file.stored(tensor)
    for op in graph.ops:
        rule = RULES.get(type(op))
        if rule is None:
            raise InputError(f"{op.name}: {op_name(op)} has no form in ONNX; nothing is written")
        file.owner, file.overflow = op.name, _overflow(graph, op)
        file.values[op.name] = rule(file, op)
    return file


def _overflow(graph: IntGraph, op: Op) -> Overflow:
    """Return what becomes of an op's codes outside their type.

    Raises
    ------
    InputError
        If they wrap, and its bounds do not say that there are none.
    """
    rules = [rule.overflow for rule in op.requantizations]
    overflow = rules[0] if rules else getattr(op, "overflow", Overflow.SATURATE)
    if overflow is not Overflow.WRAP:
        return overflow
    kind = graph.result(op).code_type
    for found in intermediates(graph, op):
        if found.name == "rounded" and not holds(kind, found.interval):
            raise InputError(
                f"{op.name}: its codes wrap, and may be {found.interval[0]} to "
                f"{found.interval[1]}, outside of {kind}; QuantizeLinear saturates. Quantize with "
                'overflow = "saturate" in the profile, or export another form'
            )
    return overflow


def ends(file: OnnxFile) -> dict[str, Any]:
    """Return the rest of a description: opset, inputs, outputs."""

    def end(name: str) -> dict[str, Any]:
        value, shape = file.values[name], file.graph.tensors[name].shape
        dtype = "float32" if value.real else value.dtype
        return {"name": value.name, "dtype": dtype, "shape": [file.images, *shape]}

    return {
        "opset": OPSET,
        "nodes": file.nodes,
        "inputs": [end(name) for name in file.graph.inputs],
        "outputs": [end(name) for name in file.graph.outputs],
    }


def _layer(file: OnnxFile, op: MatMul) -> Value:
    """Gemm of all rows; its operand and bias are codes."""
    graph, x = file.graph, file.operand(op.a)
    if x.real:
        raise InputError(f"{op.name}: reads real values; a layer of codes is wanted")
    kind = graph.tensors[op.b].code_type
    narrow = kind.signed and kind.bits <= 8
    if not narrow and kind.bits > WIDEST_CODES - (not kind.signed):
        raise InputError(f"{op.name}: its weights {op.b} are {kind}, too wide for QDQ form")
    codes = graph.constants[op.b].astype(np.int8 if narrow else np.int16)
    codes = np.ascontiguousarray(codes.T) if op.transpose_b else codes
    terms, columns = codes.shape
    found = layer_scales(graph, op)
    scale = found.weight.astype(np.float32)
    rows = file.add("Reshape", [x.name, file.shape(f"{op.name}/rows", [-1, terms])], f"{op.name}/a")
    a = file.read(replace(x, name=rows), op.name, np.array([found.operand]))
    b = file.add(
        "DequantizeLinear",
        [
            file.constant(f"{op.name}/b", codes),
            file.constant(f"{op.name}/b.scale", scale),
            file.constant(f"{op.name}/b.zero_point", np.zeros(columns, codes.dtype)),
        ],
        f"{op.name}/b.real",
        axis=1,
    )
    bias = _bias(file, op, np.float32(found.operand) * scale)
    real = file.add("Gemm", [a, b, bias], f"{op.name}/real")
    shape = file.shape(f"{op.name}/shape", [file.images, *graph.result(op).shape])
    if op.residual is not None:
        sums = file.add("Reshape", [real, shape], f"{op.name}/branch")
        stream = file.read(file.operand(op.residual), op.name, residual_scales(graph, op))
        return file.write(op.name, file.add("Add", [sums, stream], f"{op.name}/sum"))
    if not graph.result(op).is_float and graph.result(op).code_type.bits > WIDEST_CODES:
        return Value(name=file.add("Reshape", [real, shape], f"{op.name}/sums"), real=True)
    # Codes are reshaped, not real values: the integer kernel ends with them.
    value = file.write(op.name, real)
    node = file.nodes[-1]
    node["outputs"] = [f"{op.name}/rows.codes"]
    file.owners[f"{op.name}/rows.codes"] = op.name
    file.add("Reshape", [f"{op.name}/rows.codes", shape], op.name)
    return value


def _bias(file: OnnxFile, op: MatMul, scale: NDArray[np.float32]) -> str:
    codes = unfolded_bias(file.graph, op)
    if codes.min() < INT32[0] or codes.max() > INT32[1]:
        return file.constant(f"{op.name}/bias.real", np.float32(codes * scale.astype(np.float64)))
    return file.add(
        "DequantizeLinear",
        [
            file.constant(f"{op.name}/bias", codes.astype(np.int32)),
            file.constant(f"{op.name}/bias.scale", scale),
            file.constant(f"{op.name}/bias.zero_point", np.zeros(len(scale), np.int32)),
        ],
        f"{op.name}/bias.real",
        axis=0,
    )


def _product(file: OnnxFile, op: Any) -> Value:
    """A product with weights, or of two activations."""
    graph = file.graph
    if graph.is_constant(op.b):
        return _layer(file, op)
    a, b = file.operand(op.a), file.operand(op.b)
    if op.transpose_b:
        rank = len(graph.result(op).shape) + 1
        order = [*range(rank - 2), rank - 1, rank - 2]
        b = replace(b, name=file.add("Transpose", [b.name], f"{op.name}/turned", perm=order))
    known = graph.tensors[op.b].scale
    worth = np.array(known if len(known) == 1 else [1.0])
    sums = factors(graph, op.requantize) * result_scales(graph, op.name)
    factor = sums / worth
    same = same_everywhere(factor)
    operands = [
        file.read(a, f"{op.name}/0", factor if same else np.ones(1)),
        file.read(b, f"{op.name}/1", worth),
    ]
    real = file.add("MatMul", operands, f"{op.name}/real")
    if not same:
        by_column = file.real_constant(f"{op.name}/factor", factor)
        real = file.add("Mul", [real, by_column], f"{op.name}/scaled")
    return file.write(op.name, real)


def _columns(file: OnnxFile, name: str) -> int:
    return (file.graph.tensors[name].shape or (1,))[-1]


def _binary(file: OnnxFile, op: Op, kind: str, worth: Sequence[NDArray[np.float64]]) -> Value:
    operands = [
        file.read(file.operand(name), f"{op.name}/{index}", scale, _columns(file, name))
        for index, (name, scale) in enumerate(zip(op.operands, worth, strict=True))
    ]
    return file.write(op.name, file.add(kind, operands, f"{op.name}/real"))


def _add(file: OnnxFile, op: Any) -> Value:
    graph = file.graph
    worth = [
        graph.constants[name] * power(op.shift) * scales(graph, op.name)
        for name in (op.multiplier_a, op.multiplier_b)
    ]
    return _binary(file, op, "Add", worth)


def _at_common_scale(op: AddShifted | SquaredDifference) -> list[Any]:
    """Return what codes of both operands are worth at the scale at which they are added."""
    pairs = ((op.multiplier_a, op.shift_a), (op.multiplier_b, op.shift_b))
    left = 1 << op.input_left_shift
    return [np.array([left * multiplier]) * power(shift) for multiplier, shift in pairs]


def _add_shifted(file: OnnxFile, op: Any) -> Value:
    result = op.multiplier * power(op.shift) * scales(file.graph, op.name)
    worth = [common * result for common in _at_common_scale(op)]
    return _binary(file, op, "Sub" if op.subtract else "Add", worth)


def _squared_difference(file: OnnxFile, op: Any) -> Value:
    result = np.sqrt(op.multiplier * power(op.shift) * scales(file.graph, op.name))
    a, b = (
        file.read(file.operand(name), f"{op.name}/{index}", common * result, _columns(file, name))
        for index, (name, common) in enumerate(zip(op.operands, _at_common_scale(op), strict=True))
    )
    apart = file.add("Sub", [a, b], f"{op.name}/difference")
    return file.write(op.name, file.add("Mul", [apart, apart], f"{op.name}/real"))


def _mul(file: OnnxFile, op: Any) -> Value:
    graph = file.graph
    known = graph.tensors[op.b].scale
    worth = np.array(known if len(known) == 1 else [1.0])
    products = factors(graph, op.requantize) * scales(graph, op.name)
    return _binary(file, op, "Mul", [products / worth, worth])


def _rescale(file: OnnxFile, op: Any) -> Value:
    worth = factors(file.graph, op.requantize) * scales(file.graph, op.name)
    return file.write(op.name, file.read(file.operand(op.a), op.name, worth))


def _mean(file: OnnxFile, op: Any) -> Value:
    graph = file.graph
    count = graph.tensors[op.a].shape[op.axis]
    worth = factors(graph, op.requantize) * scales(graph, op.name) * count
    x = file.read(file.operand(op.a), op.name, worth)
    axes = file.shape(f"{op.name}/axes", [op.axis + 1])
    keep = int(op.keep_dimension)
    return file.write(op.name, file.add("ReduceMean", [x, axes], f"{op.name}/real", keepdims=keep))


def _concat(file: OnnxFile, op: Any) -> Value:
    names = []
    for name in op.inputs:
        if file.graph.is_constant(name):  # there for every image: concatenation does not broadcast
            codes = file.stored_constant(name)
            every = np.ascontiguousarray(np.broadcast_to(codes, (file.images, *codes.shape)))
            names.append(file.constant(name, every))
        else:
            names.append(file.operand(name).name)
    result = file.graph.result(op)
    file.add("Concat", names, op.name, axis=op.axis + 1)
    return Value(name=op.name, real=True) if result.is_float else file.stored(result)


def _moved(file: OnnxFile, op: Any, kind: str, *more: str, **attributes: Any) -> Value:
    """Return the value of an op that only moves those of another."""
    source = file.operand(op.a)
    file.add(kind, [source.name, *more], op.name, **attributes)
    return replace(source, name=op.name)


def _slice(file: OnnxFile, op: Any) -> Value:
    bounds = [
        file.shape(f"{op.name}/{word}", [extent])
        for word, extent in (
            ("start", op.start),
            ("stop", op.stop),
            ("axis", op.axis + 1),
            ("step", op.step),
        )
    ]
    return _moved(file, op, "Slice", *bounds)


def _reshape(file: OnnxFile, op: Any) -> Value:
    shape = [file.images, *file.graph.result(op).shape]
    return _moved(file, op, "Reshape", file.shape(f"{op.name}/shape", shape))


def _transpose(file: OnnxFile, op: Any) -> Value:
    order = [0, *(axis + 1 for axis in op.permutation)]
    return _moved(file, op, "Transpose", perm=order)


def _quantize(file: OnnxFile, op: Any) -> Value:
    if op.step is None:
        return _by_thresholds(file, op)
    step = file.constant(f"{op.name}/step", file.graph.constants[op.step].astype(np.float32))
    steps = file.add("Div", [file.operand(op.a).name, step], f"{op.name}/steps")
    tensor = file.graph.result(op)
    value = file.stored(tensor)
    parameters, _ = file.parameters(op.name, value, np.ones(1))
    clipped = file.clipped(op.name, steps, tensor, np.ones(1))
    file.add("QuantizeLinear", [clipped, *parameters], value.name)
    return value


def _by_thresholds(file: OnnxFile, op: Any) -> Value:
    """The lowest code plus the number of thresholds that a value reaches."""
    tensor = file.graph.result(op)
    value = file.stored(tensor)
    values = file.graph.constants[op.thresholds].astype(np.float32)
    thresholds = file.constant(f"{op.name}/thresholds", values)
    last = file.shape(f"{op.name}/last", [-1])
    one = file.add("Unsqueeze", [file.operand(op.a).name, last], f"{op.name}/one")
    reached = file.add("GreaterOrEqual", [one, thresholds], f"{op.name}/reached")
    ones = file.add("Cast", [reached], f"{op.name}/ones", to="int32")
    count = file.add("ReduceSum", [ones, last], f"{op.name}/count", keepdims=0)
    lowest = tensor.code_type.low + value.zero_point - tensor.zero_point
    low = file.constant(f"{op.name}/low", np.int32(lowest))
    code = file.add("Add", [count, low], f"{op.name}/code")
    file.add("Cast", [code], op.name, to=value.dtype)
    return value


def _dequantize(file: OnnxFile, op: Any) -> Value:
    x = file.read(file.operand(op.a), op.name, np.ones(1))
    step = file.constant(f"{op.name}/step", file.graph.constants[op.step].astype(np.float32))
    real = file.add("Mul", [x, step], f"{op.name}/scaled" if op.bias else op.name)
    if op.bias:
        bias = file.graph.constants[op.bias].astype(np.float32)
        real = file.add("Add", [real, file.constant(f"{op.name}/bias", bias)], op.name)
    return Value(name=real, real=True)


Rule = Callable[[OnnxFile, Any], Value]
RULES: Mapping[type[Op], Rule] = MappingProxyType(
    {
        MatMul: _product,
        Add: _add,
        AddShifted: _add_shifted,
        SquaredDifference: _squared_difference,
        Mul: _mul,
        Rescale: _rescale,
        Mean: _mean,
        Concat: _concat,
        Slice: _slice,
        Reshape: _reshape,
        Transpose: _transpose,
        Quantize: _quantize,
        Dequantize: _dequantize,
        FloatFunction: float_function,
        **NONLINEAR,
        **GROUPS,
        **DEFERRED,
    }
)
