# SPDX-License-Identifier: Apache-2.0
"""An IntGraph as .tflite models, operator by operator, with the graph's names.

The files say what a converter would say: shapes, codes of constants, scales and zero points. No
multiplier, shift or table of ours goes into them; an engine derives its own. What an IntGraph does
not hold (scales of weights, attention's scale factor) comes from the quantized model.

Three things are said in another way than in the graph:

- Bias: the graph's has the input's zero point folded in, a file's has not.
- Unsigned codes of 8 bits are stored as int8, 128 lower, with a zero point 128 lower; those of 15
  bits as int16.
- A scale factor has no operator in the graph: the same codes stand for other real values. In a
  file it is a RESHAPE to the same shape, whose result has its scale.

A graph is cut into pieces at operators that an engine does not have; another engine runs those. An
interpolated table has no operator in any: its results are inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import tflite_file
from lite_oracle import Engine, Lite
from numpy.typing import NDArray
from tflite_file import TfliteFile

from aocq.capture import FloatOp
from aocq.methods import QuantizedModel
from aocq.methods.layernorm_parts import part_name
from simulator.graph import IntGraph, Tensor
from simulator.graph.ops import (
    AddShifted,
    Concat,
    InterpolatedLookup,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Op,
    Rescale,
    Reshape,
    Slice,
    SoftmaxGemmlowp,
    SoftmaxLut513,
    SquaredDifference,
    Transpose,
)

Integers = NDArray[np.integer[Any]]
# What TensorFlow Lite Micro's interpreter has no kernel for, of the operators used here.
MISSING: Mapping[Engine, frozenset[str]] = MappingProxyType({Engine.TFLM: frozenset({"GELU"})})
INSTEAD = Engine.LITERT_REF


def _lowered_by(tensor: Tensor) -> int:
    """How much lower than the graph's codes the file's are."""
    kind = tensor.code_type
    assert kind.signed or kind.bits in {8, 15}, f"{tensor.name}: no file stores {kind}"
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
class Piece:
    """Consecutive operators that one engine runs: a file under construction.

    ``kinds`` names the operator that computes each tensor, by the tensor's name.
    """

    graph: IntGraph
    model: QuantizedModel
    images: int
    engine: Engine
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
            self._add(self.graph.tensors[name], constant)
        return self.tensors[name]

    def read(self, op: Op, position: int) -> tflite_file.Tensor:
        """Return an operand of an op that is a node of the network, as that node reads it."""
        nodes = self.model.graph
        name = nodes.node(op.name).inputs[position]
        if nodes.node(name).op is not FloatOp.SCALE:
            return self.operand(op.operands[position])
        if name not in self.tensors:
            source = self.graph.tensors[op.operands[position]]
            (scale,) = source.scale
            assert nodes.node(name).inputs == (source.name,)
            self._add(
                replace(source, name=name, scale=(scale * nodes.node(name).attributes["factor"],))
            )
            shape = self.integers(f"{name}.shape", [self.images, *source.shape])
            self.file.op("RESHAPE", [self.operand(source.name), shape], [self.tensors[name]])
        return self.tensors[name]

    def integers(self, name: str, values: Sequence[int]) -> tflite_file.Tensor:
        """Add a constant of shapes or axes."""
        return self.file.tensor(name, "int32", data=np.array(values))

    def result(
        self, op: Op, kind: str, operands: Sequence[tflite_file.Tensor], **options: Any
    ) -> None:
        """Add the operator ``kind``, whose result has the op's name."""
        self._add(self.graph.result(op))
        self.file.op(kind, operands, [self.tensors[op.name]], **options)
        self.kinds[op.name] = kind

    def _add(self, tensor: Tensor, constant: Integers | None = None) -> None:
        (scale,) = tensor.scale
        self.tensors[tensor.name] = self.file.tensor(
            tensor.name,
            _stored_type(tensor),
            (self.images, *tensor.shape),
            scale=scale,
            zero_point=tensor.zero_point - _lowered_by(tensor),
            data=None if constant is None else to_file(constant, tensor),
        )

    def run(self, lite: Lite, given: Mapping[str, Integers]) -> dict[str, Integers]:
        """Return the graph's codes of every result, from those of the inputs."""
        self.file.inputs = [self.tensors[name] for name in self.inputs]
        self.file.outputs = [self.tensors[name] for name in self.kinds]
        stored = {name: to_file(given[name], self.graph.tensors[name]) for name in self.inputs}
        found = lite.run(self.file, stored, engine=self.engine, all_tensors=True)
        return {name: from_file(found[name], self.graph.tensors[name]) for name in self.kinds}


