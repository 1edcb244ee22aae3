# SPDX-License-Identifier: Apache-2.0
"""A QuantizedModel as ONNX: every operator between DequantizeLinear and QuantizeLinear.

The form that onnxruntime reads quantized networks in; it fuses what it has integer kernels for and
computes the rest in float32. Scales, zero points and codes are the model's own. Layers are Gemm,
because its integer kernel takes the bias as 32-bit codes; what only moves values moves codes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aocq.capture import FloatNode, FloatOp
from aocq.methods import QuantizedModel
from benchmarks.qdq_file import Description, Value
from simulator.errors import InputError

OPSET = 21  # Gelu came with 20, LayerNormalization with 17


def describe(
    model: QuantizedModel, images: int, *, offset: int = 0
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return a file that takes and yields codes [images, ...], and its initializers.

    Parameters
    ----------
    offset
        what is added to signed codes of activations: 0, they are int8, or 128, uint8

    Raises
    ------
    InputError
        If the model holds something in a way that the form has no words for.
    """
    file = Description(model=model, images=images, offset=offset)
    for node in model.graph.nodes:
        inputs = [file.values[name] for name in node.inputs]
        file.values[node.name] = _RULES[node.op](file, node, inputs)
    source, target = file.values[model.graph.input.name], file.values[model.graph.output.name]
    described = {
        "opset": OPSET,
        "nodes": file.nodes,
        "input": _end(source, images, model.graph.input),
        "output": _end(target, images, model.graph.output),
    }
    return described, file.constants


def _end(value: Value, images: int, node: FloatNode) -> dict[str, Any]:
    return {"name": value.name, "dtype": value.dtype, "shape": [images, *node.shape]}


def _moved(node: FloatNode, value: Value) -> Value:
    """Return the value of a node that only moves those of another."""
    return replace(value, name=f"{node.name}.moved")


def _image(file: Description, node: FloatNode, _: Sequence[Value]) -> Value:
    return file.codes(node)


def _token(file: Description, node: FloatNode, _: Sequence[Value]) -> Value:
    value, quantizer = file.codes(node), file.model.activations[node.name]
    real = file.model.graph.parameters[node.attributes["parameter"]]
    codes = quantizer.codes(real).numpy() - quantizer.zero_point + value.zero_point
    repeated = np.broadcast_to(codes.reshape(node.shape), (file.images, *node.shape))
    file.constant(value.name, repeated.astype(value.dtype))
    return value


