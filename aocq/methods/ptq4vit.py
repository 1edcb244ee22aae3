# SPDX-License-Identifier: Apache-2.0
"""``ptq4vit_paper`` and ``ptq4vit_released``: twin ranges, and errors weighted by gradients.

As BasePTQ, with a scale for each channel of the patch embedding, three rounds, twin quantizers
after softmax and GELU, and an objective that weighs errors by the gradient of a loss. Source:
PTQ4ViT (arXiv 2111.12293). Paper and released code differ in three places:

- after softmax, the released quantizer adds about the threshold to every probability;
- after GELU, the paper ties both scales by a power of two, the released code does not;
- the gradient is 0 by definition (see :mod:`aocq.methods.fisher`). ``ptq4vit_paper`` draws labels
  from the float predictions. The released code runs on the rounding noise of a GPU;
  ``ptq4vit_released`` puts seeded normal noise in its place. Without any, all candidates of all
  layers tie, the first one (0.01 of the full scale) wins, and the network is destroyed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from aocq.capture import FloatGraph
from aocq.methods.fisher import perturbed_direction, sampled_label_direction
from aocq.methods.layer_search import Grid
from aocq.methods.objectives import hessian_guided
from aocq.methods.parallel_calibration import Settings, calibrate
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.twin_ranges import (
    softmax_twin,
    softmax_twin_released,
    tied_multiples,
    untied_multiples,
)
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe

PAPER = Settings(
    method="ptq4vit_paper",
    grid=Grid(low=0.01, high=1.2),
    rounds=3,
    objective=hessian_guided,
    direction=sampled_label_direction,
    softmax_levels=softmax_twin,
    gelu_multiples=tied_multiples,
    stem_per_channel=True,
)
RELEASED = replace(
    PAPER,
    method="ptq4vit_released",
    direction=perturbed_direction,
    softmax_levels=softmax_twin_released,
    gelu_multiples=untied_multiples,
)


def quantize_paper(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize by the first 32 of ``images``, float32 [count, channels, height, width]."""
    return calibrate(graph, images, recipe, limits, PAPER, on_progress)


def quantize_released(
    graph: FloatGraph,
    images: Tensor,
    recipe: Recipe,
    limits: ChipLimits,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Quantize as the released code does, by the first 32 of ``images``."""
    return calibrate(graph, images, recipe, limits, RELEASED, on_progress)