def pieces(graph: IntGraph, model: QuantizedModel, engine: Engine, images: int) -> list[Piece]:
    """Translate a graph, or a part of one (:func:`graph_part.part`).

    Parameters
    ----------
    model
        what the graph was lowered from
    engine
        who is to run it; :data:`INSTEAD` runs what that one lacks
    images
        how many are run at a time
    """
    done: list[Piece] = []
    for op in graph.ops:
        if op.name in without_operator(graph):
            continue
        kind = _kind(op, graph, model)
        wanted = INSTEAD if kind in MISSING.get(engine, ()) else engine
        if not done or done[-1].engine is not wanted:
            done.append(Piece(graph, model, images, wanted))
        _RULES[type(op)](done[-1], op, kind)
    return done


def without_operator(graph: IntGraph) -> list[str]:
    """Return the results of interpolated tables: GELU of 16-bit codes is nobody's operator."""
    return [op.name for op in graph.ops if isinstance(op, InterpolatedLookup)]


def run_pieces(
    lite: Lite, translated: Collection[Piece], inputs: Mapping[str, Integers]
) -> dict[str, Integers]:
    """Return the graph's codes of every tensor, each piece reading what those before computed."""
    known = dict(inputs)
    for piece in translated:
        known |= piece.run(lite, known)
    return known


def _kind(op: Op, graph: IntGraph, model: QuantizedModel) -> str:
    """Return the operator that computes what an op does."""
    if isinstance(op, AddShifted):
        return "SUB" if op.subtract else "ADD"
    if isinstance(op, MatMul):
        return "FULLY_CONNECTED" if graph.is_constant(op.b) else "BATCH_MATMUL"
    if isinstance(op, Lookup):
        roots = {
            part_name(node.name, "inverse_root")
            for node in model.graph.nodes
            if node.op is FloatOp.LAYERNORM
        }
        return "RSQRT" if op.name in roots else "GELU"
    return _KINDS[type(op)]


def _plain(piece: Piece, op: Op, kind: str) -> None:
    piece.result(op, kind, [piece.operand(name) for name in op.operands])


def _sum(piece: Piece, op: Op, kind: str) -> None:
    # Without it, LiteRT takes 16-bit scales for powers of two.
    operands = [piece.operand(name) for name in op.operands]
    piece.result(op, kind, operands, potScaleInt16=False)


def _product(piece: Piece, op: Any, kind: str) -> None:
    if kind == "BATCH_MATMUL":
        piece.result(op, kind, [piece.read(op, 0), piece.read(op, 1)], adjY=op.transpose_b)
        return
    graph, x = piece.graph, piece.graph.tensors[op.a]
    codes = graph.constants[op.b].astype(np.int64)
    assert op.transpose_b
    assert op.residual is None
    assert x.code_type.signed
    node = piece.model.graph.node(op.name)
    scale = np.float32(piece.model.weights[node.attributes["weight"]].scale).reshape(-1)
    (scale_x,) = x.scale
    bias = graph.constants[op.bias].astype(np.int64) + x.zero_point * codes.sum(1)
    bias_type = "int64" if _stored_type(x) == "int16" else "int32"
    operands = [
        piece.operand(op.a),
        piece.file.tensor(op.b, "int8", data=codes, scale=scale),
        piece.file.tensor(op.bias, bias_type, data=bias, scale=np.float32(scale_x) * scale),
    ]
    piece.result(op, kind, operands, keepNumDims=True)


