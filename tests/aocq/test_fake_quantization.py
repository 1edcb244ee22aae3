# SPDX-License-Identifier: Apache-2.0
"""Fake quantization by sums of whole numbers yields what the interpreter yields in float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asked import asked
from fake_quantized import logits
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.methods import METHODS, QuantizedModel
from aocq.methods import fake_quantization as module
from aocq.methods.fake_quantization import FakeQuantization
from simulator.gemm import NumbaGemm

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
X = images(9, input_size(NANO))


def quantized(graph: FloatGraph, method: str = "aocq", **options: Any) -> QuantizedModel:
    aocq = {"scale_passes": 0, "search_images": 4} | options.pop("aocq", {})
    recipe, limits = asked(**{"aocq": aocq, **options})
    return METHODS[method](graph, images(8, graph.input.shape, seed=3), recipe, limits)


def assert_same(model: QuantizedModel, fake_quantized: FakeQuantization | None = None) -> None:
    found = (fake_quantized or FakeQuantization(model)).logits(X)
    wanted = logits(model, X)
    assert found.dtype == wanted.dtype == torch.float64
    assert float(wanted.abs().max()) > 0
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "variant", ["class_token", "mean_then_norm", "registers", "distilled", "pre_norm", "qk_norm"]
)
def test_every_layer_is_a_sum_of_codes_and_every_logit_is_the_same(
    variant: str, nano: Captured
) -> None:
    model = quantized(nano(variant)[1])
    fake_quantized = FakeQuantization(model)
    products = {n.name for n in model.graph.nodes if n.op in {FloatOp.LINEAR, FloatOp.MATMUL}}
    assert set(fake_quantized.sums) == products
    assert set(fake_quantized.tables) == {
        n.name for n in model.graph.nodes if n.op is FloatOp.UNARY
    }
    assert_same(model, fake_quantized)


@pytest.mark.parametrize("method", ["base_ptq", "base_ptq_paper", "fq_vit", "ptq4vit_paper"])
def test_every_method_has_the_same_logits(method: str, nano: Captured) -> None:
    """With levels instead of uniform codes, and with operators left in float."""
    assert_same(quantized(nano("class_token")[1], method))


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm"])
def test_sums_of_bytes_are_the_same(variant: str, nano: Captured) -> None:
    """Zero points and all: the layers behind LayerNorm and GELU have some."""
    model = quantized(nano(variant)[1])
    fake_quantized = FakeQuantization(model, NumbaGemm())
    assert all(layer.of_bytes is not None for layer in fake_quantized.layers.values())
    assert any(layer.zero_point for layer in fake_quantized.layers.values())
    plain = FakeQuantization(model)
    assert all(layer.of_bytes is None for layer in plain.layers.values())
    assert_same(model, fake_quantized)


def test_codes_that_are_no_signed_bytes_are_summed_in_float32(nano: Captured) -> None:
    model = quantized(nano("class_token")[1], activation_bits=16)
    fake_quantized = FakeQuantization(model, NumbaGemm())
    assert all(layer.of_bytes is None for layer in fake_quantized.layers.values())
    assert_same(model, fake_quantized)


def test_sums_that_may_not_be_exact_are_left_to_float64(
    nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantized(nano("class_token")[1])
    monkeypatch.setattr(module, "EXACT", 1)
    monkeypatch.setattr(module, "LONGEST_TABLE", 1)
    fake_quantized = FakeQuantization(model)
    assert not fake_quantized.sums
    assert not fake_quantized.tables
    assert_same(model, fake_quantized)


@pytest.mark.parametrize("name", ["blocks.0.attn.qkv", "blocks.0.attn.scores"])
def test_the_border_of_what_is_exact_is_the_largest_sum_that_codes_can_have(
    name: str, nano: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = quantized(nano("class_token")[1])
    node, forms = model.graph.node(name), FakeQuantization(model).forms
    reach = [max(-forms[source].lowest, forms[source].highest) for source in node.inputs]
    if node.op is FloatOp.LINEAR:
        codes = model.weights[node.attributes["weight"]].codes.astype(np.int64)
        largest = int(reach[0] * np.abs(codes).sum(1).max())
    else:
        largest = reach[0] * reach[1] * model.graph.node(node.inputs[0]).shape[-1]
    for border, exact in ((largest, False), (largest + 1, True)):
        monkeypatch.setattr(module, "EXACT", border)
        assert (name in FakeQuantization(model).sums) == exact


def test_scales_that_vary_along_a_sum_are_left_to_float64(nano: Captured) -> None:
    """Queries and keys by channel: a sum over channels has no scale."""
    model = quantized(nano("class_token")[1])
    name = "blocks.0.attn.qkv"
    factors = tuple(np.linspace(0.5, 1, model.graph.node(name).shape[-1]).tolist())
    uneven = replace(model.activations[name], alpha=factors)
    changed = replace(model, activations={**model.activations, name: uneven})
    fake_quantized = FakeQuantization(changed)
    assert "blocks.0.attn.scores" not in fake_quantized.sums
    assert {name, "blocks.0.attn.context"} <= fake_quantized.sums.keys()
    assert_same(changed, fake_quantized)
