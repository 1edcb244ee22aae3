# SPDX-License-Identifier: Apache-2.0
"""What networks make of their parameters before they use them, and parameters used twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import images
from torch import Tensor, nn

from aocq.capture import FloatGraph, UnsupportedOperatorError, capture, run

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
        return self.head(self.body(x, self.p).mean(1))


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


def test_a_number_made_of_a_parameter_is_refused() -> None:
    model = Tokens(lambda x, p: x * p.sum().item(), 4)
    with pytest.raises(UnsupportedOperatorError, match=r"aten\.item.* else than tensors of param"):
        capture(model.eval(), "odd", SIZE)
