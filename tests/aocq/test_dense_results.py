# SPDX-License-Identifier: Apache-2.0
"""Dense results: a scale for each column, 16 bits where the chip has them, columns that count."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from tiny_models import NANO, images, input_size, network

from aocq.capture import FloatGraph, capture, run
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from aocq.methods.aocq.balance import ChannelRange, columns_quantizer
from aocq.methods.aocq.token_norm import block_loss
from aocq.methods.aocq.tokens import result_weights, token_importance, weighs_results
from aocq.methods.fake_quantization import FakeQuantization
from aocq.methods.fisher import sampled_label_direction
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.limits import ChipLimits
from simulator.boundary import dequantize, quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import MatMul
from simulator.numerics.integer_type import IntType
from simulator.ops import BEHAVIOURS
from simulator.profile import load_profile

COLUMNS = 9  # 4 classes, a centerness, 4 distances
DENSE = {**NANO, "num_classes": COLUMNS, "global_pool": ""}
# Lengths are small beside logits, as in a detector.
RANGES = (1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1)


@cache
def dense_graph() -> FloatGraph:
    built = network("class_token", DENSE)
    with torch.no_grad():
        built.head.weight *= torch.tensor(RANGES)[:, None]
        built.head.bias *= torch.tensor(RANGES)
    return capture(built, "dense", input_size(DENSE))


@cache
def quantized(profile: str) -> QuantizedModel:
    chip = load_profile(profile)
    options = AocqOptions(scale_passes=1, search_images=4)
    return calibrated(
        "aocq", dense_graph(), images(8, input_size(DENSE)), *for_chip(chip, aocq=options)
    )


# --- the quantizer of columns ---------------------------------------------------------------------


def own_scales(
    low: list[float], high: list[float], bits: int
) -> tuple[int, list[Fraction], Fraction]:
    """Zero point, scales and cost by definition, one zero point after the other."""
    lowest, highest = -(1 << bits - 1), (1 << bits - 1) - 1
    best: tuple[Fraction, int, list[Fraction]] | None = None
    for zero_point in range(lowest + 1, highest):
        scales, cost = [], Fraction(0)
        for least, most in zip(low, high, strict=True):
            below, above = Fraction(max(-least, 0)), Fraction(max(most, 0))
            scale = max(below / (zero_point - lowest), above / (highest - zero_point))
            scales.append(scale)
            cost += (scale / ((below + above) / (highest - lowest))) ** 2
        if best is None or cost < best[0]:
            best = cost, zero_point, scales
    assert best is not None
    return best[1], best[2], best[0]


@pytest.mark.parametrize("seed", range(6))
def test_scales_of_columns_are_those_of_the_definition(seed: int) -> None:
    chance = np.random.default_rng(seed)
    low = (-chance.uniform(0.5, 12, 5)).tolist()
    high = chance.uniform(0.2, 4, 5).tolist()
    seen = ChannelRange(torch.tensor(low).double(), torch.tensor(high).double())
    found = columns_quantizer(seen, 8, ChipLimits())
    exact_low, exact_high = seen.low.tolist(), seen.high.tolist()
    zero_point, scales, _ = own_scales(exact_low, exact_high, 8)
    assert found.zero_point == zero_point
    assert found.scale_array().tolist() == pytest.approx([float(each) for each in scales], 1e-12)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("zero_point", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("scale", ["any", "power_of_two"])
def test_no_column_is_clipped(bits: int, zero_point: str, scale: str) -> None:
    seen = ChannelRange(
        torch.tensor([-9.0, -0.3, 0.0, 0.0, -1e-3]), torch.tensor([3.0, 0.2, 7.0, 0.0, -1e-4])
    )
    seen = ChannelRange(seen.low.double(), seen.high.double())
    limits = ChipLimits(zero_point=zero_point, activation_scale=scale)  # type: ignore[arg-type]
    found = columns_quantizer(seen, bits, limits)
    assert found.type == IntType(bits=bits)
    assert (found.zero_point == 0) == (zero_point == "symmetric")
    for edge in (seen.low, seen.high):
        assert bool(((found(edge) - edge).abs() <= 0.51 * found.scales()).all())
    if scale == "power_of_two":
        assert set(np.frexp(found.scale_array())[0].tolist()) == {0.5}


def test_wide_codes_are_finer() -> None:
    seen = ChannelRange(torch.tensor([-9.0, -0.3]).double(), torch.tensor([3.0, 0.2]).double())
    narrow, wide = (columns_quantizer(seen, bits, ChipLimits()) for bits in (8, 16))
    assert (wide.scale_array() * 200 < narrow.scale_array()).all()


# --- in a network ---------------------------------------------------------------------------------


def head_of(graph: IntGraph) -> MatMul:
    (head,) = (op for op in graph.ops if op.name == graph.outputs[0])
    assert isinstance(head, MatMul)
    return head


def head_operands(graph: IntGraph, count: int = 3) -> list[np.ndarray]:
    """What the head reads, and what it yields: the emulator's."""
    pixels = images(count, input_size(DENSE), seed=3).numpy()
    codes = quantize(pixels, graph.tensors[graph.inputs[0]])
    head = head_of(graph)
    taps = Executor(graph, gemm="numba", threads=1).run(codes, taps=[head.a, head.name]).taps
    return [taps[head.a], taps[head.name]]


