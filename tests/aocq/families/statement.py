# SPDX-License-Identifier: Apache-2.0
"""The residual stream and the branch ends that a family's networks should have; small examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A network of a family, small enough to be quantized and emulated in a test.

    Attributes
    ----------
    model
        timm's name
    arguments
        of its constructor, ``num_classes`` included
    input_size
        channels, height, width of its images
    """

    model: str
    arguments: Mapping[str, Any]
    input_size: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is stated of a family, and tests hold against what is found in its graphs.

    Attributes
    ----------
    family
        its name in :data:`aocq.zoo.families.FAMILIES`
    stream
        names of the residual stream's tensors, in which ``*`` is any one part of a path
    fusable_layers
        the same of the layers whose sums a chip may add to the stream itself
    examples
        small networks with all operators of the family, one for each kind of network in it
    """

    family: str
    stream: tuple[str, ...]
    fusable_layers: tuple[str, ...]
    examples: tuple[Example, ...]
