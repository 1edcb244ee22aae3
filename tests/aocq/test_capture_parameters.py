# SPDX-License-Identifier: Apache-2.0
"""What networks make of their parameters before they use them, and parameters used twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import images, with_random_parameters
from torch import Tensor, nn

from aocq.capture import FloatGraph, FloatOp, UnsupportedOperatorError, capture, run

SIZE = (3, 16, 16)


class Tokens(nn.Module):
    """Tokens [batch, 4, 16], what ``body`` makes of them and of a parameter, and a layer behind."""

    def __init__(self, body: Callable[[Tensor, Tensor], Tensor], *shape: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.head = nn.Linear(16, 10)
        self.p = nn.Parameter(torch.randn(shape, generator=generator))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        result: Tensor = self.head(self.body(x, self.p).mean(1))
        return result


def captured(model: nn.Module) -> FloatGraph:
    """The graph of a model, which computes what the model does."""
    model.eval()
    graph = capture(model, "parameters", SIZE)
    for batch in (1, 3):
        inputs = images(batch, SIZE)
        found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
        torch.testing.assert_close(found, model(inputs), rtol=1e-5, atol=1e-5)
    return graph


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (lambda x, p: x * 2.0 + p.unbind(0)[0] + p.unbind(0)[1], (2, 4, 16)),
        (lambda x, p: x + p.chunk(2, -1)[1] + p.chunk(2, -1)[0], (4, 32)),
        (lambda x, p: x + p.split([1, 4])[1], (5, 16)),
        (lambda x, p: x + p.chunk(2)[0] + p.chunk(2)[0].unbind(0)[1], (8, 16)),
        (lambda x, p: x + p.max(0)[0], (5, 4, 16)),
    ],
    ids=["unbind", "chunk", "split", "part_of_a_part", "max"],
)
def test_several_tensors_made_of_one_parameter(
    body: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    captured(Tokens(body, *shape))


def test_a_parameter_in_a_sum_and_in_front_of_the_tokens() -> None:
    def body(x: Tensor, p: Tensor) -> Tensor:
        return torch.cat([p.expand(x.shape[0], -1, -1), x + p], 1)

    graph = captured(Tokens(body, 1, 1, 16))
    constants = {node.name: node.shape for node in graph.nodes if node.op is FloatOp.CONSTANT}
    assert constants == {"p": (1, 16), "p_1": (16,)}
    assert graph.node("p_1").attributes["parameter"] == "p"


def test_a_parameter_under_two_shapes_and_twice_under_one() -> None:
    def body(x: Tensor, p: Tensor) -> Tensor:
        four = x.reshape(-1, 4, 4, 4) + p.view(4, 4)
        other = (four + p.view(4, 1, 4) + p.view(4, 4)).reshape(-1, 4, 16)
        return other + p

    graph = captured(Tokens(body, 16))
    shapes = [node.shape for node in graph.nodes if node.op is FloatOp.CONSTANT]
    assert shapes == [(4, 4), (4, 1, 4), (16,)]
    assert graph.parameters.keys() >= {"p"}
    assert len(graph.parameters) == 5


class Attends(nn.Module):
    """Attention with one mask for every row, under a shape; scores of ``columns`` at a time."""

    def __init__(self, *columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.softmax = nn.Softmax(-1)

    def forward(self, x: Tensor, off: Tensor) -> Tensor:
        scores = (x @ x.transpose(1, 2)).reshape(-1, 4, *self.columns) + off.view(*self.columns)
        return self.softmax(scores).reshape(-1, 4, 4) @ x  # type: ignore[no-any-return]


class MaskedTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.whole, self.halves = Attends(4), Attends(2, 2)
        self.register_buffer("off", torch.tensor([0.0, -100.0, 0.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        result: Tensor = (self.whole(x, self.off) + self.halves(x, self.off)).mean(1)
        return result


def test_one_mask_under_two_shapes() -> None:
    graph = captured(MaskedTwice())
    masks = [node for node in graph.nodes if node.op is FloatOp.MASK]
    shapes = [graph.parameters[node.attributes["parameter"]].shape for node in masks]
    assert shapes == [(4,), (2, 2)]


def test_a_number_made_of_a_parameter_is_refused() -> None:
    model = Tokens(lambda x, p: x * p.sum().item(), 4)
    with pytest.raises(UnsupportedOperatorError, match=r"aten\.item.* else than tensors of param"):
        capture(model.eval(), "odd", SIZE)


# --- parameters of several layers -----------------------------------------------------------------


class Body(nn.Module):
    """A stem, whatever ``function`` does with the other modules, which are random, and a layer."""

    def __init__(self, function: Callable[[Body, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, 8)
        self.layer = nn.Linear(16, 16)
        self.gamma = nn.Parameter(torch.ones(16))
        self.norm = nn.BatchNorm1d(16)
        self.again = nn.BatchNorm1d(16)
        self.pixels = nn.Conv2d(16, 16, 1)
        self.norm_2d = nn.BatchNorm2d(16)
        self.head = nn.Linear(16, 10)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def tokens(m: Body, x: Tensor) -> Any:
    return m.stem(x).flatten(2).transpose(1, 2)


def scaled_first(m: Body, x: Tensor) -> Any:
    y = tokens(m, x)
    y = y + m.layer(y) * m.gamma
    return (y + m.layer(y)).mean(1)


def scaled_last(m: Body, x: Tensor) -> Any:
    y = tokens(m, x)
    y = y + m.layer(y)
    return (y + m.layer(y) * m.gamma).mean(1)


def scaled_twice(m: Body, x: Tensor) -> Any:
    y = tokens(m, x)
    y = y + m.layer(y) * m.gamma
    return (y + m.layer(y) * m.gamma * m.gamma).mean(1)


def normalized_before(m: Body, x: Tensor) -> Any:
    y = tokens(m, x).mean(1)
    return m.layer(m.norm(y)) + m.layer(y)


def convolved_twice(m: Body, x: Tensor) -> Any:
    y = m.stem(x)
    y = y + m.norm_2d(m.pixels(y))
    return (y + m.pixels(y)).flatten(2).mean(2)


def strided_twice(m: Body, x: Tensor) -> Any:
    """The kernel's values in two orders."""
    y = m.stem(x).flatten(2).mean(2)
    gathered = nn.functional.conv2d(x[:, :, :15], m.stem.weight, stride=4)
    return y + gathered.flatten(2).mean(2)


