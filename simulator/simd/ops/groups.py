# SPDX-License-Identifier: Apache-2.0
"""Chains of ops in a graph of which nobody else reads what is inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op

LONGEST = 8  # ops of a chain: more than any form takes


def following_readers(graph: IntGraph) -> Callable[[Op], Sequence[Op]]:
    """Return a function that gives the ops behind an op, each the only reader of the one before.

    A chain ends before what more than one op reads, at an output, and after :data:`LONGEST` ops.
    """
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for name in set(op.operands):
            readers.setdefault(name, []).append(op)

    def following(op: Op) -> Sequence[Op]:
        chain: list[Op] = []
        while len(chain) < LONGEST and op.name not in graph.outputs:
            behind = readers.get(op.name, [])
            if len(behind) != 1:
                break
            op = behind[0]
            chain.append(op)
        return chain

    return following
