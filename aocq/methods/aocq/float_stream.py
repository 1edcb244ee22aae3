# SPDX-License-Identifier: Apache-2.0
"""The float network's values where segments of blocks end, kept while they are not too large.

Ranges are observed on a run of the float network, to whose tensors both stages are fitted later:
what is kept of that run need not be computed again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from aocq.capture import FloatGraph, run_in_parts
from aocq.methods.aocq.blocks import Block, segments

# Most values that are kept at once, of a layer's input or of the float stream: 1 GiB.
MOST_KEPT = 2**28


def room_for_stream(graph: FloatGraph, chain: Sequence[Block], images: Tensor) -> dict[str, Tensor]:
    """Return tensors for the float values at the ends of all segments, [images, ...] by name.

    None where they would be more than :data:`MOST_KEPT` values.
    """
    ends = {part.result: None for block in chain for part in segments(graph, block)}
    shapes = {name: (len(images), *graph.node(name).shape) for name in ends}
    if sum(math.prod(shape) for shape in shapes.values()) > MOST_KEPT:
        return {}
    return {name: images.new_empty(shape) for name, shape in shapes.items()}


def computed_from(
    graph: FloatGraph, known: Mapping[str, Tensor], names: Collection[str]
) -> dict[str, Tensor]:
    """Return the float network's values of ``names``, computing those that are not ``known``."""
    unknown = [name for name in names if name not in known]
    found = run_in_parts(graph, known, unknown) if unknown else {}
    return {name: known[name] if name in known else found[name] for name in names}
