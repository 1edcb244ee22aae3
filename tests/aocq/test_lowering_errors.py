# SPDX-License-Identifier: Apache-2.0
"""Networks that a profile's integer graph cannot express are refused by name, with the way out."""

from __future__ import annotations

import pytest
import torch
from asked import for_chip
from tiny_models import images
from torch import Tensor, nn

from aocq.capture import FloatOp, capture
from aocq.jobs.calibration import calibrated
from aocq.lowering import LoweringError, lower
from aocq.lowering.rules import RULES
from simulator.profile import load_profile

SIZE = (3, 16, 16)


class RepeatedConstant(nn.Module):
    """A sum with a constant that repeats along a dimension in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, 8)
        self.register_buffer("added", torch.arange(8.0).reshape(2, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        rows = self.stem(x).permute(0, 2, 3, 1) + self.added
        return rows.reshape(-1, 16)


def test_a_graph_that_breaks_a_rule_of_the_ir_is_a_lowering_error() -> None:
    profile = load_profile("ethos_u55_256")
    graph = capture(RepeatedConstant().eval(), "repeated", SIZE)
    model = calibrated("base_ptq", graph, images(4, SIZE), *for_chip(profile))
    with pytest.raises(LoweringError) as refused:
        lower(model, profile)
    assert refused.value.plainly == (
        "cannot be lowered: op add (add_shifted): cannot add_shifted (2, 2, 4) and (2, 1, 4): "
        "leading dimensions differ"
    )
    assert str(refused.value) == (
        f"repeated on profile ethos_u55_256: {refused.value.plainly}; choose another profile, or a "
        "network of docs/families.md"
    )


def test_every_operation_has_an_integer_rule() -> None:
    assert set(RULES) == set(FloatOp)
