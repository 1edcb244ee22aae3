# SPDX-License-Identifier: Apache-2.0
"""What tensors are for: found in the structure of a graph, and stated for each known family."""

from aocq.capture.roles.families import FAMILIES, known_networks
from aocq.capture.roles.family import Example, Family
from aocq.capture.roles.stream import (
    arithmetic_source,
    fusable_layers,
    readers_through_layout,
    residual_stream,
    stream_terms,
)

__all__ = [
    "FAMILIES",
    "Example",
    "Family",
    "arithmetic_source",
    "fusable_layers",
    "known_networks",
    "readers_through_layout",
    "residual_stream",
    "stream_terms",
]
