# SPDX-License-Identifier: Apache-2.0
"""Where a chip runs each op: on its MAC array, vector unit or DMA, on the host, or nowhere."""

from __future__ import annotations

from typing import cast

from simulator.graph.graph import IntGraph
from simulator.graph.ops import SPECS, Op
from simulator.profile.cost import ComputeSection
from simulator.profile.passes import Place, PlacedKind
from simulator.profile.rates import NEAREST_KIND


def kind_of(graph: IntGraph, op: Op) -> PlacedKind:
    """Return the kind of ``op`` that a profile places and gives rates to.

    A product with constants is ``linear``, one of two activations ``matmul``; other ops have the
    rate of their specification.
    """
    rate = SPECS[type(op)].rate
    if rate is not None:
        return cast("PlacedKind", rate)
    return "linear" if graph.is_constant(op.operands[1]) else "matmul"


def place_of(kind: PlacedKind, compute: ComputeSection) -> Place:
    """Return the unit that runs ops of ``kind``, ``none`` where the chip has no place for them."""
    stated = getattr(compute.placement, kind) if compute.placement else None
    if stated is not None:
        return cast("Place", stated)
    nearest = NEAREST_KIND.get(kind)
    if nearest is not None and compute.placement:
        like = getattr(compute.placement, nearest)
        return cast("Place", like) if like in {"host", "none"} else "vector"
    return "mac" if kind in {"linear", "matmul"} else "vector"
