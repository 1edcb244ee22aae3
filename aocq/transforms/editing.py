# SPDX-License-Identifier: Apache-2.0
"""A float graph under change: parameters replaced, nodes put behind others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import PARAMETER_ATTRIBUTES

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Editing:
    """A graph whose nodes and parameters are replaced one by one."""

    def __init__(self, graph: FloatGraph) -> None:
        self.name = graph.name
        self.nodes = {node.name: node for node in graph.nodes}
        self.parameters: dict[str, Tensor] = dict(graph.parameters)

    def graph(self) -> FloatGraph:
        """Return the graph as it is now, with the parameters that its nodes read."""
        read = {
            node.attributes[key]
            for node in self.nodes.values()
            for key in PARAMETER_ATTRIBUTES
            if node.attributes.get(key)
        }
        parameters = {name: value for name, value in self.parameters.items() if name in read}
        return FloatGraph(name=self.name, nodes=tuple(self.nodes.values()), parameters=parameters)

    def value(self, node: str, key: str) -> Tensor | None:
        """Return a copy of a node's parameter in float64; None where it has none."""
        import torch

        name = self.nodes[node].attributes[key]
        return self.parameters[name].to(torch.float64, copy=True) if name else None

    def set(self, node: str, key: str, value: Tensor) -> None:
        """Give a node another parameter, in the type that the network's parameters have.

        It keeps the parameter's name where no other node reads it.
        """
        name = self.nodes[node].attributes[key]
        readers = Counter(
            other.attributes[attribute]
            for other in self.nodes.values()
            for attribute in PARAMETER_ATTRIBUTES
            if other.attributes.get(attribute)
        )
        if not name or readers[name] > 1:
            name = self._free(f"{node}.{key}", self.parameters)
            self.change(node, attributes={**self.nodes[node].attributes, key: name})
        self.parameters[name] = value.to(self._type()).contiguous()

    def change(self, node: str, **fields: Any) -> None:
        """Replace fields of a node."""
        if "attributes" in fields:
            fields["attributes"] = MappingProxyType(dict(fields["attributes"]))
        self.nodes[node] = replace(self.nodes[node], **fields)

    def put_behind(
        self, source: str, op: FloatOp, readers: Collection[str], **attributes: Any
    ) -> str:
        """Let ``readers`` of a tensor read what ``op`` makes of it, and return that node's name."""
        name = self._free(f"{source}.{op}", self.nodes)
        added = FloatNode(
            name=name,
            op=op,
            inputs=(source,),
            attributes=MappingProxyType(attributes),
            shape=self.nodes[source].shape,
        )
        nodes: dict[str, FloatNode] = {}
        for node in self.nodes.values():
            if node.name in readers:
                inputs = tuple(name if read == source else read for read in node.inputs)
                nodes[node.name] = replace(node, inputs=inputs)
            else:
                nodes[node.name] = node
            if node.name == source:
                nodes[name] = added
        self.nodes = nodes
        return name

    def _type(self) -> torch.dtype:
        import torch

        types = {value.dtype for value in self.parameters.values() if value.is_floating_point()}
        return torch.float64 if torch.float64 in types else torch.float32

    @staticmethod
    def _free(name: str, taken: Mapping[str, object]) -> str:
        wanted, count = name, 0
        while name in taken:
            count += 1
            name = f"{wanted}_{count}"
        return name
