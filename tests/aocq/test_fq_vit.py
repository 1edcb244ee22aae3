# SPDX-License-Identifier: Apache-2.0
"""FQ-ViT: power-of-two channel factors, powers of two after softmax, uint8 everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import asked
from changed_profiles import changed
from fake_quantized import left_in_float, logits, on_chip, sqnr
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp, run
from aocq.lowering import lower
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.fq_vit import (
    asymmetric_quantizer,
    balanced_tensors,
    factor_errors,
    log_int_softmax,
    quantize_weight,
    with_factors,
)
from aocq.methods.quantizers import ActivationQuantizer, LevelQuantizer
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.graph.ops import Add, LayerNorm
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)


def quantized(graph: FloatGraph, **recipe: object) -> QuantizedModel:
    recipe = {"residual_bits": 8, **recipe}
    return METHODS["fq_vit"](graph, images(20, SIZE), *asked(**recipe))


def unbalanced(graph: FloatGraph) -> FloatGraph:
    """The same network with a residual stream whose channels differ by up to a factor of 30."""
    width = graph.node("blocks.0.add").shape[-1]
    spread = torch.logspace(0, -1.5, width)[torch.arange(width) * 7 % width]
    writers = ("patch_embed.proj", "attn.proj", "mlp.fc2")
    changed = dict(graph.parameters)
    for name, value in graph.parameters.items():
        if name.endswith(("token", "pos_embed")):
            changed[name] = value * spread
        elif name.rpartition(".")[0].endswith(writers):
            changed[name] = value * spread.reshape(-1, *(1,) * (value.ndim - 1))
    return replace(graph, parameters=changed)


def published_log_int_softmax(p: float, bits: int) -> float:
    """The formula as published, one value at a time."""
    if p <= 0:
        return 0.0
    r = round(1 / p)
    q = math.floor(math.log2(r))
    if r - 2**q >= 2 ** (q - 1):
        q += 1
    return 0.0 if q >= 2**bits else 2.0**-q


def test_probabilities_become_powers_of_two_as_published() -> None:
    logit = 3 * torch.randn(200, 60, generator=torch.Generator().manual_seed(0)).double()
    p = torch.cat([logit.softmax(-1).flatten(), 1 / torch.arange(1.0, 300).double()])
    found = log_int_softmax(8)(p)
    wanted = torch.tensor([published_log_int_softmax(float(x), 8) for x in p])
    wanted[wanted < 2.0**-15] = 0  # levels of 16 bits end there
    assert torch.equal(found, wanted.double())
    assert len(found.unique()) > 12


@pytest.mark.parametrize(("bits", "powers"), [(3, 7), (4, 15), (5, 16), (8, 16)])
def test_codes_hold_as_many_powers_as_fit_beside_zero(bits: int, powers: int) -> None:
    levels = log_int_softmax(bits)
    assert levels.levels == (0, *(2 ** (15 - k) for k in range(powers - 1, -1, -1)))
    assert len(levels.levels) <= 2**bits
    assert levels.type.bits == 16
    assert float(levels(torch.ones(1).double())) == 1.0


def test_a_range_becomes_an_unsigned_scale_and_zero_point() -> None:
    found = asymmetric_quantizer(-1.0, 4.1, 8)
    assert found.scale == pytest.approx(5.1 / 255)
    assert found.zero_point + 128 == 50
    x = torch.linspace(-2, 6, 500).double()
    wanted = (torch.clamp(torch.round(x / found.scale) + 50, 0, 255) - 50) * found.scale
    torch.testing.assert_close(found(x), wanted)
    assert asymmetric_quantizer(1.0, 3.0, 8).zero_point == -128
    assert asymmetric_quantizer(-3.0, -1.0, 8).zero_point == 127


def test_channel_factors_are_those_of_least_squared_error() -> None:
    spread = torch.tensor([0.05, 0.3, 1.0, 2.5, 8.0, 20.0]).double()
    x = spread * torch.randn(400, 6, generator=torch.Generator().manual_seed(0)).double() + 0.2
    plain = asymmetric_quantizer(float(x.min()), float(x.max()), 8)
    s1, z = plain.scale / 8, plain.zero_point + 128
    wanted = []
    for channel in range(6):
        errors = []
        for k in range(4):
            step = s1 * 2**k
            back = (np.clip(np.rint(x[:, channel].numpy() / step) + z, 0, 255) - z) * step
            errors.append(float(((back - x[:, channel].numpy()) ** 2).sum()))
        wanted.append(int(np.argmin(errors)))
    errors_found = factor_errors(plain, x.reshape(4, 100, 6))
    assert errors_found.argmin(dim=0).tolist() == wanted
    assert len(set(wanted)) > 2
    found = with_factors(plain, errors_found.argmin(dim=0))
    assert found.alpha == tuple(2.0**k for k in wanted)
    assert (found.scale, found.zero_point) == (s1, plain.zero_point)
    assert ((found(x) - x) ** 2).sum() < ((plain(x) - x) ** 2).sum() / 2


def test_weights_span_half_a_code_more_than_the_largest() -> None:
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    for bits, half in ((8, 127.5), (4, 7.5), (3, 3.5)):
        found = quantize_weight(weight, bits, "per_channel")
        np.testing.assert_allclose(found.scale, weight.abs().amax(dim=1).double() / half)
        assert int(np.abs(found.codes).max()) <= half + 0.5
        error = (found.dequantized() - weight.double()).abs().amax(dim=1).numpy()
        assert (error <= found.scale / 2 + 1e-12).all()
    assert quantize_weight(weight, 4, "per_tensor").scale.shape == (1,)


def test_sums_of_the_stream_get_factors_and_layers_before_gelu_stay_in_float(
    nano: Captured,
) -> None:
    _, graph = nano("class_token")
    model = quantized(graph)
    balanced = {n for n, q in model.activations.items() if getattr(q, "alpha", ())}
    assert balanced == {"add", "blocks.0.add", "blocks.0.add_1"} == balanced_tensors(graph)
    for name in balanced:
        quantizer = model.activations[name]
        assert isinstance(quantizer, ActivationQuantizer)
        assert set(quantizer.alpha) <= {1.0, 2.0, 4.0, 8.0}
    arithmetic_without = {
        node.name
        for node in graph.nodes
        if node.op is FloatOp.LINEAR and node.name not in model.activations
    }
    assert arithmetic_without == {"blocks.0.mlp.fc1"}
    assert left_in_float(model) == {FloatOp.LINEAR}
    assert isinstance(model.activations["blocks.0.attn.probabilities"], LevelQuantizer)
    qkv = model.activations["blocks.0.attn.qkv"]
    assert (qkv.zero_point, model.activations["cls_token"]) == (0, model.activations["concat"])


def test_a_stream_that_is_pooled_keeps_one_scale_there(nano: Captured) -> None:
    _, graph = nano("mean_then_norm")
    assert "blocks.0.add_1" not in balanced_tensors(graph)
    assert "blocks.0.add" in balanced_tensors(graph)


def test_the_factors_come_from_the_last_hundred_images(nano: Captured) -> None:
    graph = unbalanced(nano("class_token")[1])
    many = torch.cat([6 * images(60, SIZE), images(100, SIZE, seed=5)])
    model = METHODS["fq_vit"](graph, many, Recipe())
    found = model.activations["blocks.0.add"]
    values = run(graph, {"image": many}, ["blocks.0.add"])["blocks.0.add"]
    plain = asymmetric_quantizer(float(values.min()), float(values.max()), 8)
    wanted = with_factors(plain, factor_errors(plain, values[60:]).argmin(dim=0))
    assert isinstance(found, ActivationQuantizer)
    assert found.scale == pytest.approx(wanted.scale, rel=1e-5)
    assert found.alpha == wanted.alpha


def test_factors_pay(nano: Captured) -> None:
    graph = unbalanced(nano("class_token")[1])
    values = run(graph, {"image": images(20, SIZE)}, ["blocks.0.add"])["blocks.0.add"].double()
    found = quantized(graph).activations["blocks.0.add"]
    assert len(set(getattr(found, "alpha", ()))) > 2
    plain = asymmetric_quantizer(float(values.min()), float(values.max()), 8)
    assert (found(values) - values).square().sum() < (plain(values) - values).square().sum() / 1.2


@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (3, 3)])
def test_all_widths_run(weight_bits: int, activation_bits: int, nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph, weight_bits=weight_bits, activation_bits=activation_bits)
    wanted = {(8, 8): 15, (4, 8): 11, (3, 3): 1}[weight_bits, activation_bits]
    assert sqnr(model, images(20, SIZE, seed=2)) > wanted


@pytest.mark.parametrize(
    "variant", ["class_token", "mean_then_norm", "registers", "distilled", "pre_norm"]
)
@pytest.mark.parametrize("zero_point", ["asymmetric", "symmetric"])
def test_in_integers_nothing_stays_in_float_and_the_chip_computes_fake_quantization(
    variant: str, zero_point: str, nano: Captured
) -> None:
    graph = unbalanced(nano(variant)[1])
    model = quantized(graph, float_ops="integer", zero_point=zero_point)
    assert not left_in_float(model)
    if zero_point == "symmetric":
        assert {q.zero_point for q in model.activations.values()} == {0}
    inputs = images(8, SIZE, seed=2)
    np.testing.assert_allclose(on_chip(model, inputs), logits(model, inputs).numpy(), atol=1e-9)


def test_channel_factors_become_shifts_and_multipliers(nano: Captured) -> None:
    graph = unbalanced(nano("class_token")[1])
    model = quantized(graph, float_ops="integer")
    lowered = lower(model, load_profile("edge_npu_int8"))
    ops = {op.name: op for op in lowered.ops}
    norm, add = ops["blocks.0.norm2"], ops["blocks.0.add"]
    assert isinstance(norm, LayerNorm)
    assert isinstance(add, Add)
    quantizer = model.activations["blocks.0.add"]
    assert isinstance(quantizer, ActivationQuantizer)
    shifts = np.log2(np.array(quantizer.alpha) / min(quantizer.alpha))
    assert norm.channel_multiplier is not None
    assert lowered.constants[norm.channel_multiplier].tolist() == (2**shifts).tolist()
    assert norm.channel_shift is None
    assert lowered.constants[add.multiplier_a].shape == (24,)
    assert len(lowered.tensors["blocks.0.add"].scale) == 24


def test_channel_factors_become_shifts_on_a_chip_that_shifts(nano: Captured) -> None:
    graph = unbalanced(nano("class_token")[1])
    profile = load_profile("narrow_acc_20")
    limits = {"zero_point": "symmetric", "channel_factor": "shift", "channel_factor_bits": 3}
    model = quantized(graph, float_ops="integer", **limits)
    lowered = lower(model, profile)
    norm = next(op for op in lowered.ops if op.name == "blocks.0.norm2")
    quantizer = model.activations["blocks.0.add"]
    assert isinstance(norm, LayerNorm)
    assert isinstance(quantizer, ActivationQuantizer)
    shifts = np.log2(np.array(quantizer.alpha) / min(quantizer.alpha))
    assert norm.channel_shift is not None
    assert lowered.constants[norm.channel_shift].tolist() == shifts.tolist()
    assert norm.channel_multiplier is None


def test_factors_leave_fewer_fraction_bits_to_a_wide_stream(nano: Captured) -> None:
    """LayerNorm's variance of 16-bit codes times 8 still fits 64 bits."""
    graph = unbalanced(nano("class_token")[1])
    model = quantized(graph, float_ops="integer", residual_bits=16)
    profile = changed(activation__residual_bits=16)
    norms = [op for op in lower(model, profile).ops if isinstance(op, LayerNorm)]
    assert any(op.channel_multiplier for op in norms)


def test_what_a_chip_cannot_read_by_channel_is_refused_by_name(nano: Captured) -> None:
    _, graph = nano("class_token")
    model = quantized(graph, float_ops="integer")
    profile = load_profile("edge_npu_int8")
    factors = {
        "blocks.0.add": tuple(1.0 + channel % 2 / 2**20 for channel in range(24)),
        "blocks.0.mlp.act": (1.0, 2.0) * 48,
    }
    for name, alpha in factors.items():
        plain = model.activations[name]
        changed = QuantizedModel(
            graph=graph,
            method="test",
            recipe=model.recipe,
            limits=model.limits,
            activations={
                **model.activations,
                name: ActivationQuantizer(
                    type=plain.type, scale=plain.scale, zero_point=0, alpha=alpha
                ),
            },
            weights=model.weights,
            calibration_images=1,
        )
        with pytest.raises(InputError, match=rf"^{name}: "):
            lower(changed, profile)
