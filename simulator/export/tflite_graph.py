# SPDX-License-Identifier: Apache-2.0
"""An IntGraph as a .tflite file, operator by operator, with the graph's names.

The file says what a converter would say: shapes, codes of constants, scales and zero points. No
multiplier, shift or table of ours goes into it; an engine derives its own, and where these would
not be the graph's, the graph is refused.

Three things are said in another way than in the graph:

- Bias: the graph's has the input's zero point folded in, a file's has not.
- Unsigned codes of 8 bits are stored as int8, 128 lower, with a zero point 128 lower; those of 15
  bits as int16.
- A scale factor has no operator in the graph: the same codes stand for other real values. In a
  file it is a RESHAPE to the same shape, whose result has its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.errors import InputError
from simulator.export import tflite_file
from simulator.export.real_numbers import unfolded_bias
from simulator.export.tflite_file import TfliteFile
from simulator.export.tflite_scales import (
    derives,
    factor_pairs,
    one_scale,
    other_operand,
    refuse_other_rounding,
    score_scale_of_file,
    table_operator,
    weight_scales,
)
from simulator.graph import IntGraph, Tensor
from simulator.graph.op import Op
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Rescale,
    Reshape,
    Slice,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
    op_name,
)
from simulator.numerics.common_scale import squared_difference_constants, sum_constants

Integers = NDArray[np.integer[Any]]
_XNNPACK_BITS = 20  # of the factors of its sums


def _lowered_by(tensor: Tensor) -> int:
    """How much lower than the graph's codes the file's are."""
    kind = tensor.code_type
    if not (kind.bits in {8, 16} if kind.signed else kind.bits in {8, 15}):
        raise InputError(f"tensor {tensor.name} is {kind}, of which it has no type")
    return 128 if not kind.signed and kind.bits == 8 else 0


def _stored_type(tensor: Tensor) -> str:
    return "int16" if tensor.code_type.bits > 8 else "int8"


def to_file(codes: Integers, tensor: Tensor) -> Integers:
    """Return the codes that a file stores for the graph's."""
    stored: Integers = (codes.astype(np.int64) - _lowered_by(tensor)).astype(_stored_type(tensor))
    return stored


def from_file(codes: Integers, tensor: Tensor) -> Integers:
    """Return the graph's codes for those of a file."""
    read: Integers = codes.astype(np.int64) + _lowered_by(tensor)
    return read


@dataclass
class Translation:
    """Ops of a graph as a file under construction, for a fixed number of images at a time.

    ``kinds`` names the operator that computes each tensor, by the tensor's name; ``inputs`` are the
    tensors that no op here computes.
    """

    graph: IntGraph
    images: int
    file: TfliteFile = field(default_factory=TfliteFile)
    tensors: dict[str, tflite_file.Tensor] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)

    def operand(self, name: str) -> tflite_file.Tensor:
        """Return a tensor that is there, a constant of the graph, or a new input."""
        if name not in self.tensors:
            constant = self.graph.constants.get(name)
            if constant is None:
                self.inputs.append(name)
            self.declare(self.graph.tensors[name], constant)
        return self.tensors[name]

    def at_scale(self, op: Op, name: str, scale: float) -> tflite_file.Tensor:
        """Return an operand whose codes are worth ``scale`` to this op."""
        source = self.graph.tensors[name]
        if scale == one_scale(self.graph, name):
            return self.operand(name)
        scaled = f"{op.name}/scaled"
        self.declare(replace(source, name=scaled, scale=(scale,)))
        shape = self.integers(f"{scaled}.shape", [self.images, *source.shape])
        self.file.op("RESHAPE", [self.operand(name), shape], [self.tensors[scaled]])
        return self.tensors[scaled]

    def integers(self, name: str, values: Sequence[int]) -> tflite_file.Tensor:
        """Add a constant of shapes or axes."""
        return self.file.tensor(name, "int32", data=np.array(values))

    def result(
        self, op: Op, kind: str, operands: Sequence[tflite_file.Tensor], **options: Any
    ) -> None:
        """Add the operator ``kind``, whose result has the op's name."""
        self.declare(self.graph.result(op))
        self.file.op(kind, operands, [self.tensors[op.name]], **options)
        self.kinds[op.name] = kind

    def declare(self, tensor: Tensor, constant: Integers | None = None) -> None:
        """Add a tensor."""
        scale = tensor.scale
        if len(scale) > 1:
            raise InputError(f"tensor {tensor.name} has a scale per channel, TFLite's have one")
        self.tensors[tensor.name] = self.file.tensor(
            tensor.name,
            _stored_type(tensor),
            (self.images, *tensor.shape),
            scale=scale[0] if scale else None,
            zero_point=tensor.zero_point - _lowered_by(tensor),
            data=None if constant is None else to_file(constant, tensor),
        )


