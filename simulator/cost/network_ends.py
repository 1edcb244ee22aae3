# SPDX-License-Identifier: Apache-2.0
"""Network inputs and outputs: fetched from DRAM and stored there once."""

from __future__ import annotations

from simulator.cost.memory import tensor_roots
from simulator.cost.steps import Program, Transfer
from simulator.graph.graph import IntGraph


def network_transfers(graph: IntGraph, program: Program) -> list[tuple[Transfer, ...]]:
    """Return, per step, what it moves of network inputs and outputs.

    An input is fetched by the first step that reads it, or a view of it, and stays on the chip; an
    output is stored by the last step that writes it or what it is a view of.
    """
    roots = tensor_roots(graph)
    moved: list[list[Transfer]] = [[] for _ in program.steps]
    outside = set(graph.inputs)
    writers: dict[str, int] = {}
    for number, step in enumerate(program.steps):
        for name in {roots.get(each.tensor, each.tensor) for each in step.reads} & outside:
            moved[number].append(_whole(graph, name))
            outside.discard(name)
        writers |= {roots.get(each.tensor, each.tensor): number for each in step.writes}
    for name in graph.outputs:
        if roots.get(name) in writers:
            moved[writers[roots[name]]].append(_whole(graph, name))
    return [tuple(each) for each in moved]


def _whole(graph: IntGraph, name: str) -> Transfer:
    size = graph.tensors[name].bytes
    return Transfer(tensor=name, bytes=size, run_bytes=size)
