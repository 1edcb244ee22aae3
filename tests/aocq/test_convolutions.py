# SPDX-License-Identifier: Apache-2.0
"""Convolutions as gathered patches, and BatchNorm in the layer beside it: what torch computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import images, with_random_parameters
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, capture, run
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.methods.scales import moved
from aocq.recipes.recipe import Recipe
from simulator.boundary import quantize
from simulator.executor import Executor
from simulator.graph.ops import Slice
from simulator.ops import BEHAVIOURS
from simulator.profile import load_profile

SIZE = (3, 9, 12)


class Then(nn.Module):
    """A module, then whatever ``function`` does with it and its result."""

    def __init__(self, function: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, **self.parts)


def captured(model: nn.Module) -> FloatGraph:
    """The graph of a model, which computes what the model does."""
    network = with_random_parameters(model)
    graph = capture(network, "convolution", SIZE)
    for batch in (1, 3):
        inputs = images(batch, SIZE)
        found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
        torch.testing.assert_close(found, network(inputs), rtol=1e-5, atol=1e-5)
    return graph


def operations(graph: FloatGraph) -> list[FloatOp]:
    layout = {FloatOp.RESHAPE, FloatOp.TRANSPOSE}
    return [node.op for node in graph.nodes if node.op not in layout]


CONVOLUTIONS: dict[str, tuple[dict[str, Any], list[FloatOp]]] = {
    "stem": ({"kernel_size": 3, "stride": 2, "padding": 1}, [FloatOp.PAD] * 2 + [FloatOp.PATCHES]),
    "oblong": (
        {"kernel_size": (3, 5), "stride": (3, 2), "padding": (0, 2)},
        [FloatOp.PAD, FloatOp.PATCHES],
    ),
    "no_padding": ({"kernel_size": 2, "stride": 1}, [FloatOp.PATCHES]),
    "gaps": ({"kernel_size": 2, "stride": 4}, [FloatOp.PATCHES]),
    "some_pixels": ({"kernel_size": 1, "stride": 2}, [FloatOp.SLICE] * 2),
    "part_of_a_patch": ({"kernel_size": 4, "stride": 4}, [FloatOp.PATCHES]),
    "patches": ({"kernel_size": 3, "stride": 3}, []),
    "pixels": ({"kernel_size": 1}, []),
    "no_bias": ({"kernel_size": 3, "stride": 2, "bias": False}, [FloatOp.PATCHES]),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_convolution_is_patches_and_a_layer(kind: str) -> None:
    options, gathered = CONVOLUTIONS[kind]
    graph = captured(nn.Conv2d(3, 5, **options))
    assert operations(graph) == [FloatOp.INPUT, *gathered, FloatOp.LINEAR]


def tokens(x: Tensor, stem: nn.Module) -> Tensor:
    return stem(x).flatten(2).transpose(1, 2)


BATCH_NORMS: dict[str, tuple[Callable[..., Tensor], dict[str, Callable[[], nn.Module]]]] = {
    "behind_a_convolution": (
        lambda x, stem, norm: norm(stem(x)),
        {"norm": lambda: nn.BatchNorm2d(5)},
    ),
    "behind_a_layer_of_tokens": (
        lambda x, stem, fc, norm: norm(fc(tokens(x, stem)).flatten(0, 1)).reshape(len(x), -1, 7),
        {"fc": lambda: nn.Linear(5, 7), "norm": lambda: nn.BatchNorm1d(7)},
    ),
    "of_a_layer_without_bias": (
        lambda x, stem, fc, norm: norm(fc(tokens(x, stem)).transpose(1, 2)),
        {"fc": lambda: nn.Linear(5, 7, bias=False), "norm": lambda: nn.BatchNorm1d(7)},
    ),
    "without_parameters": (
        lambda x, stem, norm: norm(stem(x)),
        {"norm": lambda: nn.BatchNorm2d(5, affine=False)},
    ),
    "before_a_layer": (
        lambda x, stem, norm, fc: fc(norm(tokens(x, stem).mean(1))),
        {"norm": lambda: nn.BatchNorm1d(5), "fc": lambda: nn.Linear(5, 7)},
    ),
    "before_a_layer_without_bias": (
        lambda x, stem, norm, fc: fc(norm(tokens(x, stem).mean(1))),
        {"norm": lambda: nn.BatchNorm1d(5), "fc": lambda: nn.Linear(5, 7, bias=False)},
    ),
    "twice": (
        lambda x, stem, norm, again: again(norm(stem(x))),
        {"norm": lambda: nn.BatchNorm2d(5), "again": lambda: nn.BatchNorm2d(5)},
    ),
}


@pytest.mark.parametrize("place", BATCH_NORMS)
def test_batch_norm_goes_into_the_layer_beside_it(place: str) -> None:
    function, made = BATCH_NORMS[place]
    parts = {name: make() for name, make in made.items()}
    graph = captured(Then(function, stem=nn.Conv2d(3, 5, 3, 2), **parts))
    layers = operations(graph).count(FloatOp.LINEAR)
    assert layers == 1 + ("fc" in parts)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :, 1::2, ::3],
        lambda x: x.split([1, 4], 1)[1],
        lambda x: x.split(5, 2)[1],
        lambda x: x.chunk(3, 3)[2],
        lambda x: nn.functional.hardswish(4 * x),
        lambda x: x.unsqueeze(2)[:, :, 0],
        lambda x: x.unsqueeze(-1).flatten(2),
        lambda x: (x + x).relu_(),
    ],
    ids=[
        "every_nth",
        "split_by_sizes",
        "split",
        "chunk",
        "hardswish",
        "unsqueeze",
        "at_the_end",
        "in_place",
    ],
)
def test_small_operators(function: Callable[[Tensor], Tensor]) -> None:
    captured(Then(lambda x, stem: function(stem(x)), stem=nn.Conv2d(3, 5, 1)))


def test_gathered_codes_are_those_of_the_image() -> None:
    """Every op as its reference has it, and patches as numpy cuts them."""
    model = Then(
        lambda x, first, act, second: second(act(first(x))).flatten(2).mean(2),
        first=nn.Conv2d(3, 5, 3, 2, 1),
        act=nn.Hardswish(),
        second=nn.Conv2d(5, 4, 3, 2, 1),
    )
    quantized = METHODS["base_ptq"](captured(model), images(8, SIZE), Recipe())
    graph = lower(quantized, load_profile("edge_npu_int8"))
    assert graph.float_ops == 0
    assert {op.step for op in graph.ops if isinstance(op, Slice)} == {2}
    codes = quantize(images(2, SIZE).numpy(), graph.tensors["image"])
    names = [op.name for op in graph.ops]
    taps = Executor(graph, gemm="numba", threads=1).run(codes, taps=names).taps
    held = {"image": codes, **taps}
    for op in graph.ops:
        operands = [
            graph.constants[name] if graph.is_constant(name) else held[name][1]
            for name in op.operands
        ]
        expected = BEHAVIOURS[type(op)].reference(op, graph, operands).codes
        assert np.array_equal(taps[op.name][1], expected), op.name
    zero = graph.tensors["image"].zero_point
    padded = np.pad(codes, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=zero)
    patches = taps["parts.first.patches"]
    for row in range(5):
        for column in range(6):
            window = padded[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            flat = window.transpose(0, 2, 3, 1).reshape(len(codes), -1)
            assert np.array_equal(patches[:, row, column], flat)


@pytest.mark.parametrize("scales", [(5, 6, 2), (1, 1, 2), (5, 1, 1), (1, 6, 1)])
def test_scales_move_with_patches(scales: tuple[int, ...]) -> None:
    given = np.arange(1.0, 1 + np.prod(scales)).reshape(scales)
    attributes = {"kernel": (3, 2), "stride": (2, 3)}
    node = FloatNode(
        name="y", op=FloatOp.PATCHES, inputs=("x",), attributes=attributes, shape=(2, 2, 12)
    )
    source = FloatNode(name="x", op=FloatOp.INPUT, inputs=(), attributes={}, shape=(5, 6, 2))
    graph = FloatGraph(name="one", nodes=(source, node), parameters={})
    everywhere = torch.tensor(np.broadcast_to(given, (5, 6, 2)).copy())
    expected = run(graph, {"x": everywhere[None]}, ["y"])["y"][0].numpy()
    found = moved(given, (5, 6, 2), node)
    assert np.array_equal(np.broadcast_to(found, node.shape), expected)


def test_scales_move_with_every_nth_element() -> None:
    attributes = {"axis": 0, "start": 1, "stop": 6, "step": 2}
    node = FloatNode(name="y", op=FloatOp.SLICE, inputs=("x",), attributes=attributes, shape=(3, 2))
    assert moved(np.arange(6.0)[:, None], (6, 2), node).flatten().tolist() == [1, 3, 5]
