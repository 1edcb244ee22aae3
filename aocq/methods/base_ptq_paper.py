# SPDX-License-Identifier: Apache-2.0
"""``base_ptq_paper``, the BasePTQ of papers: scales of the greatest cosine similarity.

Symmetric uniform codes; one scale per weight matrix (three for a joint Q, K, V layer), one per
layer input, one per head for operands of attention's products. Source: the baseline of PTQ4ViT
(arXiv 2111.12293, section 4) with the search of EasyQuant (arXiv 2006.16669); grid and rounds as
in PTQ4ViT's released configuration. Deviations: ``docs/methods.md``.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods.layer_search import Grid
from aocq.methods.objectives import cosine
from aocq.methods.parallel_calibration import Settings, calibrate
from aocq.methods.quantized_model import QuantizedModel
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

SETTINGS = Settings(
    method="base_ptq_paper", grid=Grid(low=0.5, high=1.2), rounds=1, objective=cosine
)


def quantize(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize by the first 32 of ``images``, float32 [count, channels, height, width]."""
    return calibrate(graph, images, recipe, limits, SETTINGS, on_progress)
