# SPDX-License-Identifier: Apache-2.0
"""The token that each element of a tensor belongs to, in windows and heads too."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from families import EXAMPLES
from tiny_models import with_random_parameters

from aocq.capture import FloatGraph, capture
from aocq.capture.token_grid import TokenGrid
from aocq.capture.token_places import TokenPlaces, token_places
from aocq.zoo.models import timm


@cache
def graph_of(name: str, **changed: object) -> FloatGraph:
    stated = EXAMPLES[name]
    size = stated.input_size
    if "img_size" in changed:
        size = (3, changed["img_size"], changed["img_size"])
    built = timm.create_model(name, pretrained=False, **{**stated.arguments, **changed})
    return capture(with_random_parameters(built), name, size)


@cache
def small_windows() -> tuple[FloatGraph, dict[str, TokenPlaces]]:
    """A Swin whose windows have as many tokens as its last stage: 3 x 3, of 6 x 6 in the first."""
    graph = graph_of("swin_tiny_patch4_window7_224", img_size=12, window_size=3)
    return graph, token_places(graph)


def shifted(block: int) -> int:
    return 1 if block else 0  # half of a window, rounded down


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("end", ["qkv", "scores", "probabilities", "context"])
def test_tokens_of_windows_are_those_of_the_image(block: int, end: str) -> None:
    graph, places = small_windows()
    name = f"layers.0.blocks.{block}.attn.{end}"
    found = places[name]
    assert found.grid == TokenGrid(prefix=0, rows=6, columns=6)
    assert found.numbers.shape == graph.node(name).shape
    for window in range(4):
        for token in range(9):
            row = 3 * (window // 2) + token // 3 + shifted(block)
            column = 3 * (window % 2) + token % 3 + shifted(block)
            numbers = found.numbers[window, ..., token, :]
            assert numbers.unique().tolist() == [row % 6 * 6 + column % 6 + 1]


def test_the_last_stage_has_tokens_of_its_own() -> None:
    _, places = small_windows()
    found = places["layers.1.blocks.1.mlp.fc2"]
    assert found.grid == TokenGrid(prefix=0, rows=3, columns=3)
    assert found.numbers[..., 0].flatten().tolist() == list(range(1, 10))


def test_padding_of_windows_belongs_to_no_token() -> None:
    graph = graph_of("swin_tiny_patch4_window7_224")  # 6 x 7 in windows of 4 x 4
    numbers = token_places(graph)["layers.0.blocks.0.attn.qkv"].numbers[..., 0]
    assert numbers[1].reshape(4, 4).tolist() == [
        [7 * row + column + 1 if column < 7 else 0 for column in range(4, 8)] for row in range(4)
    ]


def test_channels_are_no_tokens_however_many_there_are() -> None:
    """Transposed keys are (heads, channels, tokens): with as many channels as patches, 4."""
    graph = graph_of("cait_xxs24_224", embed_dim=12)
    places = token_places(graph)
    keys = "blocks_token_only.0.attn.transpose_3"
    assert graph.node(keys).shape == (3, 4, 5)
    assert torch.equal(places[keys].numbers, torch.arange(1, 6).expand(3, 4, 5))


def test_rows_of_one_token_and_of_several() -> None:
    places = token_places(graph_of("vit_tiny_patch16_224"))
    assert places["blocks.0.attn.context"].numbers[:, 0].unique().tolist() == [1]
    _, stages = small_windows()
    merged = stages["layers.1.downsample.norm"].numbers  # of four tokens' channels in a row
    assert merged.shape[-1] == 4 * 12
    assert not merged.any()
    pooled = token_places(graph_of("levit_128s"))
    assert not pooled["mean"].numbers.any()