@pytest.mark.parametrize(("profile", "bits"), [("edge_npu_int8", 8), ("edge_npu_int8_wide", 16)])
def test_each_column_of_a_dense_result_has_a_scale(profile: str, bits: int) -> None:
    model = quantized(profile)
    graph = lower(model, load_profile(profile))
    result = graph.tensors[graph.outputs[0]]
    assert (result.type, len(result.scale)) == (IntType(bits=bits), COLUMNS)
    logits, lengths = np.array(result.scale[:5]), np.array(result.scale[5:])
    assert lengths.max() < logits.min() / 2
    assert len(graph.constants[head_of(graph).requantize.multiplier]) == COLUMNS


@pytest.mark.parametrize("profile", ["edge_npu_int8", "edge_npu_int8_wide"])
def test_the_head_gives_the_integers_of_its_reference_and_of_plain_python(profile: str) -> None:
    graph = lower(quantized(profile), load_profile(profile))
    head, (read, yielded) = head_of(graph), head_operands(graph)
    weights, bias = graph.constants[head.b], graph.constants[head.bias]
    multipliers = graph.constants[head.requantize.multiplier].tolist()
    shifts = graph.constants[head.requantize.shift].tolist()
    result = graph.tensors[head.name]
    for image, expected in zip(read, yielded, strict=True):
        operands = [image, weights, bias, *(graph.constants[n] for n in head.operands[3:])]
        assert np.array_equal(BEHAVIOURS[MatMul].reference(head, graph, operands).codes, expected)
        for token in range(0, len(image), 3):
            for column in range(COLUMNS):
                total = int(bias[column]) + sum(
                    int(a) * int(b) for a, b in zip(image[token], weights[column], strict=True)
                )
                place = shifts[column]
                code = (total * multipliers[column] + (1 << place - 1) >> place) + result.zero_point
                kind = result.code_type
                assert int(expected[token, column]) == min(max(code, kind.low), kind.high)


def test_real_values_of_codes_are_those_of_fake_quantization() -> None:
    """Where every sum is exact, both differ by the chip's operators alone."""
    model = quantized("edge_npu_int8_wide")
    graph = lower(model, load_profile("edge_npu_int8_wide"))
    pixels = images(3, input_size(DENSE), seed=3)
    _, codes = head_operands(graph)
    real = dequantize(codes, graph.tensors[graph.outputs[0]])
    fake = FakeQuantization(model).logits(pixels).numpy()
    error = np.sqrt(((real - fake) ** 2).mean((0, 1)) / (fake**2).mean((0, 1)))
    assert error.max() < 0.05