def translate_op(translation: Translation, op: Op) -> None:
    """Add an op.

    Raises
    ------
    InputError
        If it has no form in TFLite, or engines would derive other constants; it is named.
    """
    rule = _RULES.get(type(op))
    try:
        if rule is None:
            raise InputError(f"{op_name(op)} is no operator of TFLite")
        rule(translation, op)
    except InputError as error:
        raise InputError(
            f"op {op.name} has no form in a .tflite file: {error}; lower the network for a tflm_ "
            "or litert_ profile"
        ) from error


def translated(graph: IntGraph, images: int) -> Translation:
    """Return a whole graph as a file that takes and yields codes [images, ...].

    Raises
    ------
    InputError
        See :func:`translate_op`.
    """
    found = Translation(graph, images)
    for op in graph.ops:
        translate_op(found, op)
    found.file.inputs = [found.operand(name) for name in graph.inputs]
    found.file.outputs = [found.tensors[name] for name in graph.outputs]
    return found


def _wants(op: Op, holds: bool) -> None:
    """Refuse constants that an engine would not derive from a file's scales."""
    if not holds:
        raise InputError(f"TFLite derives other constants of {op_name(op)} from these scales")


def _checked(graph: IntGraph, op: Any) -> None:
    """Refuse a requantization whose factor is not that of the operands' scales."""
    refuse_other_rounding(op.requantize)
    known = tuple(one_scale(graph, name) for name in op.operands)
    result = one_scale(graph, op.name)
    pairs = factor_pairs(graph, op.requantize)
    _wants(op, all(derives(*pair, known, result) for pair in pairs))


def _sum(found: Translation, op: Any) -> None:
    scales = [one_scale(found.graph, name) for name in (*op.operands, op.name)]
    constants = sum_constants(scales[0], scales[1], scales[2], op.input_left_shift)
    _wants(op, all(getattr(op, key) == value for key, value in constants._asdict().items()))
    operands = [found.operand(name) for name in op.operands]
    # Without the option, LiteRT takes 16-bit scales for powers of two.
    found.result(op, "SUB" if op.subtract else "ADD", operands, potScaleInt16=False)


def _xnnpack_sum(found: Translation, op: Any) -> None:
    graph, result = found.graph, one_scale(found.graph, op.name)
    for name, multiplier in zip(op.operands, (op.multiplier_a, op.multiplier_b), strict=True):
        wanted = round(np.ldexp(one_scale(graph, name) / result, op.shift))
        codes = graph.constants[multiplier]
        largest = max(int(graph.constants[one].max()) for one in (op.multiplier_a, op.multiplier_b))
        near = bool((np.abs(codes - wanted) <= 1).all())  # the quotient is a float32 number
        _wants(op, near and 1 << _XNNPACK_BITS <= largest <= 2 << _XNNPACK_BITS)
    found.result(op, "ADD", [found.operand(name) for name in op.operands], potScaleInt16=False)


def _squares(found: Translation, op: Any) -> None:
    scales = [one_scale(found.graph, name) for name in (*op.operands, op.name)]
    left_shift = op.input_left_shift
    constants = squared_difference_constants(scales[0], scales[1], scales[2], left_shift)
    _wants(op, all(getattr(op, key) == value for key, value in constants._asdict().items()))
    found.result(op, "SQUARED_DIFFERENCE", [found.operand(name) for name in op.operands])


def _mul(found: Translation, op: Any) -> None:
    _checked(found.graph, op)
    found.result(op, "MUL", [found.operand(name) for name in op.operands])


def _rescale(found: Translation, op: Any) -> None:
    _checked(found.graph, op)
    found.result(op, "QUANTIZE", [found.operand(op.a)])


