# SPDX-License-Identifier: Apache-2.0
"""The smallest quantized models: a network of 4 patches and 8 channels, by any method."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

from asked import for_chip
from tiny_models import NANO, images, input_size, network

from aocq.capture import FloatGraph, capture
from aocq.jobs.calibration import calibrated
from aocq.methods import QuantizedModel
from aocq.recipes.aocq_options import AocqOptions
from simulator.profile import load_profile

TINY = {**NANO, "img_size": 8, "patch_size": 4, "embed_dim": 8, "num_heads": 2, "mlp_ratio": 1}


def meta_of(graph: FloatGraph) -> dict[str, str]:
    """What a run of the product would write of a captured network."""
    preprocessing = {
        "crop_mode": "center",
        "crop_pct": 1.0,
        "input_size": list(graph.input.shape),
        "interpolation": "bicubic",
        "mean": [0.5] * graph.input.shape[0],
        "std": [0.5] * graph.input.shape[0],
    }
    return {
        "classes": str(graph.output.shape[-1]),
        "preprocessing": json.dumps(preprocessing, sort_keys=True),
    }


@cache
def tiny_graph(variant: str = "class_token") -> FloatGraph:
    return capture(network(variant, TINY), "tiny", input_size(TINY))


@cache
def tiny(method: str = "base_ptq", profile: str = "edge_npu_int8", **fields: Any) -> QuantizedModel:
    """Quantize the tiny network for a profile as the product does."""
    chip, pixels = load_profile(profile), images(8, input_size(TINY))
    options = AocqOptions(scale_passes=1, search_images=4)
    bits = {"weight_bits": min(chip.weight.bits), "activation_bits": chip.activation.operand_width}
    recipe = for_chip(chip, **{**bits, "aocq": options, **fields})
    model = calibrated(method, tiny_graph(), pixels, *recipe)
    return replace(model, meta=meta_of(model.graph))
