# SPDX-License-Identifier: Apache-2.0
"""Runs in the oracles' environment ``lite``: onnxruntime and LiteRT, timed where they run.

Imports nothing of ours but what the oracles' processes import, and the writers of files, which
import nothing of ours. :class:`engines.OtherProcess` is the other end. Two requests: ``load`` makes
a described model ready under a key and answers what the engine says of itself; ``run`` maps codes
to an output and the seconds it took.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests" / "oracles"))
sys.path.append(str(Path(__file__).parents[1]))
from messages import serve

from simulator.export.onnx_model import onnx_bytes

# Of every loaded model: its batch, and what maps a batch of codes to its output.
READY: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {}


def load(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Make a model ready; the answer's facts are JSON."""
    make = {"onnxruntime": _onnxruntime, "litert": _litert}[header["engine"]]
    call, facts = make(header, arrays)
    READY[header["key"]] = (header["batch"], call)
    return {"facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def run(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run all codes, batch after batch."""
    batch, call = READY[header["key"]]
    codes = arrays["codes"]
    parts = [codes[start : start + batch] for start in range(0, len(codes), batch)]
    start = time.perf_counter()
    found = [call(part) for part in parts]
    passed = time.perf_counter() - start
    return {"seconds": np.array(passed), "output": np.concatenate(found)}


def _onnxruntime(
    header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = header["threads"]
    options.inter_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = {
        "all": levels.ORT_ENABLE_ALL,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "basic": levels.ORT_ENABLE_BASIC,
        "disabled": levels.ORT_DISABLE_ALL,
    }[header["optimizations"]]
    options.log_severity_level = 3
    for key, value in header["settings"].items():
        options.add_session_config_entry(key, value)
    constants = {name.removeprefix("constant:"): array for name, array in arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        session = onnxruntime.InferenceSession(
            onnx_bytes(header["model"], constants), options, providers=["CPUExecutionProvider"]
        )
        optimized = onnx.load(options.optimized_model_filepath)
    source = session.get_inputs()[0].name
    facts = {
        "versions": {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__},
        "operators": dict(Counter(node.op_type for node in optimized.graph.node).most_common()),
    }
    return lambda codes: session.run(None, {source: codes})[0], facts


def _litert(
    header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    from importlib.metadata import version

    from ai_edge_litert.interpreter import Interpreter
    from lite_process import RESOLVERS, write_file

    interpreter = Interpreter(
        model_content=write_file(header["model"], arrays),
        num_threads=header["threads"],
        experimental_op_resolver_type=RESOLVERS[header["resolver"]],
    )
    interpreter.allocate_tensors()
    (source,), (target,) = header["model"]["inputs"], header["model"]["outputs"]

    def call(codes: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(source, codes)
        interpreter.invoke()
        output: np.ndarray = interpreter.get_tensor(target)
        return output

    return call, {"versions": {"ai-edge-litert": version("ai-edge-litert")}}


def main() -> None:
    """Serve on the standard streams; whatever native code prints goes to the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers, {"load": load, "run": run})


if __name__ == "__main__":
    main()
