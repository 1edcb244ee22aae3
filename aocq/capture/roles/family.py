# SPDX-License-Identifier: Apache-2.0
"""What is stated of a family of networks: where timm has it, its roles, small examples."""

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
class Family:
    """Networks that are built alike.

    Nothing of the tool asks to which family a network belongs: roles are found in its graph
    (``stream.py``). What is stated here is what should be found, and what tests hold the finding
    against.

    Attributes
    ----------
    name
        for people
    timm_modules
        modules of ``timm.models`` whose networks belong to it: ``aocq models`` lists them
    without
        shell patterns of their networks that have an operator without a lowering, and are not
        listed
    stream
        names of the residual stream's tensors, in which ``*`` is any one part of a path
    fusable_layers
        the same of the layers whose sums a chip may add to the stream itself
    examples
        small networks with all operators of the family, one for each kind of network in it
    """

    name: str
    timm_modules: tuple[str, ...]
    stream: tuple[str, ...]
    fusable_layers: tuple[str, ...]
    examples: tuple[Example, ...]
    without: tuple[str, ...] = ()