def _mean(piece: Piece, op: Any, kind: str) -> None:
    axes = piece.integers(f"{op.name}.axes", [op.axis + 1])
    piece.result(op, kind, [piece.operand(op.a), axes], keepDims=op.keep_dimension)


def _softmax(piece: Piece, op: Op, kind: str) -> None:
    piece.result(op, kind, [piece.read(op, 0)], beta=1.0)


def _function(piece: Piece, op: Any, kind: str) -> None:
    if kind == "GELU":
        function = piece.model.graph.node(op.name).attributes["function"]
        approximate = {"gelu": False, "gelu_tanh": True}[function]
        piece.result(op, kind, [piece.operand(op.a)], approximate=approximate)
        return
    _plain(piece, op, kind)


def _concat(piece: Piece, op: Any, kind: str) -> None:
    operands = []
    for name in op.inputs:
        if not piece.graph.is_constant(name):
            operands.append(piece.operand(name))
            continue
        # A constant is there for every image: concatenation does not broadcast.
        tensor = piece.graph.tensors[name]
        every = np.broadcast_to(piece.graph.constants[name], (piece.images, *tensor.shape))
        (scale,) = tensor.scale
        operands.append(
            piece.file.tensor(
                name,
                _stored_type(tensor),
                data=to_file(every, tensor),
                scale=scale,
                zero_point=tensor.zero_point - _lowered_by(tensor),
            )
        )
    piece.result(op, kind, operands, axis=op.axis + 1)


def _slice(piece: Piece, op: Any, kind: str) -> None:
    assert op.step == 1, f"{op.name}: a SLICE takes a run of elements, STRIDED_SLICE is not written"
    shape = piece.graph.tensors[op.a].shape
    begin, size = [0] * (len(shape) + 1), [piece.images, *shape]
    begin[op.axis + 1], size[op.axis + 1] = op.start, op.stop - op.start
    operands = [
        piece.operand(op.a),
        piece.integers(f"{op.name}.begin", begin),
        piece.integers(f"{op.name}.size", size),
    ]
    piece.result(op, kind, operands)


def _reshape(piece: Piece, op: Any, kind: str) -> None:
    shape = [piece.images, *piece.graph.result(op).shape]
    operands = [piece.operand(op.a), piece.integers(f"{op.name}.shape", shape)]
    piece.result(op, kind, operands)


def _transpose(piece: Piece, op: Any, kind: str) -> None:
    order = [0, *(axis + 1 for axis in op.permutation)]
    operands = [piece.operand(op.a), piece.integers(f"{op.name}.permutation", order)]
    piece.result(op, kind, operands)


_KINDS: Mapping[type[Op], str] = MappingProxyType(
    {
        Mul: "MUL",
        SquaredDifference: "SQUARED_DIFFERENCE",
        Mean: "MEAN",
        SoftmaxGemmlowp: "SOFTMAX",
        SoftmaxLut513: "SOFTMAX",
        Rescale: "QUANTIZE",
        Concat: "CONCATENATION",
        Reshape: "RESHAPE",
        Transpose: "TRANSPOSE",
        Slice: "SLICE",
    }
)
_RULES: Mapping[type[Op], Callable[[Piece, Op, str], None]] = MappingProxyType(
    {
        MatMul: _product,
        AddShifted: _sum,
        Mul: _plain,
        SquaredDifference: _plain,
        Mean: _mean,
        Lookup: _function,
        SoftmaxGemmlowp: _softmax,
        SoftmaxLut513: _softmax,
        Rescale: _plain,
        Concat: _concat,
        Reshape: _reshape,
        Transpose: _transpose,
        Slice: _slice,
    }
)