def _product(found: Translation, op: Any) -> None:
    refuse_other_rounding(op.requantize)
    graph = found.graph
    if graph.is_constant(op.b):
        _layer(found, op)
        return
    scale_b, result = one_scale(graph, op.b), one_scale(graph, op.name)
    (pair,) = factor_pairs(graph, op.requantize)
    scale_a = one_scale(graph, op.a)
    if not derives(*pair, (scale_a, scale_b), result):
        scale_a = other_operand(pair, (scale_b,), result)
    operands = [found.at_scale(op, op.a, scale_a), found.operand(op.b)]
    found.result(op, "BATCH_MATMUL", operands, adjY=op.transpose_b)


def _layer(found: Translation, op: Any) -> None:
    graph, x = found.graph, found.graph.tensors[op.a]
    if op.residual is not None or not op.transpose_b or not x.code_type.signed:
        raise InputError(
            "a layer that ends on the residual stream or reads unsigned codes is none of TFLite's"
        )
    scale = weight_scales(graph, op)
    codes = graph.constants[op.b].astype(np.int64)
    bias_type = "int64" if _stored_type(x) == "int16" else "int32"
    bias, bias_name = unfolded_bias(graph, op), op.bias or f"{op.name}/bias"
    bias_scale = np.float32(one_scale(graph, op.a)) * scale
    operands = [
        found.operand(op.a),
        found.file.tensor(op.b, "int8", data=codes, scale=scale),
        found.file.tensor(bias_name, bias_type, data=bias, scale=bias_scale),
    ]
    found.result(op, "FULLY_CONNECTED", operands, keepNumDims=True)


def _mean(found: Translation, op: Any) -> None:
    refuse_other_rounding(op.requantize)
    axes = found.integers(f"{op.name}.axes", [op.axis + 1])
    found.result(op, "MEAN", [found.operand(op.a), axes], keepDims=op.keep_dimension)


def _softmax(found: Translation, op: Any) -> None:
    scale = score_scale_of_file(found.graph, op)
    found.result(op, "SOFTMAX", [found.at_scale(op, op.a, scale)], beta=1.0)


def _function(found: Translation, op: Any) -> None:
    kind, options = table_operator(found.graph, op)
    found.result(op, kind, [found.operand(op.a)], **options)


def _concat(found: Translation, op: Any) -> None:
    operands = []
    for name in op.inputs:
        if not found.graph.is_constant(name):
            operands.append(found.operand(name))
            continue
        # A constant is there for every image: concatenation does not broadcast.
        tensor = found.graph.tensors[name]
        every = np.broadcast_to(found.graph.constants[name], (found.images, *tensor.shape))
        operands.append(
            found.file.tensor(
                name,
                _stored_type(tensor),
                data=to_file(every, tensor),
                scale=one_scale(found.graph, name),
                zero_point=tensor.zero_point - _lowered_by(tensor),
            )
        )
    found.result(op, "CONCATENATION", operands, axis=op.axis + 1)


def _slice(found: Translation, op: Any) -> None:
    if op.step != 1:
        raise InputError("SLICE takes a run of elements, STRIDED_SLICE is not written")
    shape = found.graph.tensors[op.a].shape
    begin, size = [0] * (len(shape) + 1), [found.images, *shape]
    begin[op.axis + 1], size[op.axis + 1] = op.start, op.stop - op.start
    operands = [
        found.operand(op.a),
        found.integers(f"{op.name}.begin", begin),
        found.integers(f"{op.name}.size", size),
    ]
    found.result(op, "SLICE", operands)


def _reshape(found: Translation, op: Any) -> None:
    shape = [found.images, *found.graph.result(op).shape]
    found.result(op, "RESHAPE", [found.operand(op.a), found.integers(f"{op.name}.shape", shape)])


def _transpose(found: Translation, op: Any) -> None:
    order = [0, *(axis + 1 for axis in op.permutation)]
    operands = [found.operand(op.a), found.integers(f"{op.name}.permutation", order)]
    found.result(op, "TRANSPOSE", operands)


_RULES: Mapping[type[Op], Callable[[Translation, Any], None]] = MappingProxyType(
    {
        MatMul: _product,
        Add: _xnnpack_sum,
        AddShifted: _sum,
        Mul: _mul,
        SquaredDifference: _squares,
        Mean: _mean,
        Lookup: _function,
        SoftmaxGemmlowp: _softmax,
        SoftmaxLut513: _softmax,
        SoftmaxFloatTable: _softmax,
        Rescale: _rescale,
        Concat: _concat,
        Reshape: _reshape,
        Transpose: _transpose,
        Slice: _slice,
    }
)
