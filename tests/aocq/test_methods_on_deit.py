# SPDX-License-Identifier: Apache-2.0
"""The methods on a trained network: what random weights cannot show."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_quantized import sqnr
from torch import Tensor

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import read_image_folder
from aocq.data.loader import evenly, load_calibration_images
from aocq.methods import METHODS
from aocq.methods.operands import row_blocks, trace_operand
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import load_model

# Beside the repository; its licences do not allow it inside.
DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.data,
    pytest.mark.networks,
    pytest.mark.skipif(
        not DATA.is_dir(), reason="../shared/data, beside the repository, is not there"
    ),
]


@pytest.fixture(scope="module")
def deit() -> tuple[FloatGraph, Tensor, Tensor]:
    """DeiT-Tiny, 8 calibration images and 8 others."""
    weights = DATA / "weights" / "deit_tiny_patch16_224.lnq8.fp16.safetensors"
    loaded = load_model("deit_tiny_patch16_224", weights)
    graph = capture(loaded.network, loaded.name, loaded.input_size)
    calibration, evaluation = (
        load_calibration_images(
            evenly(read_image_folder(DATA / "imagenet" / part, loaded.classes), 8),
            loaded.preprocessing,
        )[0]
        for part in ("calib", "val")
    )
    return graph, calibration, evaluation


def test_heads_are_found_in_every_block(deit: tuple[FloatGraph, Tensor, Tensor]) -> None:
    graph, _, _ = deit
    for block in range(12):
        place = f"blocks.{block}.attn"
        for product, side, first in (("scores", 0, 0), ("scores", 1, 192), ("context", 1, 384)):
            found = trace_operand(graph, graph.node(f"{place}.{product}"), side)
            assert found.source == f"{place}.qkv"
            assert [head[0] for head in found.heads] == [first, first + 64, first + 128]
        assert [len(rows) for rows in row_blocks(graph, graph.node(f"{place}.qkv"))] == [192] * 3


def test_channel_factors_help_the_residual_stream(
    deit: tuple[FloatGraph, Tensor, Tensor],
) -> None:
    graph, calibration, evaluation = deit
    model = METHODS["fq_vit"](graph, calibration, Recipe())
    deep = model.activations["blocks.11.add"]
    assert isinstance(deep, ActivationQuantizer)
    assert len(set(deep.alpha)) > 1
    with torch.inference_mode():
        plain = sqnr(METHODS["base_ptq"](graph, calibration, Recipe()), evaluation)
        assert sqnr(model, evaluation) > plain
        coarse = METHODS["fq_vit"](graph, calibration, Recipe(weight_bits=3))
        assert sqnr(coarse, evaluation) < plain