def test_a_chip_with_one_scale_for_a_tensor_keeps_it() -> None:
    (result,) = (
        quantized("tosa_single").activations[name] for name in (dense_graph().output.name,)
    )
    assert isinstance(result, ActivationQuantizer)
    assert result.alpha == ()


def test_logits_of_an_image_keep_one_scale() -> None:
    graph = capture(network("class_token", NANO), "classes", input_size(NANO))
    chip = load_profile("edge_npu_int8")
    options = AocqOptions(scale_passes=0, search_images=4)
    model = calibrated("aocq", graph, images(8, input_size(NANO)), *for_chip(chip, aocq=options))
    result = model.activations[graph.output.name]
    assert isinstance(result, ActivationQuantizer)
    assert result.alpha == ()


def test_a_chip_without_wide_results_refuses_them() -> None:
    model = quantized("edge_npu_int8_wide")
    with pytest.raises(InputError, match=r"activation\.output_bits: the model's result has 16"):
        lower(model, load_profile("edge_npu_int8"))


# --- tokens of a dense result ---------------------------------------------------------------------


def dense_values(count: int = 6) -> torch.Tensor:
    graph = dense_graph()
    name = graph.output.name
    return run(graph, {"image": images(count, input_size(DENSE), seed=4)}, [name])[name]


def test_tokens_count_by_the_definition_and_the_class_token_as_an_ordinary_one() -> None:
    y = dense_values()
    found = result_weights(dense_graph(), y)[..., 0].double().numpy()
    rows = y.double().numpy().reshape(-1, COLUMNS)
    apart = []
    for row in rows.tolist():
        columns = zip(row, rows.mean(0).tolist(), rows.std(0).tolist(), strict=True)
        apart.append(max(((value - mean) / deviation) ** 2 for value, mean, deviation in columns))
    wanted = np.array(apart).reshape(y.shape[:-1])
    wanted[:, 0] = wanted[:, 1:].mean()
    assert found == pytest.approx(wanted / wanted.mean(), rel=1e-4)
    assert found.max() > 2 * found.min()


def test_nodes_with_the_tokens_of_the_result_have_an_importance_for_each_image() -> None:
    graph, y = dense_graph(), dense_values()
    found = token_importance(graph, AocqOptions(), y)
    weights = result_weights(graph, y)
    for node in graph.nodes:
        if node.shape[:-1] == graph.output.shape[:-1]:
            assert torch.equal(found[node.name], weights), node.name
        else:
            assert found[node.name].shape == (*node.shape[:-1], 1), node.name
    assert found["blocks.0.attn.qkv"].shape == (6, *graph.output.shape[:-1], 1)


@pytest.mark.parametrize(
    ("options", "weighs"),
    [
        (AocqOptions(), True),
        (AocqOptions(dense_tokens="alike"), False),
        (AocqOptions(loss="mse"), False),
    ],
    ids=("deviation", "alike", "mse"),
)
def test_tokens_count_by_their_results_where_there_are_results_of_tokens(
    options: AocqOptions, weighs: bool
) -> None:
    assert weighs_results(dense_graph(), options) is weighs
    classes = capture(network("class_token", NANO), "classes", input_size(NANO))
    assert not weighs_results(classes, options)


def test_a_constant_result_weighs_all_tokens_alike() -> None:
    y = torch.full((2, *dense_graph().output.shape), 3.0)
    assert bool((result_weights(dense_graph(), y) == 1).all())


