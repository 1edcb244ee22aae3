# SPDX-License-Identifier: Apache-2.0
"""Class activation maps: by hooks on timm's network, through rotations, of codes, of a class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import SMALL, images, input_size, network
from tiny_quantized import TINY, tiny, tiny_graph

from aocq.capture import capture
from aocq.jobs.class_activation import (
    activation_maps,
    fake_quantized_network,
    float_network,
    folded_offset,
    scaled,
    upsampled,
)
from aocq.jobs.compared_maps import class_chooser
from aocq.methods.fake_quantization import FakeQuantization
from aocq.tasks.task import task_of
from aocq.transforms.stream import rotate_stream
from simulator.errors import InputError


def largest(outputs):
    return outputs.flatten(1).argmax(1)


def first_class(outputs):
    return torch.zeros(len(outputs), dtype=torch.int64)


def by_hooks(model, pixels):
    """The formula, image by image, on timm's own module."""
    held = []
    handle = model.blocks[-1].norm1.register_forward_hook(
        lambda module, inputs, output: held.append(output.requires_grad_()) or output
    )
    found = []
    for image in pixels:
        logits = model(image[None])[0]
        tokens = held.pop()
        (slopes,) = torch.autograd.grad(logits.max(), tokens)
        weights = slopes[0, 1:].mean(0)
        sums = torch.stack([(weights * token).sum() for token in tokens[0, 1:]]).clamp(min=0)
        found.append(sums.detach() / sums.max() if sums.max() > 0 else sums.detach())
    handle.remove()
    return torch.stack(found).unflatten(1, (4, 4))


def test_maps_are_those_of_hooks_on_the_network():
    model, pixels = network(), images(6, input_size(SMALL))
    graph = capture(model, "small", input_size(SMALL))
    found = activation_maps(float_network(graph), pixels, largest)
    expected = by_hooks(model, pixels)
    assert expected.max() == 1
    assert expected.std() > 0.05
    torch.testing.assert_close(found.activation, expected.double(), atol=1e-4, rtol=0)


def test_a_rotated_stream_has_the_same_maps():
    """γ and β are in the layers behind the normalization then, and the channels are mixed."""
    pixels = images(6, input_size(SMALL)).double()
    captured = capture(network(), "small", input_size(SMALL))
    doubled = {name: value.double() for name, value in captured.parameters.items()}
    graph = replace(captured, parameters=doubled)
    rotated = rotate_stream(graph)
    plain = float_network(graph)
    offset = folded_offset(rotated, graph, plain.layer)
    assert offset is not None
    moved = replace(plain, graph=rotated, layer=replace(plain.layer, offset=offset))
    without = replace(moved, layer=replace(plain.layer, offset=None))
    expected, found, wrong = (
        activation_maps(each, pixels, largest).activation for each in (plain, moved, without)
    )
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert (wrong - expected).abs().max() > 1e-2


def test_nothing_is_folded_where_nothing_is_rotated():
    graph = tiny_graph()
    assert folded_offset(graph, graph, float_network(graph).layer) is None


@pytest.mark.parametrize("method", ["base_ptq", "fq_vit"])
def test_logits_are_those_of_fake_quantization_before_their_quantizer(method):
    model, pixels = tiny(method), images(6, input_size(TINY))
    found = activation_maps(fake_quantized_network(model, tiny_graph()), pixels, largest)
    rounded = model.activations[model.graph.output.name](found.outputs)
    assert torch.equal(rounded, FakeQuantization(model).logits(pixels))
    assert found.activation.max() == 1
    assert found.activation.isfinite().all()


def test_a_logit_at_the_end_of_its_type_has_a_map():
    model, pixels = tiny(), images(4, input_size(TINY))
    name = model.graph.output.name
    narrow = replace(model.activations[name], scale=model.activations[name].scale / 1000)
    saturating = replace(model, activations={**model.activations, name: narrow})
    expected, found = (
        activation_maps(fake_quantized_network(each, tiny_graph()), pixels, first_class)
        for each in (model, saturating)
    )
    assert torch.equal(found.activation, expected.activation)
    assert found.activation.max() == 1


@pytest.mark.parametrize(("number", "expected"), [(None, [3, 4, 0]), (1, [1, 1, 1])])
def test_the_class_is_the_largest_or_the_one_asked_for(number, expected):
    choose = class_chooser(task_of("classification"), tiny_graph(), number)
    outputs = torch.zeros(3, 10)
    outputs[0, 3], outputs[1, 4] = 1, 1
    outputs[2] = 2  # of equal ones the first
    assert choose(outputs).tolist() == expected


def test_a_class_that_is_not_there_is_told():
    with pytest.raises(InputError, match=r"tiny: has no class 10; --class is one of 0 to 9"):
        class_chooser(task_of("classification"), tiny_graph(), 10)


def test_of_tokens_the_class_and_the_patch_are_found():
    """Not the class token, nor what is no class: centerness and distances."""
    dense = network("class_token", TINY, num_classes=8, global_pool="")
    graph = capture(dense, "dense", input_size(TINY))
    assert graph.output.shape == (5, 8)
    choose = class_chooser(task_of("detection"), graph, None)
    outputs = torch.zeros(1, 5, 8)
    outputs[0, 0] = 9  # the class token
    outputs[0, 2, 3:] = 8  # none of the three classes
    outputs[0, 4, 1] = 7
    assert choose(outputs).tolist() == [4 * 8 + 1]
    found = activation_maps(float_network(graph), images(2, input_size(TINY)), choose)
    assert found.activation.shape == (2, 2, 2)
    with pytest.raises(InputError, match="0 to 2"):
        class_chooser(task_of("detection"), graph, 3)


def test_maps_of_nothing_stay_nothing():
    maps = torch.tensor([[[0.0, 0.0]], [[0.5, 2.0]]])
    assert scaled(maps).tolist() == [[[0.0, 0.0]], [[0.25, 1.0]]]


def test_pixels_lie_between_their_patches():
    """Pixel centres and patch centres are those of the same image."""
    pixels = upsampled(torch.tensor([[[0.0, 1.0]]], dtype=torch.float64), (1, 4))
    assert pixels.tolist() == [[[0.0, 0.25, 0.75, 1.0]]]