def reshaped_weight(m: Body, x: Tensor) -> Any:
    y = tokens(m, x)
    weight = m.layer.weight
    four = nn.functional.linear(y.reshape(-1, 4, 4, 4), weight.view(64, 4))
    return nn.functional.linear(y + m.layer(y), weight).mean(1) + four.mean((1, 2))[:, :16]


SHARED = [
    scaled_first,
    scaled_last,
    scaled_twice,
    normalized_before,
    convolved_twice,
    strided_twice,
    reshaped_weight,
]


@pytest.mark.parametrize("function", SHARED, ids=lambda function: function.__name__)
def test_what_one_layer_makes_of_its_parameters_is_not_another_s(
    function: Callable[[Body, Tensor], Tensor],
) -> None:
    model = with_random_parameters(Body(lambda m, x: m.head(function(m, x))))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = captured(model)
    shapes = {name: value.shape for name, value in graph.parameters.items()}
    for node in graph.nodes:
        if node.op is FloatOp.LINEAR:
            assert len(shapes[node.attributes["weight"]]) == 2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda m, y: y.clone() * m.gamma + y, "only LayerScale"),
        (lambda m, y: y[:, :] * m.gamma + y.contiguous(), "only LayerScale"),
        (lambda m, y: y * m.gamma + y.clone(), "only LayerScale"),
    ],
    ids=["clone", "whole_slice", "beside_a_clone"],
)
def test_a_factor_of_a_result_that_is_read_twice_is_refused(
    function: Callable[[Body, Tensor], Tensor], why: str
) -> None:
    model = Body(lambda m, x: m.head(function(m, m.layer(tokens(m, x))).mean(1)))
    with pytest.raises(UnsupportedOperatorError, match=why):
        capture(model.eval(), "odd", SIZE)


@pytest.mark.parametrize(
    "function",
    [
        lambda m, y: m.layer(y.clone()) + y,
        lambda m, y: m.layer(y.clone()) + m.head(y.clone()).mean(),
        lambda m, y: m.layer(y[:, :]) + y,
        lambda m, y: m.layer(y.contiguous().clone()) + m.layer(y),
        lambda m, y: m.layer(m.again(y)),
        lambda m, y: m.layer(y * m.gamma),
    ],
    ids=["clone", "clones", "whole_slice", "two_layers", "two_norms", "a_factor_behind"],
)
def test_a_norm_before_more_than_a_layer_is_refused(
    function: Callable[[Body, Tensor], Tensor],
) -> None:
    model = Body(lambda m, x: m.head(function(m, m.norm(tokens(m, x).mean(1)))))
    with pytest.raises(UnsupportedOperatorError):
        capture(model.eval(), "odd", SIZE)


@pytest.mark.parametrize(
    "function",
    [
        lambda y: y.clone().contiguous(),
        lambda y: y[:, :],
        lambda y: nn.functional.dropout(y, 0.5, training=False),
    ],
    ids=["clone", "whole_slice", "dropout"],
)
def test_a_norm_before_a_layer_is_folded_through_what_does_nothing(
    function: Callable[[Tensor], Tensor],
) -> None:
    model = Body(lambda m, x: m.head(function(m.norm(tokens(m, x).mean(1)))))
    graph = captured(with_random_parameters(model))
    assert sum(node.op is FloatOp.LINEAR for node in graph.nodes) == 2
