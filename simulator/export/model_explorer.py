# SPDX-License-Identifier: Apache-2.0
"""A graph in the JSON of Google's Model Explorer, and figures of its ops as overlays.

The format is that of the package ``ai-edge-model-explorer`` 0.1 (``graph_builder.py``,
``node_data_builder.py``): a collection of graphs, and of every overlay a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from simulator.graph import IntGraph, Tensor, sha256
from simulator.graph.op import Op
from simulator.graph.ops import op_name

Figures = Mapping[str, Mapping[str, int | float]]
# Colours of the least and of the largest value.
GRADIENT = ((0, "#ffffff"), (1, "#e8710a"))
SHOWN_SCALES = 4


def collection(graph: IntGraph, figures: Figures) -> dict[str, Any]:
    """Return a graph as a collection of one.

    Parameters
    ----------
    figures
        of ops, by name: shown among their attributes
    """
    nodes = [_input(graph.tensors[name]) for name in graph.inputs]
    nodes += [_node(graph, op, figures.get(op.name, {})) for op in graph.ops]
    nodes += [_output(name) for name in graph.outputs]
    about = {
        "network": graph.name,
        "profile": graph.profile,
        "graph sha256": sha256(graph),
        "ops": str(len(graph.ops)),
    }
    return {
        "label": f"{graph.name} on {graph.profile}",
        "graphs": [{"id": graph.name, "nodes": nodes, "groupNodeAttributes": {"": about}}],
    }


def overlays(graph: IntGraph, figures: Figures) -> dict[str, dict[str, Any]]:
    """Return overlays by the key of their figure: values of all ops that have it."""
    keys = dict.fromkeys(key for values in figures.values() for key in values)
    return {key: _overlay(graph, figures, key) for key in keys}


def _overlay(graph: IntGraph, figures: Figures, key: str) -> dict[str, Any]:
    results = {
        op.name: {"value": figures[op.name][key]}
        for op in graph.ops
        if key in figures.get(op.name, {})
    }
    gradient = [{"stop": stop, "bgColor": colour} for stop, colour in GRADIENT]
    return {graph.name: {"name": key, "results": results, "gradient": gradient}}


def _pairs(values: Mapping[str, object]) -> list[dict[str, str]]:
    return [{"key": key, "value": str(value)} for key, value in values.items()]


def _node(graph: IntGraph, op: Op, figures: Mapping[str, int | float]) -> dict[str, Any]:
    stated = {
        field.name: getattr(op, field.name)
        for field in fields(op)
        if field.name != "name" and field.name not in op.operand_fields
    }
    choices = {key: value for key, value in stated.items() if value is not None}
    namespace, _, label = op.name.rpartition(".")
    edges = [
        {
            "sourceNodeId": name,
            "sourceNodeOutputId": "0",
            "targetNodeInputId": str(index),
        }
        for index, name in enumerate(op.operands)
        if not graph.is_constant(name)
    ]
    constants = {
        f"constant {name}": _told(graph.tensors[name])
        for name in (*op.operands, *op.constants)
        if graph.is_constant(name)
    }
    return {
        "id": op.name,
        "label": f"{op_name(op)} {label}",
        "namespace": namespace.replace(".", "/"),
        "attrs": _pairs({**figures, "computed in": op.computes_in, **choices, **constants}),
        "incomingEdges": edges,
        "outputsMetadata": [_metadata(graph.result(op))],
    }


def _input(tensor: Tensor) -> dict[str, Any]:
    return {
        "id": tensor.name,
        "label": f"input {tensor.name}",
        "namespace": "",
        "attrs": [],
        "incomingEdges": [],
        "outputsMetadata": [_metadata(tensor)],
    }


def _output(name: str) -> dict[str, Any]:
    edge = {"sourceNodeId": name, "sourceNodeOutputId": "0", "targetNodeInputId": "0"}
    return {
        "id": f"{name}/output",
        "label": f"output {name}",
        "namespace": "",
        "attrs": [],
        "incomingEdges": [edge],
        "outputsMetadata": [],
    }


def _metadata(tensor: Tensor) -> dict[str, Any]:
    about = {
        "__tensor_tag": tensor.name,
        "tensor_name": tensor.name,
        "tensor_shape": f"{tensor.type}{list(tensor.shape)}",
        "zero_point": tensor.zero_point,
        "scale": _scales(tensor),
    }
    return {"id": "0", "attrs": _pairs(about)}


def _told(tensor: Tensor) -> str:
    return f"{tensor.type}{list(tensor.shape)}"


def _scales(tensor: Tensor) -> str:
    shown = ", ".join(f"{scale:.6g}" for scale in tensor.scale[:SHOWN_SCALES])
    more = len(tensor.scale) - SHOWN_SCALES
    return shown + (f", … {more} more" if more > 0 else "")
