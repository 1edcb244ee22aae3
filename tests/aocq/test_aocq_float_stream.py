# SPDX-License-Identifier: Apache-2.0
"""The float stream is kept or computed again: both give the same calibration."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from asked import asked
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, run
from aocq.methods.aocq import float_stream, method
from aocq.methods.aocq.blocks import blocks, segments
from aocq.methods.aocq.channel_ranges import channel_ranges
from aocq.methods.aocq.float_stream import computed_from, room_for_stream
from aocq.methods.quantized_model import QuantizedModel

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
COUNT = 9


def test_it_is_bounded_by_the_number_of_values(
    nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = nano("class_token")[1]
    x = images(COUNT, input_size(NANO))
    room = room_for_stream(graph, blocks(graph), x)
    ends = {part.result for block in blocks(graph) for part in segments(graph, block)}
    assert room.keys() == ends
    values = sum(tensor.numel() for tensor in room.values())
    monkeypatch.setattr(float_stream, "MOST_KEPT", values)
    assert room_for_stream(graph, blocks(graph), x)
    monkeypatch.setattr(float_stream, "MOST_KEPT", values - 1)
    assert not room_for_stream(graph, blocks(graph), x)


def test_ranges_are_of_the_images_that_count_and_the_stream_is_of_all(nano: Captured) -> None:
    graph = nano("class_token")[1]
    x = images(COUNT, input_size(NANO))
    room = room_for_stream(graph, blocks(graph), x)
    observed = torch.ones(COUNT, dtype=torch.bool)
    observed[[1, 2, 8]] = False  # two of a part, and all of the last
    steps: list[int] = []
    with torch.no_grad():
        seen = channel_ranges(graph, x, 8, steps.append, observed=observed, kept=room)
        alone = channel_ranges(graph, x[observed], 8, lambda _: None)
        again = run(graph, {graph.input.name: x}, list(room))
    assert sum(steps) == int(observed.sum())
    for name, own in alone.items():
        assert torch.allclose(own.low, seen[name].low, atol=1e-5)
        assert torch.allclose(own.high, seen[name].high, atol=1e-5)
    for name, values in room.items():
        assert torch.allclose(values, again[name], atol=1e-5)


def test_what_is_known_is_not_computed(nano: Captured) -> None:
    graph = nano("class_token")[1]
    block = blocks(graph)[1]
    marked = torch.full((2, *graph.node(block.result).shape), 7.0)
    found = computed_from(graph, {block.result: marked}, [block.result])  # without the source
    assert found[block.result] is marked


def test_calibration_is_the_same_without_the_stream(
    nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = nano("class_token")[1]
    recipe, limits = asked(weight_bits=4, aocq={"search_images": 4})
    x = images(COUNT, input_size(NANO))

    def quantized() -> QuantizedModel:
        return method.quantize(graph, x, recipe, limits)

    with_stream = quantized()
    monkeypatch.setattr(float_stream, "MOST_KEPT", 0)
    without = quantized()
    assert with_stream.activations == without.activations
    for name, weight in with_stream.weights.items():
        assert np.array_equal(weight.codes, without.weights[name].codes)
        assert np.array_equal(weight.scale, without.weights[name].scale)
