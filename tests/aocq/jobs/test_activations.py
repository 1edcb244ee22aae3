# SPDX-License-Identifier: Apache-2.0
"""Tensors on both sides of their quantizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tiny_models import NANO, images, input_size

from aocq.jobs.activations import before_and_after, most_uneven, stream_along_depth
from aocq.methods import METHODS
from aocq.recipes.recipe import Recipe


def test_a_pair_differs_by_its_own_quantizer_only(nano: Callable[[str], Any]) -> None:
    _, graph = nano("class_token")
    pixels = images(4, input_size(NANO))
    model = METHODS["base_ptq"](graph, pixels, Recipe(weight_bits=4))
    stream = stream_along_depth(graph)
    pairs = before_and_after(model, pixels, {*stream, graph.input.name})
    assert set(pairs) == {*stream, graph.input.name}
    for name in stream:
        before, after = pairs[name]
        assert not torch.equal(before, after)
        assert torch.equal(model.activations[name](before), after)
    before, after = pairs[graph.input.name]
    assert torch.equal(before, after)


def test_the_stream_is_listed_along_depth(nano: Callable[[str], Any]) -> None:
    _, graph = nano("class_token")
    stream = stream_along_depth(graph)
    names = [node.name for node in graph.nodes]
    assert stream == sorted(stream, key=names.index)
    assert graph.node("blocks.0.norm1").inputs[0] in stream
    assert graph.node("norm").inputs[0] in stream


def test_the_most_uneven_tensor_has_an_outlier_channel() -> None:
    even = torch.ones(2, 5, 8)
    outlier = even.clone()
    outlier[0, 3, 6] = -9.0
    scaled = 100 * even
    pairs = {name: (x, x) for name, x in (("a", even), ("b", outlier), ("c", scaled))}
    assert most_uneven(pairs) == "b"
