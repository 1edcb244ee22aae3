# SPDX-License-Identifier: Apache-2.0
"""Small graphs to export, by hand, and what onnxruntime makes of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_graphs import Draft

from simulator.executor import Executor
from simulator.export.onnx_graph import describe, ends
from simulator.graph import IntGraph
from simulator.graph.graph import Role


def built(build: Callable[[Draft], None], scale: float = 1.0) -> IntGraph:
    """Return a hand-made graph whose tensors of codes are worth something."""
    draft = Draft()
    build(draft)
    graph = draft.build("y")
    tensors = {
        name: replace(tensor, scale=(scale,))
        if tensor.role is not Role.CONSTANT and not tensor.is_float and not tensor.scale
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def inputs_of(graph: IntGraph, count: int = 16) -> np.ndarray:
    """Random input, every code as likely as any other, or real values."""
    tensor, random = graph.tensors[graph.inputs[0]], np.random.default_rng(11)
    if tensor.is_float:
        return random.normal(0, 2, (count, *tensor.shape)).astype(np.float32)
    kind = tensor.code_type
    codes = random.integers(kind.low, kind.high + 1, (count, *tensor.shape))
    return codes.astype(kind.dtype)


def emulated(graph: IntGraph, values: np.ndarray) -> np.ndarray:
    return Executor(graph, threads=1, gemm="numba").run(values).outputs[graph.outputs[0]]


def by_onnxruntime(graph: IntGraph, values: np.ndarray, offset: int = 0) -> np.ndarray:
    """Run all values as one batch; codes come back as the graph's."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    from simulator.export.onnx_model import onnx_bytes

    file = describe(graph, len(values), offset=offset)
    described: dict[str, Any] = ends(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_bytes(described, file.constants), options, providers=["CPUExecutionProvider"]
    )
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    stored = values
    if not source.is_float:
        dtype = described["inputs"][0]["dtype"]
        stored = (values.astype(np.int64) + _added(source, offset)).astype(dtype)
    found = session.run(None, {described["inputs"][0]["name"]: stored})[0]
    return found if target.is_float else found.astype(np.int64) - _added(target, offset)


def _added(tensor: Any, offset: int) -> int:
    return offset if tensor.code_type.signed and tensor.code_type.bits <= 8 else 0
