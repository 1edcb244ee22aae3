# SPDX-License-Identifier: Apache-2.0
"""Models with channel factors on every tensor: the chip computes what fake quantization does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked import asked
from changed_profiles import changed
from fake_quantized import logits
from tiny_models import NANO, images, input_size
from torch import nn

from aocq.capture import FloatGraph, FloatOp, run
from aocq.capture.float_graph import ARITHMETIC
from aocq.capture.residual_stream import arithmetic_source, residual_stream
from aocq.lowering import lower
from aocq.lowering.normalization import channel_factors
from aocq.methods import METHODS, QuantizedModel
from aocq.methods.fq_vit import quantize_weight
from aocq.methods.quantizers import ActivationQuantizer, QuantizedWeight
from simulator.boundary import quantize
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.executor import Executor, run_reference
from simulator.graph import IntGraph, sha256
from simulator.graph.ops import Add, LayerNorm, Lookup, Rescale
from simulator.numerics.integer_type import IntType
from simulator.profile import NpuProfile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]
SIZE = input_size(NANO)
CHIPS = {
    "multiplier": changed(),
    "shift": changed(layernorm__channel_factor="shift", layernorm__channel_factor_bits=3),
    "none": changed(layernorm__channel_factor="none"),
}


def stream(graph: FloatGraph) -> set[str]:
    """The residual stream, its tokens and embeddings, and the layers that are added to it."""
    sums = residual_stream(graph)
    writers = {name for sum_ in sums for name in graph.node(sum_).inputs}
    return {name for name in sums | writers if graph.node(name).op in ARITHMETIC}


def random_factors(kind: str, count: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Factors as a method chooses them for a chip; none is the smallest multiplier."""
    if kind == "multiplier":
        return tuple((rng.integers(60, 256, count) / 255).tolist())
    if kind == "shift":
        return tuple((2.0 ** rng.integers(-3, 1, count)).tolist())
    return (1.0,) * count


def attention_factors(channels: int, rng: np.random.Generator) -> tuple[float, ...]:
    """One factor each for Q, K and V, and inverse ones for the channels of Q and K."""
    per_channel = rng.uniform(0.5, 1.0, channels)
    return (*(0.9 * per_channel), *(0.4 / per_channel), *[0.7] * channels)


