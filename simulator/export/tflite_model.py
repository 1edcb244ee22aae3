# SPDX-License-Identifier: Apache-2.0
"""Makes the .tflite file that was described: needs flatbuffers and LiteRT's schema alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

VERSION = 3
IDENTIFIER = b"TFL3"
# The operators whose options are not named like them.
OPTIONS_OF = {
    "MEAN": "Reducer",
    "SUM": "Reducer",
    "RESHAPE": "Reshape",
    "BATCH_MATMUL": "BatchMatMul",
    "CONV_2D": "Conv2D",
    "CONCATENATION": "Concatenation",
}
Array = np.ndarray[Any, Any]


def tflite_bytes(
    described: Mapping[str, Any], constants: Mapping[str, Array], description: str = "aocq"
) -> bytes:
    """Return a .tflite file.

    Parameters
    ----------
    described
        what :meth:`simulator.export.tflite_file.TfliteFile.described` returns
    constants
        by the names of their tensors
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    file = schema.ModelT()
    file.version = VERSION
    file.description = description
    file.buffers = [schema.BufferT()]  # buffer 0 is the empty one
    file.operatorCodes = []
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(schema, one, constants, file) for one in described["tensors"]]
    graph.operators = [_operator(schema, one, file) for one in described["operators"]]
    graph.inputs, graph.outputs = described["inputs"], described["outputs"]
    file.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _tensor(
    schema: Any, described: Mapping[str, Any], constants: Mapping[str, Array], file: Any
) -> Any:
    tensor = schema.TensorT()
    tensor.name = described["name"]
    tensor.shape = described["shape"]
    tensor.type = getattr(schema.TensorType, described["dtype"].upper())
    tensor.hasRank = True
    tensor.buffer = 0
    constant = constants.get(tensor.name)
    if constant is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(constant.tobytes(), np.uint8)
        tensor.buffer = len(file.buffers)
        file.buffers.append(buffer)
    if described["quantization"]:
        quantization = schema.QuantizationParametersT()
        quantization.scale = described["quantization"]["scale"]
        quantization.zeroPoint = described["quantization"]["zero_point"]
        quantization.quantizedDimension = described["quantization"]["axis"]
        tensor.quantization = quantization
    return tensor


def _operator(schema: Any, described: Mapping[str, Any], file: Any) -> Any:
    builtin = getattr(schema.BuiltinOperator, described["kind"])
    known = [code.builtinCode for code in file.operatorCodes]
    if builtin not in known:
        code = schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)
        code.version = 1
        file.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = known.index(builtin) if builtin in known else len(known)
    operator.inputs, operator.outputs = described["inputs"], described["outputs"]
    stem = OPTIONS_OF.get(described["kind"]) or described["kind"].title().replace("_", "")
    name = f"{stem}Options"
    if hasattr(schema, f"{name}T"):
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = getattr(schema, f"{name}T")()
    for field, value in described["options"].items():
        if not hasattr(operator.builtinOptions, field):
            raise ValueError(f"{described['kind']} has no option {field!r}")
        typed = getattr(schema.TensorType, value) if isinstance(value, str) else value
        setattr(operator.builtinOptions, field, typed)
    return operator
