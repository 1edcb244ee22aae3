# SPDX-License-Identifier: Apache-2.0
"""What cannot be lowered is refused at once, with the operator's name and its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_models import NANO, input_size, network
from torch import Tensor, nn

from aocq.capture import UnsupportedOperatorError, capture
from simulator.errors import InputError

SIZE = input_size(NANO)


class Patches(nn.Module):
    """Patches of 8 x 8 as tokens [batch, 4, 24], and then whatever ``body`` does with them."""

    def __init__(
        self, body: Callable[[Tensor], Tensor] | nn.Module, stem: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.stem = stem or nn.Conv2d(3, 24, 8, 8)
        self.body = body if isinstance(body, nn.Module) else Body(body)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x).flatten(2).transpose(1, 2))


class Body(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class ScaleOfTwoReaders(nn.Module):
    """A γ behind a linear layer whose result is also read without it: it cannot be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(24, 24)
        self.gamma = nn.Parameter(torch.ones(24))

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        return y * self.gamma + y


class WithNorm(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(24)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.norm, x)


def refusal(model: nn.Module) -> str:
    with pytest.raises(UnsupportedOperatorError) as caught:
        capture(model.eval(), "odd", SIZE)
    assert isinstance(caught.value, InputError)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize(
    ("stem", "why"),
    [
        (nn.Conv2d(3, 24, 8, 8, dilation=2), "has the dilation (2, 2)"),
        (nn.Conv2d(3, 24, 8, 8, groups=3), "has 3 groups: only dense convolutions"),
    ],
    ids=["dilation", "groups"],
)
def test_convolutions_that_have_no_lowering_are_refused(stem: nn.Module, why: str) -> None:
    message = refusal(Patches(lambda x: x, stem))
    assert "aten.conv2d.default in stem" in message
    assert why in message


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda norm, x: norm(x.mean(1)), "that alone reads it"),  # no layer behind
        (lambda norm, x: norm(x[:, 0] + x[:, 1]) + x[:, 2], "that alone reads it"),
        (lambda norm, x: norm(x.transpose(1, 2)) + x.transpose(1, 2), "only BatchNorm beside"),
    ],
    ids=["at_the_end", "before_a_sum", "of_a_stem_that_is_read_twice"],
)
def test_a_batch_norm_that_cannot_be_folded_is_refused(
    body: Callable[[nn.Module, Tensor], Tensor], why: str
) -> None:
    assert why in refusal(Patches(WithNorm(body)))


@pytest.mark.parametrize(
    ("body", "operator", "why"),
    [
        (lambda x: torch.stack([x, x]), "stack.default", "has no lowering"),
        (lambda x: x.sigmoid(), "sigmoid.default", "has no lowering"),
        (lambda x: x.sum(1), "sum.dim_IntList", "has no lowering"),
        (lambda x: x - x, "sub.Tensor", "has no lowering"),
        (lambda x: x + 1.0, "add.Tensor", "adds a number"),
        (lambda x: torch.add(x, x, alpha=2), "add.Tensor", "adds a number"),
        (lambda x: x * -2.0, "mul.Tensor", "not positive"),
        (lambda x: x * x, "mul.Tensor", "only LayerScale behind a linear layer"),
        (lambda x: x / x, "div.Tensor", "divides by a tensor"),
        (lambda x: x.softmax(1), "softmax.int", "not over the last dimension"),
        (lambda x: x.mean((1, 2)), "mean.dim", "averages several dimensions"),
        (lambda x: x.mean(1, keepdim=True), "mean.dim", "or keeps one"),
        (lambda x: torch.cat([x, x]), "cat.default", "concatenates along the batch"),
        (lambda x: x.relu_() + x, "relu_.default", "may be read elsewhere"),
        (lambda x: x[:, 1:].relu_(), "relu_.default", "may be read elsewhere"),
        (lambda x: x[0], "select.int", "takes one image of the batch"),
        (lambda x: x[::2], "slice.Tensor", "slices the batch"),
        (lambda x: x.split(1)[0], "split.Tensor", "splits the batch"),
        (lambda x: x.reshape(2, -1, 24), "reshape.default", "merges the batch dimension"),
        (lambda x: x.reshape(-1, 24), "reshape.default", "not one row for each image"),
        (lambda x: x.roll(1), "roll.default", "those of all images"),
        (lambda x: x.roll(1, 0), "roll.default", "shifts images of the batch"),
        (lambda x: nn.functional.pad(x, (1, 0), value=1.0), "pad.default", "else than zeros"),
        (lambda x: nn.functional.pad(x, (-1, 0)), "pad.default", "else than zeros"),
        (lambda x: nn.functional.pad(x, (1, 0), "replicate"), "pad.default", "else than zeros"),
        (lambda x: x[:, :1].expand(-1, 4, -1), "expand.default", "repeats something else"),
        (
            lambda x: nn.functional.layer_norm(x, (4, 24)),
            "layer_norm.default",
            "normalizes more than the last dimension",
        ),
        (lambda x: x.max(1)[0], "max.dim", "has no lowering"),
    ],
)
def test_operators_without_a_lowering_are_named_with_their_module(
    body: Callable[[Tensor], Tensor], operator: str, why: str
) -> None:
    message = refusal(Patches(body))
    assert f"operator aten.{operator} in body: " in message
    assert why in message


def test_images_that_the_network_does_not_take_are_told_with_its_own_reason() -> None:
    with pytest.raises(InputError) as caught:
        capture(network(base=NANO), "odd", (3, 24, 24))
    message = str(caught.value)
    assert message.startswith("odd: cannot be run on images of 3 x 24 x 24 (AssertionError: Input ")
    assert "--model-kwargs the network (img_size=24, in_chans=3)" in message
    with pytest.raises(InputError, match=r"\(img_size=24,16, in_chans=3\)"):
        capture(network(base=NANO), "odd", (3, 24, 16))


def test_a_network_that_torch_cannot_follow_is_told_so() -> None:
    def body(x: Tensor) -> Tensor:
        return x * 2 if bool(x.sum() > 0) else x

    with pytest.raises(InputError) as caught:
        capture(Patches(body), "odd", SIZE)
    message = str(caught.value)
    assert message.startswith("odd: torch.export cannot follow it on images of ")
    assert "docs/families.md" in message


def test_a_scale_that_cannot_be_folded_is_refused() -> None:
    message = refusal(Patches(ScaleOfTwoReaders()))
    assert "operator aten.mul.Tensor in body: only LayerScale behind a linear layer" in message


def test_an_activation_without_a_lowering_is_found_inside_its_block() -> None:
    message = refusal(network(base=NANO, act_layer="sigmoid"))
    assert message.startswith("odd: operator aten.sigmoid.default in blocks.0.mlp.act: ")
    assert "docs/families.md" in message


def test_pooling_without_a_lowering_is_placed_in_the_model_itself() -> None:
    message = refusal(network(base=NANO, global_pool="max"))
    assert "operator aten.amax.default in the model itself: has no lowering" in message
