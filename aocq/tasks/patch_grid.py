# SPDX-License-Identifier: Apache-2.0
"""Outputs of dense heads: a row of values for each patch of the whole image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from aocq.tasks.task import Outputs
from simulator.errors import InputError

WHOLE_IMAGE: Mapping[str, Any] = MappingProxyType({"crop_pct": 1.0, "crop_mode": "squash"})
MOST_PREFIX = 16  # class and register tokens in front of the patches


@dataclass(frozen=True, slots=True)
class Grid:
    """Where patches stand in a network's output: ``side`` x ``side`` behind ``prefix`` tokens."""

    prefix: int
    side: int


def grid_of(shape: tuple[int, ...]) -> Grid | None:
    """Return where the patches are in an output of tokens; None where it is none of a square."""
    if len(shape) not in {2, 3} or not shape[0]:
        return None
    if len(shape) == 3:
        return Grid(0, shape[0]) if shape[0] == shape[1] else None
    side = math.isqrt(shape[0])
    prefix = shape[0] - side * side
    return Grid(prefix, side) if prefix <= MOST_PREFIX else None


def is_dense(shape: tuple[int, ...], preprocessing: Mapping[str, Any]) -> bool:
    """Return whether an output is of the patches of a square image."""
    _, height, width = preprocessing["input_size"]
    grid = grid_of(shape)
    return grid is not None and height == width and height % grid.side == 0


def check_whole_image(name: str, preprocessing: Mapping[str, Any], truth: str) -> None:
    """Check that the network sees all of an image, which ``truth`` (boxes, say) is about.

    Raises
    ------
    InputError
        If preprocessing crops.
    """
    for key, wanted in WHOLE_IMAGE.items():
        if preprocessing[key] != wanted:
            raise InputError(
                f"{name}: --preprocessing {key}={preprocessing[key]}: {truth} are in coordinates "
                f"of the whole image, squeezed to the network's size; leave {key} out"
            )


def patch_values(outputs: Outputs) -> Outputs:
    """Return the values of patch tokens, [images, side, side, values of a token]."""
    grid = grid_of(outputs.shape[1:])
    assert grid is not None  # the network was checked
    shape = (len(outputs), grid.side, grid.side, outputs.shape[-1])
    return outputs.reshape(len(outputs), -1, outputs.shape[-1])[:, grid.prefix :].reshape(shape)