def balanced(plain: QuantizedModel, kind: str, seed: int = 0) -> QuantizedModel:
    """Put random factors on every tensor that may have some, and inverse ones on the weights."""
    rng = np.random.default_rng(seed)
    graph, activations, weights = plain.graph, dict(plain.activations), dict(plain.weights)
    writers = stream(graph)
    read_by_norm = {n for node in graph.nodes if node.op is FloatOp.LAYERNORM for n in node.inputs}
    for node in graph.nodes:
        quantizer = activations.get(node.name)
        if not isinstance(quantizer, ActivationQuantizer):
            continue
        count = node.shape[-1]
        if node.name in writers:
            # What LayerNorm does not read may have any factor on any chip.
            factors = random_factors(
                kind if node.name in read_by_norm else "multiplier", count, rng
            )
        elif node.op in {FloatOp.LAYERNORM, FloatOp.UNARY}:
            factors = tuple(rng.uniform(0.2, 1.0, count).tolist())
        elif node.name.endswith("qkv"):
            factors = attention_factors(count // 3, rng)
        else:
            continue
        table_scale = quantizer.scale / 100 if node.op is FloatOp.UNARY else 0.0
        # No two scales alike: codes times a ratio of small numbers would often be ties, which this
        # chip rounds up and fake quantization to even.
        scale = quantizer.scale * rng.uniform(1.4, 1.6)
        activations[node.name] = replace(
            quantizer, scale=scale, alpha=factors, table_scale=table_scale
        )
    for node in graph.nodes:
        if node.op is not FloatOp.LINEAR:
            continue
        source = activations.get(arithmetic_source(graph, node.inputs[0]).name)
        if isinstance(source, ActivationQuantizer) and source.alpha:
            name = node.attributes["weight"]
            weights[name] = carrying(graph.parameters[name], source.alpha)
    return replace(plain, activations=activations, weights=weights)


def carrying(weight: torch.Tensor, alpha: tuple[float, ...]) -> QuantizedWeight:
    columns = torch.tensor(alpha, dtype=torch.float64)
    found = quantize_weight(weight.double() * columns, 8, "per_channel")
    return replace(found, alpha=alpha)


PLAIN: dict[str, QuantizedModel] = {}


def plain_model(graph: FloatGraph) -> QuantizedModel:
    if graph.name not in PLAIN:
        recipe = asked(channel_factor="none")
        PLAIN[graph.name] = METHODS["base_ptq"](graph, images(32, SIZE), *recipe)
    return PLAIN[graph.name]


def agreement(model: QuantizedModel, graph: IntGraph, count: int = 24) -> tuple[float, float]:
    """Shares of equal codes, of all quantized tensors and of the logits."""
    inputs = images(count, SIZE, seed=2)
    nodes = [n for n in model.graph.nodes if n.name in model.activations]
    computed = [n for n in nodes if n.op not in {FloatOp.INPUT, FloatOp.CONSTANT}]
    real = run(
        model.graph,
        {"image": model.fake_quantized_image(inputs)},
        [node.name for node in computed],
        transform=model.fake_quantize,
        parameters=model.fake_quantized_parameters(),
    )
    codes = quantize(inputs.numpy(), graph.tensors["image"])
    taps = [op.name for op in graph.ops]
    output = Executor(graph, gemm="numba", threads=1).run(codes, taps=taps)
    reference = run_reference(graph, codes[0])
    for name in taps:
        np.testing.assert_array_equal(output.taps[name][0], reference[name], err_msg=name)
    equal = []
    for node in computed:
        wanted = model.activations[node.name].codes(real[node.name]).numpy()
        equal.append((wanted == output.taps[node.name]).ravel())
    return float(np.concatenate(equal).mean()), float(equal[-1].mean())


VARIANTS = ("class_token", "mean_then_norm", "registers", "mean_without_class_token", "pre_norm")


@pytest.mark.parametrize("kind", CHIPS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_chip_computes_fake_quantization(variant: str, kind: str, nano: Captured) -> None:
    model = balanced(plain_model(nano(variant)[1]), kind)
    graph = lower(model, CHIPS[kind])
    assert graph.float_ops == 0
    everywhere, of_logits = agreement(model, graph)
    assert everywhere >= 0.999
    assert of_logits >= 0.99
    norms = [op for op in graph.ops if isinstance(op, LayerNorm)]
    assert any(op.channel_multiplier for op in norms) == (kind == "multiplier")
    assert any(op.channel_shift for op in norms) == (kind == "shift")
    adds = [graph.tensors[op.multiplier_a].shape for op in graph.ops if isinstance(op, Add)]
    assert any(shape != (1,) for shape in adds)


def test_wide_streams_have_room_for_factors(nano: Captured) -> None:
    graph = nano("class_token")[1]
    recipe = asked(channel_factor="none", residual_bits=12)
    model = balanced(METHODS["base_ptq"](graph, images(32, SIZE), *recipe), "multiplier")
    everywhere, of_logits = agreement(model, lower(model, changed(activation__residual_bits=12)))
    assert everywhere >= 0.999
    assert of_logits >= 0.98


def test_a_balanced_function_is_a_table_of_wide_codes_and_a_rescaling(nano: Captured) -> None:
    model = balanced(plain_model(nano("class_token")[1]), "multiplier")
    name = "blocks.0.mlp.act"
    graph = lower(model, CHIPS["multiplier"])
    ops = {op.name: op for op in graph.ops}
    wide = graph.tensors[f"{name}.wide"]
    quantizer = model.activations[name]
    assert isinstance(quantizer, ActivationQuantizer)
    assert isinstance(ops[wide.name], Lookup)
    assert (str(wide.type), wide.scale) == ("s16", (quantizer.table_scale,))
    rescale = ops[name]
    assert isinstance(rescale, Rescale)
    factors = graph.constants[rescale.requantize.multiplier] / 2.0 ** graph.constants[
        rescale.requantize.shift
    ].astype(np.float64)
    scales = quantizer.scale * np.array(quantizer.alpha)
    np.testing.assert_allclose(factors, quantizer.table_scale / scales, rtol=1e-8)


def test_a_table_and_its_rescaling_in_one_pass_store_no_wide_codes(nano: Captured) -> None:
    """It is a matter of cost alone: the integers are the same."""
    model = balanced(plain_model(nano("class_token")[1]), "multiplier")
    name = "blocks.0.mlp.act"
    chip = CHIPS["multiplier"]
    one_pass = chip.compute.model_copy(update={"fused_lookup_rescale": True})
    chips = (chip, chip.model_copy(update={"compute": one_pass}))
    apart, fused = (lower(model, chip) for chip in chips)
    assert sha256(apart) == sha256(fused)
    costs = [estimate(apart, chip) for chip in chips]
    stored = [{buffer.name: buffer.bytes for buffer in each.plan.buffers} for each in costs]
    assert stored[0][f"{name}.wide"] == 2 * stored[0][name]
    assert stored[1] == {key: size for key, size in stored[0].items() if key != f"{name}.wide"}
    assert costs[1].total_cycles < costs[0].total_cycles
    assert costs[1].peak_sram_bytes < costs[0].peak_sram_bytes


def test_the_table_rounds_ties_as_fake_quantization_does(nano: Captured) -> None:
    """ReLU of codes at scale 1/2 of the table's: every other code lies between two wide codes."""
    model = plain_model(nano("relu")[1])
    name, source = "blocks.0.mlp.act", "blocks.0.mlp.fc1"
    scale = 2.0**-5
    fc1 = replace(model.activations[source], scale=scale, zero_point=0)
    act = replace(
        model.activations[name], scale=8.3 * scale, table_scale=2 * scale, zero_point=-128
    )
    model = replace(model, activations={**model.activations, source: fc1, name: act})
    graph = lower(model, CHIPS["multiplier"])
    lookup = next(op for op in graph.ops if op.name == f"{name}.wide")
    assert isinstance(lookup, Lookup)
    table = graph.constants[lookup.table]
    np.testing.assert_array_equal(table[128:], np.rint(np.arange(128) / 2))
    assert agreement(model, graph)[0] > 0.999


def exact(model: QuantizedModel, *, factors: bool) -> QuantizedModel:
    """The same model at scales so fine that only factors in the wrong place would show."""
    fine = IntType(bits=60)
    activations = {}
    for name, q in model.activations.items():
        alpha = getattr(q, "alpha", ()) if factors else ()
        table_scale = 2.0**-30 if alpha and getattr(q, "table_scale", 0) else 0.0
        activations[name] = ActivationQuantizer(
            type=fine, scale=2.0**-30, zero_point=0, alpha=alpha, table_scale=table_scale
        )
    weights = {}
    for node in model.graph.nodes:
        if node.op is FloatOp.LINEAR:
            name = node.attributes["weight"]
            real = model.graph.parameters[name].double().numpy()
            alpha = model.weights[name].alpha if factors else ()
            codes = np.rint(real * np.array(alpha or (1.0,)) * 2.0**30)
            weights[name] = QuantizedWeight(
                bits=8, codes=codes, scale=np.full(len(real), 2.0**-30), alpha=alpha
            )
    return replace(model, activations=activations, weights=weights)


@pytest.mark.parametrize("variant", ["class_token", "mean_then_norm", "registers"])
def test_factors_in_and_out_are_the_float_network(variant: str, nano: Captured) -> None:
    network, graph = nano(variant)
    model = balanced(plain_model(graph), "multiplier")
    inputs = images(4, SIZE, seed=3)
    real = network(inputs).detach().double()
    with_factors = logits(exact(model, factors=True), inputs)
    torch.testing.assert_close(with_factors, real, rtol=0, atol=2e-5)
    without = logits(exact(model, factors=False), inputs)
    torch.testing.assert_close(with_factors, without, rtol=0, atol=1e-6)


def test_factors_of_one_change_nothing(nano: Captured) -> None:
    plain = plain_model(nano("class_token")[1])
    ones = {
        name: replace(q, alpha=(1.0,) * plain.graph.node(name).shape[-1])
        for name, q in plain.activations.items()
        if name in stream(plain.graph) and isinstance(q, ActivationQuantizer)
    }
    model = replace(plain, activations={**plain.activations, **ones})
    for chip in CHIPS.values():
        graphs = [lower(plain, chip), lower(model, chip)]
        codes = quantize(images(8, SIZE).numpy(), graphs[0].tensors["image"])
        found = [Executor(g, threads=1).run(codes, taps=["add", "blocks.0.norm1"]) for g in graphs]
        for name in ("add", "blocks.0.norm1"):
            np.testing.assert_array_equal(found[0].taps[name], found[1].taps[name])
        np.testing.assert_array_equal(found[0].outputs["head"], found[1].outputs["head"])
        assert not any(
            op.channel_shift or op.channel_multiplier
            for op in graphs[1].ops
            if isinstance(op, LayerNorm)
        )


def test_a_token_at_other_scales_than_its_sequence_is_rescaled_in_the_lowering(
    nano: Captured,
) -> None:
    model = balanced(plain_model(nano("class_token")[1]), "multiplier")
    graph = lower(model, CHIPS["multiplier"])
    assert "cls_token" not in graph.constants
    token, whole = model.activations["cls_token"], model.activations["concat"]
    real = model.fake_quantize(model.graph.node("cls_token"), model.graph.parameters["cls_token"])
    assert isinstance(token, ActivationQuantizer)
    np.testing.assert_array_equal(
        graph.constants["concat.rescale_0"], whole.codes(real.double())[0].numpy()
    )


def test_wide_codes_saturate_where_the_results_do(nano: Captured) -> None:
    """A scale that clips the function's greatest values: its table need not hold them."""
    model = balanced(plain_model(nano("class_token")[1]), "multiplier")
    name = "blocks.0.mlp.act"
    quantizer = model.activations[name]
    assert isinstance(quantizer, ActivationQuantizer)
    scale = quantizer.scale / 3
    furthest = quantizer.type.high - quantizer.type.low + 0.5
    for table_scale in (furthest * scale / (2**15 - 1), 0.5 * scale / (2**15 - 1)):
        changed = replace(quantizer, scale=scale, table_scale=table_scale)
        narrow = replace(model, activations={**model.activations, name: changed})
        if table_scale * 2**15 < scale:
            with pytest.raises(InputError, match="choose a larger table_scale"):
                lower(narrow, CHIPS["multiplier"])
            continue
        graph = lower(narrow, CHIPS["multiplier"])
        assert graph.constants[f"{name}.wide.table"].max() == 2**15 - 1
        assert agreement(narrow, graph)[0] > 0.999


# --- factors --------------------------------------------------------------------------------------


def test_epsilon_is_at_the_scale_of_u(nano: Captured) -> None:
    model = balanced(plain_model(nano("class_token")[1]), "multiplier")
    graph = lower(model, CHIPS["multiplier"])
    norm = next(op for op in graph.ops if op.name == "blocks.0.norm2")
    quantizer = model.activations["blocks.0.add"]
    assert isinstance(norm, LayerNorm)
    assert norm.channel_multiplier is not None
    assert isinstance(quantizer, ActivationQuantizer)
    factors = graph.constants[norm.channel_multiplier]
    assert factors.tolist() == [round(255 * a) for a in quantizer.alpha]
    unit = quantizer.scale / 255
    assert norm.epsilon == pytest.approx(1e-6 * (24 / unit) ** 2, abs=0.5)
    assert norm.epsilon > 100


@pytest.mark.parametrize(
    ("kind", "scales", "wanted"),
    [
        ("multiplier", [0.2, 0.3, 0.5], [2, 3, 5]),
        ("multiplier", [7 / 255, 1.0, 254 / 255], [7, 255, 254]),
        ("multiplier", [0.1], [1]),
        ("multiplier", [0.3, 0.3], [1, 1]),
        ("shift", [0.5, 64.0, 1.0], [1, 128, 2]),
        ("none", [0.5, 0.5], [1, 1]),
    ],
)
def test_scales_become_the_least_whole_factors(
    kind: str, scales: list[float], wanted: list[int]
) -> None:
    assert channel_factors("x", np.array(scales), CHIPS[kind]).tolist() == wanted


@pytest.mark.parametrize(
    ("chip", "scales", "able"),
    [
        (CHIPS["multiplier"], [1.0, 2**0.5], "not in proportion to whole numbers up to 255"),
        (CHIPS["multiplier"], [1.0, 256.0], "largest ratio 256"),
        (CHIPS["multiplier"], [1.0, 1 + 1e-6], "whole numbers"),
        (CHIPS["shift"], [1.0, 3.0], "not powers of two up to 2^7 apart"),
        (CHIPS["shift"], [1.0, 256.0], "not powers of two up to 2^7 apart"),
        (CHIPS["none"], [1.0, 2.0], "not equal"),
    ],
)
def test_factors_that_a_chip_cannot_apply_are_refused(
    chip: NpuProfile, scales: list[float], able: str
) -> None:
    with pytest.raises(InputError, match=r"^blocks\.0\.add: LayerNorm reads it") as caught:
        channel_factors("blocks.0.add", np.array(scales), chip)
    assert able in str(caught.value)
    assert "quantize for this profile (--profile with its name or file)" in str(caught.value)


# --- refusals -------------------------------------------------------------------------------------


def with_factors(model: QuantizedModel, name: str, **changes: object) -> QuantizedModel:
    quantizer = model.activations[name]
    return replace(model, activations={**model.activations, name: replace(quantizer, **changes)})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("image", {"alpha": (1.0, 2.0) * 8}, "image: the image has one scale"),
        (
            "blocks.0.attn.scores",
            {"alpha": (1.0, *(2.0,) * 4)},
            "blocks.0.attn.scores: softmax blocks.0.attn.probabilities has one scale",
        ),
        (
            "blocks.0.attn.probabilities",
            {"alpha": (1.0, *(2.0,) * 4)},
            "blocks.0.attn.probabilities: a softmax's result has one scale",
        ),
        ("blocks.0.attn.probabilities", {"scale": 0.1}, "softmax yields u8 at scale 0.00390625"),
        (
            "blocks.0.mlp.fc1",
            {"alpha": (1.0, 2.0) * 48},
            "blocks.0.mlp.fc1: the table of blocks.0.mlp.act has one scale",
        ),
        (
            "blocks.0.mlp.act",
            {"alpha": (1.0, 2.0) * 48},
            "blocks.0.mlp.act: a table without wide codes (table_scale) has one scale",
        ),
        ("blocks.0.mlp.act", {"table_scale": 1e-6}, "choose a larger table_scale"),
        (
            "blocks.0.attn.qkv",
            {"alpha": (1.0, 2.0) * 36},
            "the product of the scales of blocks.0.attn.scale and",
        ),
        (
            "blocks.0.norm1",
            {"alpha": (1.0, 2.0) * 12},
            "blocks.0.attn.qkv: the scale of blocks.0.norm1 varies",
        ),
        (
            "blocks.0.attn.scores",
            {"alpha": (1.0, 2.0, 3.0), "axis": -3},
            "blocks.0.attn.scores: its scales differ along dimension 0",
        ),
    ],
)
def test_what_has_one_scale_is_refused_by_name(
    name: str, changes: dict[str, object], message: str, nano: Captured
) -> None:
    model = with_factors(plain_model(nano("class_token")[1]), name, **changes)
    with pytest.raises(InputError) as caught:
        lower(model, CHIPS["multiplier"])
    assert message in str(caught.value)


def test_weights_that_carry_factors_of_no_input_are_refused(nano: Captured) -> None:
    model = plain_model(nano("class_token")[1])
    name = "blocks.0.mlp.fc1.weight"
    weight = replace(model.weights[name], alpha=(1.0, 2.0) * 12)
    with pytest.raises(InputError, match=r"^blocks\.0\.mlp\.fc1: the scale of blocks\.0\.norm2"):
        lower(replace(model, weights={**model.weights, name: weight}), CHIPS["multiplier"])


def test_a_table_in_float_has_no_wide_codes(nano: Captured) -> None:
    model = plain_model(nano("class_token")[1])
    model = with_factors(model, "blocks.0.mlp.act", alpha=(1.0,) * 96, table_scale=1e-3)
    activations = {n: q for n, q in model.activations.items() if n != "blocks.0.norm1"}
    with pytest.raises(InputError, match=r"^blocks\.0\.mlp\.act: .*table_scale"):
        lower(replace(model, activations=activations), CHIPS["multiplier"])
