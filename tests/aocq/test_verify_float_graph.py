# SPDX-License-Identifier: Apache-2.0
"""What is captured is sound, and a graph with one thing wrong is refused by the node's name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
import torch
from tiny_models import SMALL, VARIANTS, network, with_random_parameters
from torch import nn

from aocq.capture import FloatGraph, FloatNode, FloatOp, capture
from aocq.capture.attributes import ATTRIBUTES
from aocq.capture.verify import LONGEST_CHAIN, MOST_NODES, verify
from aocq.zoo.models import timm
from simulator.errors import InputError

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


def node(op: FloatOp, inputs: str, shape: tuple[int, ...], name: str = "", **kw: Any) -> FloatNode:
    return FloatNode(
        name=name or str(op),
        op=op,
        inputs=tuple(inputs.split()),
        attributes=MappingProxyType(kw),
        shape=shape,
    )


IMAGE = node(FloatOp.INPUT, "", (2, 6, 4), "image")


def graph(*nodes: FloatNode, **parameters: torch.Tensor) -> FloatGraph:
    return FloatGraph(name="made by hand", nodes=(IMAGE, *nodes), parameters=parameters)


def test_there_is_a_schema_for_every_operation() -> None:
    assert ATTRIBUTES.keys() == set(FloatOp)


@pytest.mark.parametrize("variant", VARIANTS)
def test_captured_graphs_are_sound(variant: str, small: Captured) -> None:
    if "patch_size" in VARIANTS[variant]:
        verify(capture(network(variant), variant, (3, SMALL["img_size"], SMALL["img_size"])))
    else:
        verify(small(variant)[1])


def test_a_network_of_real_size_takes_a_moment() -> None:
    """Nothing is computed, so that every command that loads a model can afford it."""
    size = 224
    built = with_random_parameters(timm.create_model("deit_tiny_patch16_224", pretrained=False))
    found = capture(built, "deit_tiny", (3, size, size))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        verify(found)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3


LAYERS: dict[str, tuple[FloatNode, dict[str, torch.Tensor]]] = {
    "linear": (
        node(FloatOp.LINEAR, "image", (2, 6, 3), weight="w", bias="b"),
        {"w": torch.ones(3, 4), "b": torch.ones(3)},
    ),
    "layernorm": (
        node(FloatOp.LAYERNORM, "image", (2, 6, 4), weight="g", bias=None, epsilon=1e-6),
        {"g": torch.ones(4)},
    ),
    "l2norm": (
        node(FloatOp.L2NORM, "image", (2, 6, 4), gain="g", epsilon=1e-12),
        {"g": torch.ones(2, 1, 1)},
    ),
    "hadamard": (node(FloatOp.HADAMARD, "image", (2, 6, 4), order=2), {}),
    "requantize": (node(FloatOp.REQUANTIZE, "image", (2, 6, 4)), {}),
    "matmul": (node(FloatOp.MATMUL, "image image", (2, 6, 6), transpose_b=True), {}),
    "slice": (node(FloatOp.SLICE, "image", (2, 2, 4), axis=1, start=1, stop=5, step=2), {}),
    "roll": (node(FloatOp.ROLL, "image", (2, 6, 4), axis=1, shift=2), {}),
    "pad": (node(FloatOp.PAD, "image", (2, 9, 4), axis=1, before=1, after=2), {}),
    "patches": (node(FloatOp.PATCHES, "image", (1, 2, 32), kernel=(2, 4), stride=(1, 2)), {}),
    "transpose": (node(FloatOp.TRANSPOSE, "image", (6, 2, 4), permutation=(1, 0, 2)), {}),
    "reshape": (node(FloatOp.RESHAPE, "image", (12, 4)), {}),
    "mask": (
        node(FloatOp.MASK, "image", (2, 6, 4), parameter="m"),
        {"m": torch.tensor([0.0, -100.0, -math.inf, 0.0])},
    ),
    "mean": (node(FloatOp.MEAN, "image", (2, 4), axis=1), {}),
    "concat": (node(FloatOp.CONCAT, "image image", (4, 6, 4), axis=0), {}),
    "scale": (node(FloatOp.SCALE, "image", (2, 6, 4), factor=0.25), {}),
    "unary": (node(FloatOp.UNARY, "image", (2, 6, 4), function="gelu"), {}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_one_operation_is_sound(name: str) -> None:
    layer, parameters = LAYERS[name]
    verify(graph(layer, **parameters))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("linear", {"shape": (2, 6, 4)}, "parameter w has shape"),
        ("linear", {"inputs": ()}, "reads 0 tensors, wanted 1"),
        ("linear", {"inputs": ("nowhere",)}, "reads nowhere, which no node before it yields"),
        ("linear", {"name": "image"}, "another node has its name"),
        ("linear", {"attributes": {"weight": "w"}}, "attributes.bias: Field required"),
        ("linear", {"attributes": {"weight": 3, "bias": None}}, "attributes.weight"),
        ("linear", {"attributes": {"weight": "x", "bias": None}}, "parameter x, which is not"),
        ("layernorm", {"attributes": {"weight": None, "bias": None, "epsilon": 0.0}}, "epsilon"),
        (
            "layernorm",
            {"attributes": {"weight": None, "bias": None, "epsilon": math.nan}},
            "attributes.epsilon",
        ),
        ("l2norm", {"attributes": {"gain": "g", "epsilon": 0.0}}, "attributes.epsilon"),
        ("l2norm", {"attributes": {"gain": "g", "epsilon": 2.0}}, "attributes.epsilon"),
        ("l2norm", {"attributes": {"epsilon": 1e-12}}, "attributes.gain: Field required"),
        ("l2norm", {"attributes": {"gain": "x", "epsilon": 1e-12}}, "parameter x, which is not"),
        ("l2norm", {"shape": (2, 6, 1)}, "its inputs imply"),
        ("l2norm", {"inputs": ("image", "image")}, "reads 2 tensors, wanted 1"),
        ("matmul", {"attributes": {"transpose_b": False}}, "does not go together"),
        ("matmul", {"attributes": {"transpose_b": 1}}, "attributes.transpose_b"),
        (
            "hadamard",
            {"attributes": {"order": 3}},
            "attributes.order: Value error, Hadamard order",
        ),
        ("hadamard", {"attributes": {"order": 8}}, "4 channels, which are not whole blocks of 8"),
        ("requantize", {"attributes": {"order": 2}}, "attributes.order"),
        ("slice", {"attributes": {"axis": 1, "start": 1, "stop": 9}}, "its inputs imply"),
        ("slice", {"attributes": {"axis": -1, "start": 0, "stop": 1}}, "attributes.axis"),
        ("roll", {"attributes": {"axis": 1, "shift": 6}}, "cannot shift dimension 1"),
        ("roll", {"attributes": {"axis": 7, "shift": 1}}, "cannot shift dimension 7"),
        ("pad", {"attributes": {"axis": 1, "before": 1, "after": 10**12}}, "attributes.after"),
        ("patches", {"attributes": {"kernel": (3, 4), "stride": (1, 2)}}, "patches"),
        ("patches", {"shape": (2, 32)}, "wanted rows, columns and channels"),
        ("patches", {"attributes": {"kernel": (2, 10**6), "stride": (1, 1)}}, "kernel.1"),
        ("transpose", {"attributes": {"permutation": (1, 1, 2)}}, "does not go together"),
        ("reshape", {"shape": (12, 5)}, "does not hold"),
        ("reshape", {"shape": (1 << 20, 1 << 20)}, "at most 268435456 elements"),
        ("reshape", {"shape": ()}, "wanted 1 to 16 dimensions"),
        ("reshape", {"shape": (48, *(1,) * 32)}, "wanted 1 to 16 dimensions"),
        ("mean", {"attributes": {"axis": 5}}, "does not go together"),
        ("scale", {"attributes": {"factor": -1.0}}, "attributes.factor"),
        ("unary", {"attributes": {"function": "sinh"}}, "wanted one of gelu"),
        ("concat", {"inputs": ()}, "reads nothing"),
        ("concat", {"attributes": {"axis": 0, "more": 1}}, "attributes.more"),
    ],
)
def test_one_thing_wrong_is_refused_by_name(
    name: str, change: dict[str, Any], message: str
) -> None:
    layer, parameters = LAYERS[name]
    with pytest.raises(InputError, match=f"^node (image|{name}) .*") as refused:
        verify(graph(replace(layer, **change), **parameters))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.full((4,), math.nan), "not finite"),
        (torch.full((4,), math.inf), "not finite"),
        (torch.ones(4, dtype=torch.float64), "is torch.float64, wanted torch.float32"),
        (torch.ones(1), "has shape"),
    ],
)
def test_parameters_are_finite_float32_of_their_layers_shape(
    value: torch.Tensor, message: str
) -> None:
    layer, _ = LAYERS["layernorm"]
    with pytest.raises(InputError, match=message):
        verify(graph(layer, g=value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2), "has shape (2,), wanted (1,) or (2, 1, 1): one factor, or one for each"),
        (torch.ones(4), "has shape (4,)"),
        (torch.ones(1, 1, 1), "has shape (1, 1, 1)"),
        (torch.ones(2, 6, 1), "has shape (2, 6, 1)"),
        (torch.tensor([0.0]), "must hold factors from 5.42e-20 to 1.84e+19"),
        (torch.tensor([-1.0]), "must hold factors"),
        (torch.tensor([1e20]), "must hold factors"),
        (torch.tensor([math.nan]), "not finite"),
    ],
)
def test_a_gain_is_one_positive_factor_or_one_for_each_head(
    value: torch.Tensor, message: str
) -> None:
    layer, _ = LAYERS["l2norm"]
    verify(graph(layer, g=torch.ones(1)))
    with pytest.raises(InputError) as refused:
        verify(graph(layer, g=value))
    assert message in str(refused.value)


@pytest.mark.parametrize("row", [[0.0, -3.0, 0.0, 0.0], [-100.0] * 4, [math.nan] * 4])
def test_a_mask_switches_scores_off_and_leaves_one_in_each_row(row: list[float]) -> None:
    layer, _ = LAYERS["mask"]
    with pytest.raises(InputError, match="a 0 in every row"):
        verify(graph(layer, m=torch.tensor(row)))


def test_there_is_one_image() -> None:
    with pytest.raises(InputError, match="2 of them are inputs"):
        verify(graph(replace(IMAGE, name="another")))
    with pytest.raises(InputError, match="has 0, wanted 1"):
        verify(replace(graph(), nodes=()))


def test_graphs_have_bounds() -> None:
    """What follows codes through layout goes from node to node, and some of it searches all."""
    shapes = [(2, 6, 4), (12, 4)]
    chain = [
        node(FloatOp.RESHAPE, f"r{i - 1}" if i else "image", shapes[i % 2], f"r{i}")
        for i in range(MOST_NODES)
    ]
    verify(graph(*chain[:LONGEST_CHAIN]))
    with pytest.raises(InputError, match=rf"^node r{LONGEST_CHAIN} .*make no new values"):
        verify(graph(*chain[: LONGEST_CHAIN + 1]))
    with pytest.raises(InputError, match=f"has {MOST_NODES + 1}, wanted"):
        verify(graph(*chain))
