# SPDX-License-Identifier: Apache-2.0
"""Where tokens stand in the image, and what the last attention reads, in all families."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from families import EXAMPLES
from tiny_models import SMALL, input_size, network, with_random_parameters

from aocq.capture import FloatGraph, FloatOp, capture
from aocq.capture.last_attention import read_by_last_attention
from aocq.capture.token_grid import TokenGrid, token_grid
from aocq.jobs.class_activation import activation_maps, float_network
from aocq.zoo.models import timm
from simulator.errors import InputError

# What the last attention reads, how many tokens stand in front of its patches, rows and columns.
EXPECTED = {
    "vit_tiny_patch16_224": ("blocks.1.norm1", 1, 2, 2),
    "deit3_small_patch16_224": ("blocks.1.norm1", 1, 2, 2),
    "vit_small_patch14_reg4_dinov2": ("blocks.1.norm1", 5, 2, 2),  # a class token, four registers
    "vit_relpos_small_patch16_224": ("blocks.1.norm1", 0, 2, 2),
    "naflexvit_base_patch16_gap": ("blocks.1.norm1", 4, 2, 2),
    "swin_tiny_patch4_window7_224": ("layers.1.blocks.1.norm1", 0, 3, 4),
    "swinv2_tiny_window8_256": ("layers.1.blocks.0.add_1", 0, 3, 4),  # branches end in norms
    "cait_xxs24_224": ("blocks_token_only.1.norm1", 1, 2, 2),
    "beit_base_patch16_224": ("blocks.1.norm1", 1, 2, 2),
    "levit_128s": ("stages.1.downsample.add", 0, 2, 2),
}


@cache
def graph_of(name: str) -> FloatGraph:
    stated = EXAMPLES[name]
    built = timm.create_model(name, pretrained=False, **stated.arguments)
    return capture(with_random_parameters(built), name, stated.input_size)


@pytest.mark.parametrize("name", EXPECTED)
def test_tokens_of_the_layer_of_maps(name):
    graph, (layer, prefix, rows, columns) = graph_of(name), EXPECTED[name]
    node = read_by_last_attention(graph)
    assert node.name == layer
    assert token_grid(graph, layer) == TokenGrid(prefix=prefix, rows=rows, columns=columns)
    images = torch.randn(2, *EXAMPLES[name].input_size, generator=torch.Generator().manual_seed(1))
    found = activation_maps(float_network(graph), images, lambda outputs: outputs.argmax(1))
    assert found.activation.shape == (2, rows, columns)
    assert found.activation.isfinite().all()
    assert found.activation.max() == 1


def test_a_slice_takes_tokens_away():
    """Some networks pool without their class token."""
    graph = capture(network("mean_then_norm"), "pooled", input_size(SMALL))
    (node,) = (n for n in graph.nodes if n.op is FloatOp.SLICE and n.shape == (16, 48))
    assert token_grid(graph, node.inputs[0]) == TokenGrid(prefix=1, rows=4, columns=4)
    assert token_grid(graph, node.name) == TokenGrid(prefix=0, rows=4, columns=4)


def test_a_tensor_without_tokens_has_no_grid():
    graph = graph_of("vit_tiny_patch16_224")
    assert token_grid(graph, graph.output.name) is None


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("vit_tiny_patch16_224", "blocks.1.attn.scores"),  # heads, tokens, tokens
        ("vit_tiny_patch16_224", "blocks.1.attn.reshape_2"),  # heads, tokens, channels
        ("vit_tiny_patch16_224", "image"),
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.0.attn.qkv"),  # windows
        ("swin_tiny_patch4_window7_224", "layers.0.blocks.1.roll_1"),  # shifted
    ],
)
def test_three_dimensions_alone_are_no_grid(name, tensor):
    graph = graph_of(name)
    assert len(graph.node(tensor).shape) == 3
    assert token_grid(graph, tensor) is None
    with pytest.raises(InputError, match="no tokens that cover the image; name a tensor that has"):
        float_network(graph, tensor)


@pytest.mark.parametrize("tensor", ["patch_embed.norm", "layers.0.blocks.1.norm1"])
def test_three_dimensions_of_the_stream_are_a_grid(tensor):
    graph = graph_of("swin_tiny_patch4_window7_224")
    assert token_grid(graph, tensor) == TokenGrid(prefix=0, rows=6, columns=7)


def test_a_network_without_attention_is_refused():
    graph = graph_of("vit_tiny_patch16_224")
    place = next(i for i, node in enumerate(graph.nodes) if node.op.value == "softmax")
    without = FloatGraph(name="mlp", nodes=graph.nodes[:place], parameters=graph.parameters)
    with pytest.raises(InputError, match="mlp: has no attention"):
        read_by_last_attention(without)
