# SPDX-License-Identifier: Apache-2.0
"""QuickGELU, x σ(1.702 x) of OpenAI's CLIP: captured as one function, lowered by table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from asked import for_chip
from fake_quantized import logits, on_chip
from tiny_models import NANO, images, input_size, network, with_random_parameters
from torch import nn

from aocq.capture import FloatGraph, FloatOp, UnsupportedOperatorError, capture, run
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.zoo.families import known_networks
from aocq.zoo.models import timm
from simulator.graph.ops import Lookup
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)


def test_it_is_one_function_that_computes_what_the_network_does(nano: Captured) -> None:
    built, graph = nano("quick_gelu")
    found = [node for node in graph.nodes if node.op is FloatOp.UNARY]
    assert [(node.name, node.attributes["function"]) for node in found] == [
        ("blocks.0.mlp.act", "quick_gelu")
    ]
    assert found[0].inputs == ("blocks.0.mlp.fc1",)
    inputs = images(3, SIZE)
    yielded = run(graph, {"image": inputs}, [graph.output.name])[graph.output.name]
    torch.testing.assert_close(yielded, built(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("float_ops", ["integer", "declared"])
@pytest.mark.parametrize("method", METHODS)
def test_chips_compute_it_as_it_is_fake_quantized(
    method: str, float_ops: str, nano: Captured
) -> None:
    graph = nano("quick_gelu")[1]
    chip = load_profile("edge_npu_int8")
    model = METHODS[method](graph, images(16, SIZE), *for_chip(chip, float_ops=float_ops))
    inputs = images(4, SIZE, seed=2)
    found, fake_quantized = on_chip(model, inputs), logits(model, inputs).numpy()
    assert ((found - fake_quantized) ** 2).sum() < 1e-2 * (fake_quantized**2).sum()


def test_its_table_has_the_function_at_every_code(nano: Captured) -> None:
    graph = nano("quick_gelu")[1]
    chip = load_profile("edge_npu_int8")
    model = METHODS["base_ptq"](graph, images(16, SIZE), *for_chip(chip))
    lowered = lower(model, chip)
    (op,) = (op for op in lowered.ops if isinstance(op, Lookup))
    x, y = lowered.tensors[op.a], lowered.tensors[op.name]
    real = (np.arange(-128, 128) - x.zero_point) * x.scale[0]
    wanted = np.floor(real / (1 + np.exp(-1.702 * real)) / y.scale[0] + 0.5) + y.zero_point
    assert lowered.constants[op.table].tolist() == np.clip(wanted, -128, 127).tolist()


def test_openai_s_clip_is_of_a_known_family() -> None:
    name = "vit_base_patch16_clip_quickgelu_224"
    assert name in known_networks(lambda module: timm.list_models(module=module))
    small = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 3}
    built = with_random_parameters(timm.create_model(name, pretrained=False, **small))
    graph = capture(built, name, SIZE)
    assert [n.name for n in graph.nodes if n.op is FloatOp.UNARY] == ["blocks.0.mlp.act"]
    chip = load_profile("edge_npu_int8")
    model = METHODS["base_ptq"](graph, images(4, SIZE), *for_chip(chip))
    on_chip(model, images(1, SIZE))


class OtherGate(nn.Module):
    """A logistic function that is no part of QuickGELU."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.slope * x)


def test_other_gates_are_refused_by_name() -> None:
    built = network(base=NANO)
    built.blocks[0].mlp.act = OtherGate(1.5)
    with pytest.raises(UnsupportedOperatorError, match=r"aten.sigmoid.default in blocks.0.mlp.act"):
        capture(built, "odd", SIZE)
