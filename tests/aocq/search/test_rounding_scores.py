# SPDX-License-Identifier: Apache-2.0
"""Shares of single rounding errors in the noise of the logits and in the divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny, tiny_graph
from torch import Tensor

from aocq.capture import FloatOp, run
from aocq.search.layer_scores import QuantizedNetwork, layer_scores
from aocq.search.places import Place
from aocq.search.rounding_scores import RoundingErrors, rounding_shares
from aocq.search.tensor_kinds import kinds_of

PIXELS = images(6, input_size(TINY))
GRAPH = tiny_graph()
QKV = "blocks.0.attn.qkv"


def logits_of(transform: Mapping[str, Tensor] | None = None) -> Tensor:
    """Logits [6, classes], an error added at some nodes."""
    added = transform or {}
    found = run(
        GRAPH,
        {GRAPH.input.name: PIXELS},
        [GRAPH.output.name],
        transform=lambda node, x: x + added[node.name] if node.name in added else x,
    )
    return found[GRAPH.output.name]


def constants(errors: Sequence[tuple[str, Tensor]], logits: Tensor) -> RoundingErrors:
    """Errors that are the same in all images."""
    return RoundingErrors(
        nodes=[name for name, _ in errors],
        reads=[name for name, _ in errors],
        errors=lambda _, values: [error.expand_as(values[name]) for name, error in errors],
        logits=logits,
    )


def some(node: str, size: float) -> Tensor:
    shape = next(each.shape for each in GRAPH.nodes if each.name == node)
    return size * torch.randn(shape, generator=torch.Generator().manual_seed(7))


def test_errors_at_the_head_are_the_noise() -> None:
    """Behind the head nothing is left to be linear in."""
    error = some("head", 0.01)
    (found,) = rounding_shares(
        GRAPH, PIXELS, [constants([("head", error)], logits_of({"head": error}))]
    )
    assert found.noise == pytest.approx(float(error.double().square().sum()), rel=1e-3)
    assert found.scores[0].noise == pytest.approx(found.noise, rel=1e-3)
    power = logits_of().double().square().sum(-1).mean()
    assert found.power == pytest.approx(float(power), rel=1e-6)


def test_shares_of_small_errors_add_up_to_the_noise() -> None:
    errors = {name: some(name, 1e-4) for name in (QKV, "blocks.0.mlp.fc1", "head")}
    asked = constants([*errors.items()], logits_of(errors))
    (found,) = rounding_shares(GRAPH, PIXELS, [asked])
    assert sum(score.noise for score in found.scores) == pytest.approx(found.noise, rel=0.01)
    assert min(abs(score.noise) for score in found.scores) > 0


def test_an_error_that_makes_up_for_another_has_a_share_below_nothing() -> None:
    """The second takes away half of what the first does: shares 1 - 1/2 and -(1 - 1/2) / 2."""
    error = some("head", 0.01)
    asked = constants([("head", error), ("head", -error / 2)], logits_of({"head": error / 2}))
    (found,) = rounding_shares(GRAPH, PIXELS, [asked])
    first, second = (score.noise for score in found.scores)
    assert first == pytest.approx(2 * found.noise, rel=1e-3)
    assert second == pytest.approx(-found.noise, rel=1e-3)


def test_noise_alone_is_what_the_error_does_without_the_others() -> None:
    """An error of one logit: random signs leave its square as it is."""
    error, other = torch.zeros(GRAPH.output.shape[-1]), some("head", 0.01)
    error[1] = 0.02
    asked = constants([("head", error), ("head", other)], logits_of({"head": error + other}))
    (found,) = rounding_shares(GRAPH, PIXELS, [asked])
    assert found.scores[0].alone == pytest.approx(0.02**2)
    assert found.scores[0].noise != pytest.approx(0.02**2, rel=1e-3)


def test_divergence_is_that_of_the_predictions() -> None:
    error = some("head", 0.02)
    moved = logits_of({"head": error})
    (found,) = rounding_shares(GRAPH, PIXELS, [constants([("head", error)], moved)])
    before, after = (x.double().log_softmax(-1) for x in (logits_of(), moved))
    divergence = (before.exp() * (before - after)).sum(-1).mean()
    assert found.scores[0].divergence == pytest.approx(float(divergence), rel=0.05)


def test_images_are_counted_as_they_are_done() -> None:
    seen: list[int] = []
    rounding_shares(
        GRAPH, PIXELS, [constants([("head", some("head", 0.01))], logits_of())], seen.append
    )
    assert sum(seen) == len(PIXELS)


def test_a_tensor_that_no_image_reaches_has_no_share() -> None:
    token = next(node for node in GRAPH.nodes if not node.inputs and node is not GRAPH.input)
    error = some("head", 0.01)
    asked = constants([(token.name, torch.ones(())), ("head", error)], logits_of({"head": error}))
    (found,) = rounding_shares(GRAPH, PIXELS, [asked])
    assert found.scores[0].noise == 0
    assert found.scores[1].noise > 0


def test_layers_and_kinds_of_a_quantized_network_add_up_to_its_noise() -> None:
    """Of W8A8, whose errors are small; what is left is of higher order."""
    model = tiny("base_ptq", weight_bits=8)
    parameters = {name: value.float() for name, value in model.fake_quantized_parameters().items()}
    rounded = run(
        model.graph,
        {GRAPH.input.name: model.fake_quantized_image(PIXELS).float()},
        [GRAPH.output.name],
        transform=model.fake_quantize,
        parameters=parameters,
    )[GRAPH.output.name]
    layers = [node.name for node in GRAPH.nodes if node.op is FloatOp.LINEAR]
    places = {Place(op=name, widths=(4, 6, 8)): 8 for name in layers}
    found = layer_scores(
        GRAPH, PIXELS, {8: QuantizedNetwork(model=model, logits=rounded)}, 8, places
    )
    assert set(found.kinds) == {"weights", *kinds_of(GRAPH, model).values()}
    assert sum(score.noise for score in found.kinds.values()) == pytest.approx(
        found.noise, rel=0.15
    )
    for place in places:
        at_eight = found.scores[place, 8]
        # Two bits fewer: 16 times the power, and nothing is made up for.
        more = 16 * at_eight.alone + at_eight.alone - at_eight.noise
        assert found.scores[place, 6].noise == pytest.approx(more)
        assert found.shares()[place, 8] == at_eight.noise / found.power
    weights = sum(found.scores[place, 8].noise for place in places)
    assert weights == pytest.approx(found.kinds["weights"].noise)
