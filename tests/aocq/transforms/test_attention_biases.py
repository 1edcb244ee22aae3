# SPDX-License-Identifier: Apache-2.0
"""Biases of keys and values that the network does not feel."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import images as random_images
from tiny_models import with_random_parameters
from torch import Tensor

from aocq.capture import FloatGraph, FloatOp, capture, run
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from aocq.transforms.apply import changes_network, needs_images, transformed
from aocq.transforms.attention import align_scores, centre_values
from aocq.zoo.models import timm
from simulator.profile import load_profile

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))

from networks import DEMO, captured, images_of

NETWORKS = (DEMO, "vit_tiny_patch16_224", "vit_relpos_small_patch16_224", "beit_base_patch16_224")


def _wide(network: str) -> FloatGraph:
    graph = captured(network)
    parameters = {name: value.double() for name, value in graph.parameters.items()}
    return replace(graph, parameters=parameters)


def _value(graph: FloatGraph, images: Tensor, name: str = "") -> Tensor:
    name = name or graph.output.name
    return run(graph, {graph.input.name: images}, [name])[name]


def _changed(before: FloatGraph, after: FloatGraph) -> set[str]:
    return {
        name
        for name, value in after.parameters.items()
        if name not in before.parameters or not torch.equal(value, before.parameters[name])
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_stays_the_same(network: str) -> None:
    graph, images = _wide(network), images_of(network, 2)
    for changed in (centre_values(graph, images), align_scores(graph, images, 1.0)):
        torch.testing.assert_close(_value(changed, images), _value(graph, images))
        assert all("bias" in name for name in _changed(graph, changed)), _changed(graph, changed)


def test_values_are_0_on_average() -> None:
    graph, images = _wide(DEMO), images_of(DEMO, 8)
    centred = centre_values(graph, images)
    assert _changed(graph, centred)
    for node in graph.nodes:
        if node.op is FloatOp.MATMUL and not node.attributes["transpose_b"]:
            before, after = (
                _value(g, images, node.inputs[1]).mean((0, 2)) for g in (graph, centred)
            )
            assert after.abs().max() < 1e-9 < before.abs().max()


def test_clipped_scores_have_nearly_the_same_probabilities() -> None:
    graph, images = _wide(DEMO), images_of(DEMO, 8)
    scores = [node.inputs[0] for node in graph.nodes if node.op is FloatOp.SOFTMAX]
    reach = float(_value(graph, images, scores[0]).abs().max()) / 2
    aligned = align_scores(graph, images, reach)

    def error(changed: FloatGraph) -> float:
        found = 0.0
        for name in scores:
            clipped = _value(changed, images, name).clamp(-reach, reach).softmax(-1)
            found += float((clipped - _value(graph, images, name).softmax(-1)).square().sum())
        return found

    assert error(aligned) < error(graph) / 2


def test_they_are_chosen_where_a_chip_approximates_softmax() -> None:
    recipe = Recipe()
    ita, pulp, plain = (
        limits_of(load_profile(name), recipe)
        for name in ("ita_26b", "deeploy_pulp", "ethos_u85_256")
    )
    assert (ita.octave_codes, pulp.octave_codes, plain.octave_codes) == (32, 20, None)
    assert ita.approximate_probabilities
    assert pulp.approximate_probabilities
    assert not plain.approximate_probabilities
    options = replace(AocqOptions(), rotate_stream="never")
    assert not changes_network(options, plain)
    graph, images = _wide(DEMO), images_of(DEMO, 2)
    for limits, wanted in (
        (ita, align_scores(centre_values(graph, images), images, 2.75)),
        (ChipLimits(approximate_probabilities=True), centre_values(graph, images)),
    ):
        assert changes_network(options, limits)
        assert needs_images(options, limits)
        found = transformed(graph, options, limits, images)
        assert _changed(graph, found) == _changed(graph, wanted)


def test_they_do_not_depend_on_how_many_threads_there_are() -> None:
    """Not in one bit: products of this size are shared out among threads."""
    built = timm.create_model("deit_tiny_patch16_224", pretrained=False, depth=1, img_size=64)
    graph = capture(with_random_parameters(built), "deit", (3, 64, 64))
    images = random_images(4, (3, 64, 64), seed=0)
    limits = ChipLimits(approximate_probabilities=True, octave_codes=32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(transformed(graph, AocqOptions(), limits, images))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert _changed(graph, found[0])
    assert not _changed(found[0], found[1])
