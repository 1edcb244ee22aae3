# SPDX-License-Identifier: Apache-2.0
"""Class activation maps: by hooks on timm's network, through rotations, of codes, of a class."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from families import EXAMPLES
from tiny_models import SMALL, images, input_size, network
from tiny_quantized import TINY, tiny, tiny_graph

from aocq.capture import capture
from aocq.capture.last_attention import read_by_last_attention
from aocq.jobs.class_activation import (
    Layer,
    activation_maps,
    fake_quantized_network,
    float_network,
    folded_offset,
    scaled,
)
from aocq.jobs.compared_maps import class_chooser
from aocq.methods.fake_quantization import FakeQuantization
from aocq.tasks.task import task_of
from aocq.transforms.stream import rotate_stream
from simulator.errors import InputError


def largest(outputs):
    return outputs.flatten(1).argmax(1)


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
        activation_maps(fake_quantized_network(each, tiny_graph()), pixels, lambda _: torch.zeros(4).long())
        for each in (model, saturating)
    )
    assert torch.equal(found.activation, expected.activation)
    assert found.activation.max() == 1


@pytest.mark.parametrize(
    ("example", "layer"),
    [
        ("class_token", "blocks.1.norm1"),
        ("qk_norm", "blocks.1.norm1"),
        ("swin_tiny_patch4_window7_224", "layers.3.blocks.1.norm1"),
        ("beit_base_patch16_224", "blocks.1.norm1"),
        ("cait_xxs24_224", "blocks_token_only.1.norm1"),
    ],
)
def test_the_layer_is_what_the_last_attention_reads(example, layer):
    stated = EXAMPLES[example]
    print(stated)
