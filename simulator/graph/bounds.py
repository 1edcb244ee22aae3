# SPDX-License-Identifier: Apache-2.0
"""Static bounds: what no input whatever can exceed.

Two uses: an accumulator whose bounds fit its registers is *proven free* of overflow, and a graph
whose intermediates could pass 63 bits is refused, because the emulator computes on int64.
"""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import SPECS
from simulator.graph.ranges import Bounds, Intermediate


def bounds(graph: IntGraph, op: Op) -> Bounds:
    """Return the static bounds of ``op``: none where it moves or looks up codes, or is float."""
    return Bounds.of(SPECS[type(op)].intermediates(graph, op))


def intermediates(graph: IntGraph, op: Op) -> tuple[Intermediate, ...]:
    """Return every value inside ``op`` that hardware holds in a register, in order."""
    return tuple(SPECS[type(op)].intermediates(graph, op))
