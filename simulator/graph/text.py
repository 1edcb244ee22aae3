# SPDX-License-Identifier: Apache-2.0
"""A graph as text that two people can discuss over the phone: one line per op."""

from __future__ import annotations

from collections.abc import Iterator

from simulator.graph.bounds import intermediates
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.macs import total_macs
from simulator.graph.meta import graph_meta
from simulator.graph.names import printable
from simulator.graph.ops import SPECS, Op, op_name
from simulator.graph.ranges import narrowest
from simulator.graph.storage import sha256
from simulator.graph.text_parts import type_and_shape
from simulator.settings import typed


def text(graph: IntGraph, *, widths: bool = False) -> str:
    """Return the whole graph as text, header first; ops are numbered as in ``layers.csv``.

    With ``widths``, below each op the values inside it that hardware holds in registers: the bounds
    that no input exceeds, and the narrowest type that has them.
    """
    header = (
        f"graph {graph.name}   profile {graph.profile}   sha256 {sha256(graph)[:16]}…   "
        f"{len(graph.ops)} ops   {graph.float_ops} float   {total_macs(graph) / 1e6:.2f} MMAC"
        f"{_network(graph)}"
    )
    names = [*graph.inputs, *(op.name for op in graph.ops)]
    width = max(len(name) for name in names)
    shown = {name: type_and_shape(graph.tensors[name]) for name in names}
    types = max(map(len, shown.values()))
    rows = [("", graph.tensors[name], "input") for name in graph.inputs]
    rows += [
        (str(index), graph.result(op), _described(graph, op)) for index, op in enumerate(graph.ops)
    ]
    ops = graph.makers
    lines = [header]
    for index, tensor, what in rows:
        lines.append(
            f"{index:>4}  {tensor.name:{width}}  {shown[tensor.name]:{types}}  "
            f"{_real(tensor)}{what}"
        )
        if widths and tensor.name in ops:
            lines += _widths(graph, ops[tensor.name])
    return "\n".join(lines) + "\n"


def _widths(graph: IntGraph, op: Op) -> Iterator[str]:
    """Yield a line for each value inside an op: its narrowest type, its bounds."""
    found = intermediates(graph, op)
    width = max((len(value.name) for value in found), default=0)
    for value in found:
        low, high = value.interval
        yield f"      {value.name:{width}}  {narrowest(low, high)!s:>4}  {low:,} .. {high:,}"


def _network(graph: IntGraph) -> str:
    """Return what ``meta`` says of the network: its classes, what it is built with."""
    meta = graph_meta(graph)
    if meta is None:
        return ""
    arguments = printable(typed(meta.model_arguments))
    return f"   {meta.classes} classes" + f"   built with {arguments}" * bool(arguments)


def _real(tensor: Tensor) -> str:
    if tensor.is_float:
        return " " * 21
    scale = f"s={tensor.scale[0]:<10.4g}" if len(tensor.scale) == 1 else " " * 12
    return f"{scale} z={tensor.zero_point:<5d} "


def _described(graph: IntGraph, op: Op) -> str:
    return f"{op_name(op)} {SPECS[type(op)].text(graph, op)}"
