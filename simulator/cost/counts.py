# SPDX-License-Identifier: Apache-2.0
"""Elements that a pass of an op works on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from simulator.cost.exact import ceil_div
from simulator.graph.graph import IntGraph
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, Op
from simulator.profile.passes import PassSection


def counts_of(graph: IntGraph, op: Op) -> dict[str, int]:
    """Return the elements of each kind that passes and temporaries count."""
    result = graph.result(op)
    columns = result.shape[-1] if result.shape else 1
    return {
        "result": result.size,
        "operand": graph.tensors[op.operands[0]].size,
        "row": result.size // columns,
        "mac": product_macs(graph, op),
        "work": product_macs(graph, op) or SPECS[type(op)].elements(graph, op),
    }


def worked_elements(graph: IntGraph, op: Op, each: PassSection) -> int:
    """Return the elements that a pass takes time for: whole blocks where its unit takes such."""
    elements = counts_of(graph, op)[each.over]
    if each.block is None:
        return elements
    operand = graph.tensors[op.operands[0]]
    of_operand = each.over == "operand" or (each.over == "work" and elements == operand.size)
    return in_blocks(operand.shape if of_operand else graph.result(op).shape, each.block)


def in_blocks(shape: Sequence[int], block: Sequence[int]) -> int:
    """Return the elements of whole blocks that cover a tensor.

    Parameters
    ----------
    shape
        of the tensor; its last three dimensions are height, width and depth of a picture
    block
        height, width and depth of a block, or only the last ones
    """
    sizes = (1,) * (len(block) - len(shape)) + tuple(shape)
    pictures = math.prod(sizes[: -len(block)])
    covered = zip(sizes[-len(block) :], block, strict=True)
    return pictures * math.prod(ceil_div(size, unit) * unit for size, unit in covered)