def by_weights_of_tokens(**options: Any) -> tuple[QuantizedModel, QuantizedModel]:
    """Models whose tokens count by their results, and alike."""
    pixels, chip = images(8, input_size(DENSE)), load_profile("edge_npu_int8")

    def model(dense_tokens: str) -> QuantizedModel:
        chosen = AocqOptions(search_images=4, dense_tokens=dense_tokens, **options)  # type: ignore[arg-type]
        recipe = for_chip(chip, weight_bits=4, aocq=chosen)
        return calibrated("aocq", dense_graph(), pixels, *recipe)

    return model("deviation"), model("alike")


def test_weights_of_tokens_change_how_weights_are_rounded() -> None:
    """Scales from ranges alone are the same; what is left are the moments of layers' inputs."""
    one, other = by_weights_of_tokens(scale_passes=0, alpha_choice="range", balance_inputs=False)
    assert one.activations == other.activations
    for name in ("blocks.0.attn.qkv.weight", "blocks.0.mlp.fc2.weight"):
        assert not np.array_equal(one.weights[name].codes, other.weights[name].codes), name


def test_weights_of_tokens_change_how_the_stream_is_clipped() -> None:
    one, other = by_weights_of_tokens(scale_passes=0, rounding="nearest")
    assert one.activations["blocks.0.add_1"] != other.activations["blocks.0.add_1"]


# --- baselines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["base_ptq", "base_ptq_paper", "ptq4vit_paper", "fq_vit"])
def test_baselines_quantize_networks_with_a_dense_result(method: str) -> None:
    chip, few = load_profile("edge_npu_int8"), images(4, input_size(DENSE))
    model = calibrated(method, dense_graph(), few, *for_chip(chip))
    found = FakeQuantization(model).logits(few)
    real = run(dense_graph(), {"image": few}, [dense_graph().output.name])
    assert found.shape == (4, *dense_graph().output.shape)
    error = (found - real[dense_graph().output.name]).square().mean() / found.square().mean()
    assert 0 < float(error) < 0.05


def test_every_token_of_a_dense_result_has_a_label_of_its_own() -> None:
    logits = torch.zeros(3, 5, 4)
    found = sampled_label_direction(logits, seed=1)
    assert found.shape == logits.shape
    assert torch.allclose(found.sum(-1), torch.zeros(3, 5))
    assert bool(((found == -0.75).sum(-1) == 1).all())
    assert len({int(token.argmin()) for token in found.flatten(0, 1)}) > 1
    flat = sampled_label_direction(logits.flatten(0, 1), seed=1)
    assert torch.equal(found.flatten(0, 1), flat)


# --- the loss of a dense result -------------------------------------------------------------------


def test_columns_of_a_dense_result_count_alike_whatever_they_reach() -> None:
    graph, options = dense_graph(), AocqOptions()
    name = graph.output.name
    y = run(graph, {"image": images(8, input_size(DENSE))}, [name])[name]
    loss = block_loss(graph, name, y, None, torch.ones(*y.shape[1:-1], 1), options)
    deviations = y.flatten(0, -2).std(0, correction=0)
    errors = []
    for column in range(COLUMNS):
        other = y.clone()
        other[..., column] += 0.1 * deviations[column]
        errors.append(float(loss(other)))
    assert errors == pytest.approx([errors[0]] * COLUMNS, rel=1e-4)
    plain = block_loss(graph, name, y, None, torch.ones(*y.shape[1:-1], 1), AocqOptions(loss="mse"))
    assert float(plain.channels.max()) == 1


def test_tokens_of_a_dense_result_count_by_their_importance_alone() -> None:
    graph = dense_graph()
    name = graph.output.name
    y = run(graph, {"image": images(4, input_size(DENSE))}, [name])[name]
    importance = torch.ones(*y.shape[1:-1], 1)
    importance[0] = 3
    weights = block_loss(graph, name, y, None, importance, AocqOptions()).weights
    assert weights.shape == (*y.shape[:-1], 1)
    assert bool((weights[:, 0] == 3 * weights[:, 1]).all())
    assert bool((weights[:, 1:] == weights[0, 1, 0]).all())
