# SPDX-License-Identifier: Apache-2.0
"""L2 normalization: captured where it is exactly that, with the factor of cosine attention."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tiny_models import images, with_random_parameters
from torch import Tensor, nn
from torch.nn.functional import normalize

from aocq.capture import FloatGraph, FloatNode, FloatOp, UnsupportedOperatorError, capture, run
from aocq.capture.translator import BATCH
from aocq.capture.verify import verify
from aocq.methods.aocq.tokens import tokens_read

SIZE = (3, 16, 16)
HEADS = 3


class Tokens(nn.Module):
    """Queries and keys [images, 3 heads, 4 tokens, 8] of an image, then whatever ``body`` does."""

    def __init__(self, body: Callable[[Tokens, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 48, 8, 8)
        self.logit_scale = nn.Parameter(torch.empty(HEADS, 1, 1))
        self.others = nn.Parameter(torch.empty(BATCH, 4, 4))
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        q, k = x.reshape(x.shape[0], 4, 2, HEADS, 8).permute(2, 0, 3, 1, 4).unbind(0)
        return self.body(self, q, k)


Body = Callable[[Tokens, Tensor, Tensor], Tensor]


def network(body: Body) -> Tokens:
    found = with_random_parameters(Tokens(body))
    assert isinstance(found, Tokens)
    return found


def gain(m: Tokens) -> Tensor:
    return m.logit_scale.clamp(max=math.log(100)).exp()


def captured(body: Body) -> tuple[Tokens, FloatGraph]:
    model = network(body)
    graph = capture(model, "normalized", SIZE)
    verify(graph)
    inputs = images(3, SIZE)
    found = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    expected = model(inputs)
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6 * largest)
    return model, graph


def normalizations(graph: FloatGraph) -> list[FloatNode]:
    return [node for node in graph.nodes if node.op is FloatOp.L2NORM]


def scored(m: Tokens, q: Tensor, k: Tensor) -> Tensor:
    return normalize(q, dim=-1) @ normalize(k, dim=-1).transpose(-2, -1)


def test_a_normalization_is_one_node_with_its_epsilon() -> None:
    _, graph = captured(lambda m, q, k: normalize(q, dim=3, eps=0.5) @ k.transpose(-2, -1))
    (found,) = normalizations(graph)
    assert dict(found.attributes) == {"gain": None, "epsilon": 0.5}
    assert found.shape == (HEADS, 4, 8)
    assert not {"clamp", "div"} & {str(node.op) for node in graph.nodes}


def test_rows_are_divided_by_their_length_and_no_row_by_less_than_epsilon() -> None:
    _, graph = captured(lambda m, q, k: normalize(q, dim=-1, eps=1e-3) @ k.transpose(-2, -1))
    (found,) = normalizations(graph)
    x = torch.randn(2, HEADS, 4, 8, dtype=torch.float64)
    x[0, 0, 0] = 0.0
    x[0, 0, 1] = 1e-5
    y = run(graph, {found.inputs[0]: x}, [found.name])[found.name]
    lengths = x.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(y, x / lengths.clamp_min(1e-3))
    assert not y[0, 0, 0].any()
    assert torch.equal(y[0, 0, 1], x[0, 0, 1] / 1e-3)


@pytest.mark.parametrize(
    "factor",
    [
        gain,
        lambda m: gain(m)[None],
        lambda m: gain(m).reshape(1, HEADS, 1, 1),
    ],
    ids=["heads", "an_image_more", "reshaped"],
)
def test_the_factor_of_each_head_becomes_the_gain_of_the_queries(
    factor: Callable[[Tokens], Tensor],
) -> None:
    for body in (
        lambda m, q, k: scored(m, q, k) * factor(m),
        lambda m, q, k: factor(m) * scored(m, q, k),
    ):
        model, graph = captured(body)
        queries, keys = normalizations(graph)
        product = graph.output
        assert (product.op, product.inputs) == (FloatOp.MATMUL, (queries.name, keys.name))
        assert keys.attributes["gain"] is None
        value = graph.parameters[queries.attributes["gain"]]
        assert value.shape == (HEADS, 1, 1)
        assert torch.equal(value, gain(model))
        # What a quantizer of the queries sees: rows of the length of their gain.
        rows = run(graph, {"image": images(2, SIZE)}, [queries.name])[queries.name]
        torch.testing.assert_close(rows.norm(dim=-1), value[..., 0].expand(2, HEADS, 4))


def test_one_factor_for_all_heads_is_a_gain_too() -> None:
    _, graph = captured(lambda m, q, k: scored(m, q, k) * gain(m)[:1])
    queries, _ = normalizations(graph)
    assert graph.parameters[queries.attributes["gain"]].shape == (1,)


def test_layers_may_share_one_factor() -> None:
    def body(m: Tokens, q: Tensor, k: Tensor) -> Tensor:
        return scored(m, q, k) * gain(m) + scored(m, k, q) * gain(m)

    _, graph = captured(body)
    gains = [node.attributes["gain"] for node in normalizations(graph)]
    assert sum(name is not None for name in gains) == 2


def test_each_token_is_normalized_by_itself() -> None:
    _, graph = captured(lambda m, q, k: normalize(q, dim=-1)[:, :, 1:2] + k[:, :, :1])
    (found,) = normalizations(graph)
    read = tokens_read(graph)[found.inputs[0]].reshape(HEADS, 4)
    assert read.tolist() == [[False, True, False, False]] * HEADS


LENGTH = "linalg_vector_norm.default"
ROWS = "only as a part of torch.nn.functional.normalize over the last"
FACTOR = "only LayerScale behind a linear layer, or a positive factor for each head"


@pytest.mark.parametrize(
    ("body", "operator", "why"),
    [
        (lambda m, q, k: normalize(q, dim=2), LENGTH, ROWS),
        (lambda m, q, k: normalize(q, p=1, dim=-1), LENGTH, ROWS),
        (lambda m, q, k: normalize(q, dim=(-1, -2)), LENGTH, ROWS),
        (lambda m, q, k: normalize(q, dim=-1, eps=0.0), LENGTH, ROWS),
        (lambda m, q, k: q / q.norm(dim=-1, keepdim=True), LENGTH, ROWS),
        (lambda m, q, k: q.norm(dim=-1), LENGTH, ROWS),
        (lambda m, q, k: k / lengths(q), LENGTH, ROWS),  # of other rows
        (lambda m, q, k: q[:, :1] / lengths(q[:, :1], q), LENGTH, ROWS),  # makes heads
        (lambda m, q, k: q / lengths(q) + lengths(q), LENGTH, ROWS),
        (lambda m, q, k: twice(q, lambda norm: norm.clamp_min(1e-9)), LENGTH, ROWS),
        (lambda m, q, k: normalize(q[:, 0, 0, 0], dim=-1), LENGTH, ROWS),  # over the images
        (lambda m, q, k: q / cubic_length(q), LENGTH, ROWS),  # of all rows, in another norm
        (lambda m, q, k: q.clamp_min(0.5), "clamp_min.default", ROWS),
        (lambda m, q, k: q[..., :1].expand_as(q), "expand_as.default", ROWS),
    ],
)
def test_other_lengths_and_their_parts_are_refused(body: Body, operator: str, why: str) -> None:
    message = refusal(body)
    assert f"operator aten.{operator} in the model itself: " in message
    assert why in message


def lengths(x: Tensor, shaped: Tensor | None = None) -> Tensor:
    return x.norm(dim=-1, keepdim=True).clamp_min(1e-9).expand_as(x if shaped is None else shaped)


def cubic_length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, 3).clamp_min(1e-9).expand_as(x)


def twice(x: Tensor, bound: Callable[[Tensor], Tensor]) -> Tensor:
    norm = x.norm(dim=-1, keepdim=True)
    return x / bound(norm).expand_as(x) + norm


def read_twice(scores: Tensor, factor: Tensor) -> Tensor:
    return scores * factor + scores


def queries_read_twice(m: Tokens, q: Tensor, k: Tensor) -> Tensor:
    q = normalize(q, dim=-1)
    return (q @ k.transpose(-2, -1)) * gain(m) @ q


def normalized_by_itself(m: Tokens, square: Tensor) -> Tensor:
    rows = normalize(square, dim=-1)
    return (rows @ rows) * gain(m)


@pytest.mark.parametrize(
    "body",
    [
        lambda m, q, k: scored(m, q, k) * -gain(m),
        lambda m, q, k: scored(m, q, k) * m.others[0, :, :1].exp(),  # by query
        lambda m, q, k: scored(m, q, k) * m.others[:HEADS].exp(),
        lambda m, q, k: (q @ normalize(k, dim=-1).transpose(-2, -1)) * gain(m),
        lambda m, q, k: ((q / 2) @ normalize(k, dim=-1).transpose(-2, -1)) * gain(m),
        lambda m, q, k: scored(m, q, k) * gain(m)[:1, None, None],  # of more dimensions
        lambda m, q, k: read_twice(scored(m, q, k), gain(m)),
        lambda m, q, k: (scored(m, q, k) * gain(m)) * gain(m).sqrt(),
        queries_read_twice,
        lambda m, q, k: normalized_by_itself(m, q[:, :, :, :4]),
        lambda m, q, k: scored(m, q[:, :1], k[:, :1]) * gain(m),  # makes heads
        lambda m, q, k: scored(m, q[:, :1], k) * gain(m),  # rows of one head, scores of three
        lambda m, q, k: scored(m, q[:, 0], k[:, 0]) * m.others[:, :1, :1].exp(),  # by image
    ],
)
def test_other_factors_of_scores_are_refused(body: Body) -> None:
    message = refusal(body)
    assert "operator aten.mul.Tensor in the model itself: " in message
    assert FACTOR in message


def refusal(body: Body) -> str:
    with pytest.raises(UnsupportedOperatorError) as refused:
        capture(network(body), "odd", SIZE)
    return str(refused.value)
