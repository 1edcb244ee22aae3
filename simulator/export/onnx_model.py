# SPDX-License-Identifier: Apache-2.0
"""Makes the .onnx file that was described. Needs the onnx package, and of ours nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

IR_VERSION = 10  # the first in which nodes have metadata


def onnx_bytes(
    described: Mapping[str, Any],
    constants: Mapping[str, np.ndarray[Any, Any]],
    *,
    name: str = "quantized",
    metadata: Mapping[str, str] | None = None,
    of_nodes: Mapping[str, Mapping[str, str]] | None = None,
) -> bytes:
    """Return a checked ONNX file.

    Parameters
    ----------
    described
        ``opset``, ``nodes``, ``inputs`` and ``outputs``, as JSON holds them
    constants
        the initializers
    metadata
        of the model, shown by viewers
    of_nodes
        metadata of nodes, by the name of their output
    """
    from onnx import checker, helper, numpy_helper

    def end(value: Mapping[str, Any]) -> Any:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(value["dtype"]))
        return helper.make_tensor_value_info(value["name"], kind, value["shape"])

    graph = helper.make_graph(
        [_node(node, of_nodes or {}) for node in described["nodes"]],
        name,
        [end(value) for value in described["inputs"]],
        [end(value) for value in described["outputs"]],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", described["opset"])],
        ir_version=IR_VERSION,
        producer_name="aocq",
    )
    helper.set_model_props(made, dict(metadata or {}))
    checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


def _node(node: Mapping[str, Any], metadata: Mapping[str, Mapping[str, str]]) -> Any:
    from onnx import helper

    attributes = dict(node["attributes"])
    if node["kind"] == "Cast":
        attributes["to"] = helper.np_dtype_to_tensor_dtype(np.dtype(attributes["to"]))
    output = node["outputs"][0]
    made = helper.make_node(
        node["kind"], node["inputs"], node["outputs"], name=output, **attributes
    )
    for key, value in metadata.get(output, {}).items():
        entry = made.metadata_props.add()
        entry.key, entry.value = key, value
    return made
