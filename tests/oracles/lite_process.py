# SPDX-License-Identifier: Apache-2.0
"""Runs inside the environment ``lite``: runs .tflite files, and ONNX operators.

Imports nothing of ours but :mod:`messages` and the writer of files, which imports nothing of ours.
See :mod:`lite_oracle` for the other end.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from messages import serve

sys.path.append(str(Path(__file__).parents[2]))
from simulator.export.tflite_model import tflite_bytes

RESOLVERS = {
    "litert_ref": OpResolverType.BUILTIN_REF,
    "litert_optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "litert_default": OpResolverType.AUTO,
}


def write_file(model: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Write a described model; its constants are arrays named ``constant:NAME``."""
    constants = {
        name.removeprefix("constant:"): array
        for name, array in arrays.items()
        if name.startswith("constant:")
    }
    return tflite_bytes(model, constants)


def run(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write a model, run it once, and return its outputs or all its tensors."""
    model = header["model"]
    content = write_file(model, arrays)
    inputs = []
    for index in model["inputs"]:
        described = model["tensors"][index]
        values = arrays[f"input:{described['name']}"]
        if values.dtype != described["dtype"] or list(values.shape) != described["shape"]:
            raise ValueError(
                f"input {described['name']!r} is {values.dtype} {list(values.shape)}, "
                f"the model has {described['dtype']} {described['shape']}"
            )
        inputs.append(values)
    wanted = model["outputs"]
    if header["all_tensors"]:
        wanted = [
            index
            for index, described in enumerate(model["tensors"])
            if f"constant:{described['name']}" not in arrays
        ]
    engine = _run_micro if header["engine"] == "tflm" else _run_litert
    results = engine(header, model, content, inputs, wanted)
    return {model["tensors"][index]["name"]: results[index] for index in wanted}


def _run_litert(
    header: dict[str, Any],
    model: dict[str, Any],
    content: bytes,
    inputs: list[np.ndarray],
    wanted: list[int],
) -> dict[int, np.ndarray]:
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=RESOLVERS[header["engine"]],
        experimental_preserve_all_tensors=header["all_tensors"],
    )
    interpreter.allocate_tensors()
    for index, values in zip(model["inputs"], inputs, strict=True):
        interpreter.set_tensor(index, values)
    interpreter.invoke()
    return {index: interpreter.get_tensor(index) for index in wanted}


def _run_micro(
    header: dict[str, Any],
    model: dict[str, Any],
    content: bytes,
    inputs: list[np.ndarray],
    wanted: list[int],
) -> dict[int, np.ndarray]:
    from tflite_micro.python.tflite_micro import runtime  # may be missing where LiteRT is not

    config = runtime.InterpreterConfig
    interpreter = runtime.Interpreter.from_bytes(
        content,
        # Generous: all tensors as int32, and as much again for what the kernels keep.
        arena_size=(1 << 20)
        + 16 * sum(int(np.prod(tensor["shape"])) for tensor in model["tensors"]),
        intrepreter_config=(
            config.kPreserveAllTensors if header["all_tensors"] else config.kAllocationRecording
        ),
    )
    for position, values in enumerate(inputs):
        interpreter.set_input(values, position)
    interpreter.invoke()
    if header["all_tensors"]:
        return {index: interpreter.GetTensor(index, 0)["tensor_data"] for index in wanted}
    return {
        index: interpreter.get_output(position) for position, index in enumerate(model["outputs"])
    }


def onnx_operator(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run one ONNX operator whose inputs are all given."""
    from onnx import helper

    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in arrays.items()}
    shape = [None] * next(iter(arrays.values())).ndim  # of the first input's rank, any size
    graph = helper.make_graph(
        [helper.make_node(header["kind"], list(arrays), ["y"])],
        "one_operator",
        [helper.make_tensor_value_info(name, kinds[name], arrays[name].shape) for name in arrays],
        [
            helper.make_tensor_value_info(
                "y", helper.np_dtype_to_tensor_dtype(np.dtype(header["dtype"])), shape
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if header["engine"] == "reference":
        from onnx.reference import ReferenceEvaluator

        (result,) = ReferenceEvaluator(model).run(None, arrays)
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        (result,) = session.run(None, arrays)
    return {"y": np.asarray(result)}


def main() -> None:
    """Serve on the standard streams; whatever native code prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(
        sys.stdin.buffer,
        answers,
        {
            "run": run,
            "write": lambda header, arrays: {
                "file": np.frombuffer(write_file(header["model"], arrays), np.uint8)
            },
            "onnx": onnx_operator,
        },
    )


if __name__ == "__main__":
    main()
