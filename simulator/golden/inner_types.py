# SPDX-License-Identifier: Apache-2.0
"""The types of values inside ops: the register that an op states, or the narrowest by its bounds."""

from __future__ import annotations

from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.numerics.integer_type import IntType


def inner_types(op: Op, graph: IntGraph) -> dict[str, IntType]:
    """Return the type of every intermediate of an op, by its name."""
    return {}