def _linear(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    """Gemm of all rows; its operand, bias and result are codes."""
    (x,) = inputs
    weight = file.model.weights[node.attributes["weight"]]
    if weight.alpha:
        raise InputError(f"{node.name}: its weight carries the factors of its input's channels")
    columns, terms = weight.codes.shape
    if x.real:
        raise InputError(f"{node.name}: reads real values; onnxruntime is asked for integers")
    rows = file.add(
        "Reshape", [x.name, file.shape(f"{node.name}.rows", [-1, terms])], f"{node.name}.a"
    )
    scale = np.broadcast_to(weight.scale, columns).astype(np.float32)
    a = file.read(replace(x, name=rows), node.name)
    b = file.add(
        "DequantizeLinear",
        [
            file.constant(f"{node.name}.b", np.ascontiguousarray(weight.codes.T)),
            file.constant(f"{node.name}.b.scale", scale),
            file.constant(f"{node.name}.b.zero_point", np.zeros(columns, np.int8)),
        ],
        f"{node.name}.b.real",
        axis=1,
    )
    bias = file.add(
        "DequantizeLinear",
        [
            file.constant(f"{node.name}.bias", file.model.bias_codes(node).astype(np.int32)),
            file.constant(f"{node.name}.bias.scale", np.float32(x.scale) * scale),
            file.constant(f"{node.name}.bias.zero_point", np.zeros(columns, np.int32)),
        ],
        f"{node.name}.bias.real",
        axis=0,
    )
    result = file.write(node, file.add("Gemm", [a, b, bias], f"{node.name}.real"))
    return _reshape(file, node, [result])


def _matmul(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    a, b = inputs
    if node.attributes["transpose_b"]:
        rank = len(node.shape) + 1
        order = [*range(rank - 2), rank - 1, rank - 2]
        turned = file.add("Transpose", [b.name], f"{node.name}.turned", perm=order)
        b = replace(b, name=turned)
    operands = [file.read(value, f"{node.name}.{index}") for index, value in enumerate((a, b))]
    return file.write(node, file.add("MatMul", operands, f"{node.name}.real"))


def _layernorm(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    channels = node.shape[-1]
    parameters = []
    for role, filler in (("weight", np.ones), ("bias", np.zeros)):
        name = node.attributes[role]
        values = (
            file.model.graph.parameters[name].float().numpy()
            if name
            else filler(channels, np.float32)
        )
        parameters.append(file.constant(f"{node.name}.{role}", values))
    operands = [file.read(inputs[0], node.name), *parameters]
    real = file.add(
        "LayerNormalization",
        operands,
        f"{node.name}.real",
        axis=-1,
        epsilon=float(node.attributes["epsilon"]),
    )
    return file.write(node, real)


def _unary(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    x, real = file.read(inputs[0], node.name), f"{node.name}.real"
    match node.attributes["function"]:
        case "gelu":
            file.add("Gelu", [x], real)
        case "gelu_tanh":
            file.add("Gelu", [x], real, approximate="tanh")
        case "relu":
            file.add("Relu", [x], real)
        case "silu":
            file.add("Mul", [x, file.add("Sigmoid", [x], f"{node.name}.sigmoid")], real)
        case other:
            raise InputError(f"{node.name}: no ONNX form of {other} is written")
    return file.write(node, real)


def _plain(kind: str, **attributes: Any) -> Callable[..., Value]:
    """Return the rule of an operator on real values."""

    def rule(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
        operands = [file.read(x, f"{node.name}.{index}") for index, x in enumerate(inputs)]
        return file.write(node, file.add(kind, operands, f"{node.name}.real", **attributes))

    return rule


def _scale(_: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    """Return the same codes: they stand for other values."""
    (x,) = inputs
    return replace(x, scale=x.scale * float(node.attributes["factor"]))


def _mean(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    axes = file.shape(f"{node.name}.axes", [node.attributes["axis"] + 1])
    x = file.read(inputs[0], node.name)
    return file.write(node, file.add("ReduceMean", [x, axes], f"{node.name}.real", keepdims=0))


def _concat(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    """Join codes where all parts have the result's scale; real values otherwise."""
    axis = node.attributes["axis"] + 1
    result = file.codes(node)
    if all((x.scale, x.zero_point) == (result.scale, result.zero_point) for x in inputs):
        file.add("Concat", [x.name for x in inputs], result.name, axis=axis)
        return result
    return _plain("Concat", axis=axis)(file, node, inputs)


def _slice(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    bounds = [
        file.shape(f"{node.name}.{name}", [extent])
        for name, extent in (
            ("start", node.attributes["start"]),
            ("stop", node.attributes["stop"]),
            ("axis", node.attributes["axis"] + 1),
        )
    ]
    if "step" in node.attributes:
        bounds.append(file.shape(f"{node.name}.step", [node.attributes["step"]]))
    moved = _moved(node, inputs[0])
    file.add("Slice", [inputs[0].name, *bounds], moved.name)
    return moved


def _reshape(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    moved = _moved(node, inputs[0])
    shape = file.shape(f"{node.name}.shape", [file.images, *node.shape])
    file.add("Reshape", [inputs[0].name, shape], moved.name)
    return moved


def _transpose(file: Description, node: FloatNode, inputs: Sequence[Value]) -> Value:
    moved = _moved(node, inputs[0])
    order = [0, *(axis + 1 for axis in node.attributes["permutation"])]
    file.add("Transpose", [inputs[0].name], moved.name, perm=order)
    return moved


_RULES: Mapping[FloatOp, Callable[[Description, FloatNode, Sequence[Value]], Value]] = (
    MappingProxyType(
        {
            FloatOp.INPUT: _image,
            FloatOp.CONSTANT: _token,
            FloatOp.LINEAR: _linear,
            FloatOp.MATMUL: _matmul,
            FloatOp.SOFTMAX: _plain("Softmax", axis=-1),
            FloatOp.UNARY: _unary,
            FloatOp.LAYERNORM: _layernorm,
            FloatOp.ADD: _plain("Add"),
            FloatOp.SCALE: _scale,
            FloatOp.MEAN: _mean,
            FloatOp.CONCAT: _concat,
            FloatOp.SLICE: _slice,
            FloatOp.RESHAPE: _reshape,
            FloatOp.TRANSPOSE: _transpose,
        }
    )
)
