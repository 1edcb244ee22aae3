# SPDX-License-Identifier: Apache-2.0
"""ESTIMATED cost of what the host does with a graph's results: steps behind the graph.

A network's task says which operations these are (decoding of boxes, say), the profile how fast its
host does them and what it takes to hand the results over. Stated in full in ``docs/cost.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from simulator.cost.exact import as_written, ceil_div, ceil_times
from simulator.graph.graph import IntGraph
from simulator.profile.cost import HostSection


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """Operations of one step of the host for one image, in the worst case where data decide.

    Attributes
    ----------
    operations
        sums, differences, products, negations and comparisons; a minimum is a comparison
    functions
        divisions, square roots, exponentials, and codes turned into real values
    """

    name: str
    operations: int
    functions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCost:
    """ESTIMATED cost of one step of the host; cycles of the compute clock.

    Attributes
    ----------
    work
        its operations
    bytes
        of the graph's results that the host takes over for it: of the first step
    handover
        cycles before it starts, at the border between chip and host
    copying
        cycles in which these bytes are copied; none where chip and host share a memory
    working
        cycles of its operations
    """

    work: HostWork
    bytes: int
    handover: int
    copying: int
    working: int

    @property
    def host(self) -> int:
        """Cycles in which the host is at work."""
        return self.copying + self.working

    @property
    def total(self) -> int:
        """Cycles from the end of what comes before it to its own."""
        return self.handover + self.host


def host_costs(
    graph: IntGraph, work: Sequence[HostWork], host: HostSection | None, *, on_host: bool
) -> tuple[HostCost, ...]:
    """Return what a profile's host takes for the steps behind a graph, in order.

    Parameters
    ----------
    host
        None: the profile describes none, and no step has a cost
    on_host
        whether the graph's last op runs on the host: its results are there then
    """
    if host is None:
        return ()
    found = []
    for number, each in enumerate(work):
        moved = 0 if number or on_host else result_bytes(graph)
        copies = host.copy_bytes_per_cycle
        working = each.operations * as_written(host.cycles_per_mac)
        working += each.functions * as_written(host.cycles_per_element.float)
        found.append(
            HostCost(
                work=each,
                bytes=moved,
                handover=host.handover_cycles if not number and not on_host else 0,
                copying=0 if copies is None else ceil_times(moved, 1 / as_written(copies)),
                working=math.ceil(working),
            )
        )
    return tuple(found)


def result_bytes(graph: IntGraph) -> int:
    """Return the bytes of a graph's results for one image, codes at their own width."""
    tensors = [graph.tensors[name] for name in graph.outputs]
    return sum(ceil_div(tensor.size * tensor.type.bits, 8) for tensor in tensors)
