# SPDX-License-Identifier: Apache-2.0
"""Quantization methods: each turns a FloatGraph and images into a QuantizedModel.

A new method is one file and one row in ``METHODS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods import base_ptq, base_ptq_paper, fq_vit, ptq4vit
from aocq.methods.quantized_model import QuantizedModel, Recipe

__all__ = ["METHODS", "Method", "QuantizedModel", "Recipe"]


class Method(Protocol):
    """What every method is: a function of the network, images, and a recipe.

    ``images`` [count, channels, height, width] are preprocessed; ``on_progress(done, total)`` is
    called now and then.
    """

    def __call__(
        self,
        graph: FloatGraph,
        images: Tensor,
        recipe: Recipe,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> QuantizedModel:
        """Decide every scale and every integer weight."""
        ...


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "base_ptq": base_ptq.quantize,
        "base_ptq_paper": base_ptq_paper.quantize,
        "ptq4vit_paper": ptq4vit.quantize_paper,
        "ptq4vit_released": ptq4vit.quantize_released,
        "fq_vit": fq_vit.quantize,
    }
)
