# SPDX-License-Identifier: Apache-2.0
"""Quantization methods: each turns a FloatGraph and images into a QuantizedModel.

A new method is one file and one row in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from aocq.capture import FloatGraph
from aocq.method_names import LEAVE_FLOATS, PUBLISHED_IMAGES, default_method
from aocq.methods import base_ptq, base_ptq_paper, fq_vit, ptq4vit
from aocq.methods.aocq import method as aocq_method
from aocq.methods.bias_room import with_room_for_biases
from aocq.methods.least_steps import with_steps_for_functions
from aocq.methods.quantized_model import QuantizedModel, Recipe

__all__ = [
    "LEAVE_FLOATS",
    "METHODS",
    "PUBLISHED_IMAGES",
    "Method",
    "QuantizedModel",
    "Recipe",
    "default_method",
]


class Method(Protocol):
    """What every method is: a function of the network, images, and a recipe.

    ``images`` [count, channels, height, width] are preprocessed; ``on_progress(done, total)`` is
    called now and then. ``device`` is where torch computes (``cpu`` or ``cuda``); only ``aocq``
    heeds it. In the folder ``work``, where one is given, a method may keep
    finished parts, so that a calibration that was killed goes on with them: the folder belongs to
    one network, recipe and list of images, and is deleted by the caller.
    """

    def __call__(
        self,
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        on_progress: Callable[[int, int], None] | None = None,
        *,
        device: str = "cpu",
        work: Path | None = None,
    ) -> QuantizedModel:
        """Decide every scale and every integer weight."""
        ...


Plain = Callable[
    [FloatGraph, Tensor, Recipe, Callable[[int, int], None] | None],
    QuantizedModel,
]


def _in_one_go(quantize: Plain) -> Method:
    """Make a method of a function that computes on the CPU and keeps no finished parts."""

    @wraps(quantize)
    def method(
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        on_progress: Callable[[int, int], None] | None = None,
        *,
        device: str = "cpu",
        work: Path | None = None,
    ) -> QuantizedModel:
        del device, work
        return quantize(graph, images, recipe, on_progress)

    return method


def _holdable(quantize: Method) -> Method:
    """Make a method see to it that chips can hold what it decides for branches that are dead."""

    @wraps(quantize)
    def method(*arguments: Any, **options: Any) -> QuantizedModel:
        model = quantize(*arguments, **options)
        return with_room_for_biases(with_steps_for_functions(model))

    return method


_DECIDING: Mapping[str, Method] = MappingProxyType(
    {
        "base_ptq": _in_one_go(base_ptq.quantize),
        "base_ptq_paper": _in_one_go(base_ptq_paper.quantize),
        "ptq4vit_paper": _in_one_go(ptq4vit.quantize_paper),
        "ptq4vit_released": _in_one_go(ptq4vit.quantize_released),
        "fq_vit": _in_one_go(fq_vit.quantize),
        "aocq": aocq_method.quantize,
    }
)
METHODS: Mapping[str, Method] = MappingProxyType(
    {name: _holdable(method) for name, method in _DECIDING.items()}
)
