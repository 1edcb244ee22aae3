# SPDX-License-Identifier: Apache-2.0
"""Network inputs and outputs: fetched from DRAM and stored there once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulator.cost.steps import Program
from simulator.cost.traffic import Transfer
from simulator.graph.graph import IntGraph
from simulator.graph.ops import TensorId


def network_transfers(
    graph: IntGraph, program: Program, roots: Mapping[TensorId, TensorId]
) -> Iterator[tuple[int, Transfer]]:
    """Yield what DRAM gives and takes of inputs and outputs that live in SRAM: (step, what).

    An input is fetched by the first step that reads it, or a view of it; an output is stored by the
    last step that writes it or what it is a view of. Those that live in DRAM are read and written
    there instead.
    """
    outside = set(graph.inputs)
    writers: dict[TensorId, int] = {}
    for number, step in enumerate(program.steps):
        fetched = {roots.get(each.tensor, each.tensor) for each in step.reads} & outside
        for name in sorted(fetched):
            yield number, _whole(graph, name)
        outside -= fetched
        writers |= {roots.get(each.tensor, each.tensor): number for each in step.writes}
    for name in graph.outputs:
        if roots.get(name) in writers:
            yield writers[roots[name]], _whole(graph, name, written=True)


def _whole(graph: IntGraph, name: TensorId, *, written: bool = False) -> Transfer:
    size = graph.tensors[name].bytes
    return Transfer(tensor=name, bytes=size, run_bytes=size, written=written)
