# SPDX-License-Identifier: Apache-2.0
"""Softmax whose division comes after the product: quantizer, lowering, agreement, refusals."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import for_chip
from tiny_models import images, input_size, with_random_parameters
from tiny_quantized import TINY, tiny, tiny_graph

from aocq.capture import FloatOp, capture, run
from aocq.capture.interpreter import apply
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.lowering.operators import operators_of
from aocq.methods.fake_quantization import FakeQuantization
from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantized_model import QuantizedModel
from aocq.methods.storage import load, quantizer_from_plain, quantizer_to_plain, save
from aocq.methods.verify_quantized import verify
from aocq.zoo.models import timm
from simulator.boundary import dequantize, quantize
from simulator.cost import estimate
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.graph.ops import DeferredSoftmax, NormalizedMatMul
from simulator.ops.deferred_softmax import logarithm
from simulator.profile import NpuProfile, load_profile, profile_paths

CHIP = "edge_npu_w4a4"
HALVES = LogarithmicQuantizer.of(4, 2)


def chip(**tables: Any) -> NpuProfile:
    """The chip with other tables."""
    plain = tomllib.loads(profile_paths()[CHIP].read_text(encoding="utf-8"))
    return NpuProfile.model_validate({**plain, **tables})


# --- the quantizer --------------------------------------------------------------------------------


def test_levels_are_powers_of_the_root_of_two_and_the_last_is_none() -> None:
    assert HALVES.levels == (128, 91, 64, 45, 32, 23, 16, 11, 8, 6, 4, 3, 2, 1, 1, 0)
    assert LogarithmicQuantizer.of(3, 1).levels == (128, 64, 32, 16, 8, 4, 2, 0)
    assert (HALVES.bits, str(HALVES.type), HALVES.zero_point, HALVES.scale) == (4, "u4", 0, 1.0)


def test_rows_sum_up_to_one_and_codes_are_distances_from_the_largest() -> None:
    rows = torch.tensor([[0.5, 0.25, 0.25], [0.98, 0.02, 0.0], [0.4, 0.4, 0.2]]).double()
    assert HALVES.codes(rows).tolist() == [[0, 2, 2], [0, 11, 15], [0, 0, 2]]
    assert HALVES(rows)[0].tolist() == [0.5, 0.25, 0.25]
    assert torch.allclose(HALVES(rows).sum(-1), torch.ones(3).double(), atol=1e-15)
    assert np.array_equal(HALVES.integer_codes(rows.numpy()), HALVES.codes(rows).numpy())


@pytest.mark.parametrize("per_octave", [1, 2])
@pytest.mark.parametrize("scale", [0.01, 0.0625, 0.11, 0.7])
def test_the_chips_codes_are_the_quantizers_for_every_distance(
    scale: float, per_octave: Any
) -> None:
    """Of 8-bit scores: 256 distances from the largest, in rows of two and in one long row."""
    quantizer = LogarithmicQuantizer.of(5, per_octave)
    scores = -torch.arange(256, dtype=torch.float64) * scale
    factor = scale * per_octave / np.log(2)
    shift = 31 - int(np.ceil(np.log2(factor)))
    op = DeferredSoftmax(name="y", a="a", multiplier=round(factor * 2**shift), shift=shift)
    wanted = [logarithm(op, distance, quantizer.type.high) for distance in range(256)]
    assert quantizer.codes(scores.softmax(-1)).tolist() == wanted
    pairs = torch.stack([torch.zeros(256).double(), scores], -1)
    assert quantizer.codes(pairs.softmax(-1))[:, 1].tolist() == wanted


def test_files_hold_the_levels() -> None:
    plain = quantizer_to_plain(HALVES)
    assert plain == {"levels": list(HALVES.levels), "levels_per_octave": 2}
    assert quantizer_from_plain(plain) == HALVES
    for changes in (
        {"levels": [128] * 9},
        {"levels": [0] * 8},
        {"levels": [256, *[1] * 7]},
        {"levels": [*range(8)]},
        {"levels_per_octave": 3},
        {"scale": 1.0},
    ):
        with pytest.raises(ValueError, match="logarithms"):
            quantizer_from_plain({**plain, **changes})


# --- a network ------------------------------------------------------------------------------------


def lowered(method: str) -> tuple[QuantizedModel, IntGraph]:
    model = tiny(method, CHIP)
    return model, lower(model, load_profile(CHIP))


@pytest.mark.parametrize("method", ["base_ptq", "aocq"])
def test_every_product_of_probabilities_is_that_of_fake_quantization(method: str) -> None:
    """All codes of the chip's own inputs, image by image."""
    model, graph = lowered(method)
    softmaxes = [op for op in graph.ops if isinstance(op, DeferredSoftmax)]
    products = {op.a: op for op in graph.ops if isinstance(op, NormalizedMatMul)}
    assert len(softmaxes) == len(products) == 1
    (softmax,), (product,) = softmaxes, products.values()
    pixels = images(24, input_size(TINY), seed=3)
    codes = quantize(pixels.numpy(), graph.tensors[graph.inputs[0]])
    names = [softmax.a, softmax.name, product.b, product.name]
    executor = Executor(graph, gemm="numba", threads=1)
    assert executor.choices[product.name].backend == "numba"
    taps = executor.run(codes, taps=names).taps
    scores, values = (
        torch.from_numpy(dequantize(taps[name], graph.tensors[name]))
        for name in (softmax.a, product.b)
    )
    quantizer = model.activations[softmax.name]
    assert isinstance(quantizer, LogarithmicQuantizer)
    assert graph.constants[product.levels].tolist() == list(quantizer.levels)
    factor = model.scales(softmax.a).reshape(()) / graph.tensors[softmax.a].scale[0]
    scores = scores * factor
    logarithms = quantizer.codes(scores.softmax(-1))
    assert np.array_equal(logarithms.numpy(), taps[softmax.name])
    values = values.transpose(-1, -2) if product.transpose_b else values
    context = model.activations[product.name].codes(quantizer.real(logarithms) @ values)
    assert np.array_equal(context.numpy(), taps[product.name])


def test_fake_quantization_divides_as_the_chip_does() -> None:
    """By a reciprocal of few bits, which an exact division differs from."""
    softmax = load_profile(CHIP).softmax.model_dump() | {"reciprocal_bits": 16}
    model, coarse = tiny("base_ptq", CHIP), chip(softmax=softmax)
    graph = lower(model, coarse)
    (product,) = (op for op in graph.ops if isinstance(op, NormalizedMatMul))
    pixels = images(24, input_size(TINY), seed=3)
    codes = quantize(pixels.numpy(), graph.tensors[graph.inputs[0]])
    taps = Executor(graph, threads=1).run(codes, taps=[product.a, product.b, product.name]).taps
    node = model.graph.node(product.name)
    values = torch.from_numpy(dequantize(taps[product.b], graph.tensors[product.b]))
    rows = HALVES.real(torch.from_numpy(taps[product.a]).double())
    operator = operators_of(coarse, model.recipe, parts=True)(model.graph, node, model.activations)
    assert operator is not None
    found, exact = operator([rows, values]), apply(node, [rows, values], {}, len(rows))
    quantizer = model.activations[node.name]
    assert np.array_equal(quantizer.codes(found).numpy(), taps[product.name])
    assert not np.array_equal(quantizer.codes(exact).numpy(), taps[product.name])
    scores = next(n for n in model.graph.nodes if n.op is FloatOp.MATMUL and n is not node)
    of_scores = operators_of(coarse, model.recipe, parts=True)(
        model.graph, scores, model.activations
    )
    assert of_scores is None
    assert operators_of(coarse, model.recipe)(model.graph, node, model.activations) is None


def test_both_forms_of_fake_quantization_agree() -> None:
    model = tiny("base_ptq", CHIP)
    pixels = images(6, input_size(TINY), seed=4)
    found = FakeQuantization(model).logits(pixels)
    slow = run(
        model.graph,
        {model.graph.input.name: model.fake_quantized_image(pixels)},
        [model.graph.output.name],
        transform=model.fake_quantize,
        parameters=model.fake_quantized_parameters(),
    )[model.graph.output.name]
    assert torch.allclose(found, slow, atol=1e-9)


def test_scores_that_are_switched_off_have_the_last_code() -> None:
    """Of shifted windows of 4 x 4 tokens: on the chip, and in fake quantization."""
    options = {"patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (2,), "img_size": 16}
    built = timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=5, num_heads=(3,), **options
    )
    graph = capture(with_random_parameters(built), "swin", (3, 16, 16))
    profile = load_profile(CHIP)
    recipe = for_chip(profile, weight_bits=4, activation_bits=4)
    model = calibrated("base_ptq", graph, images(8, (3, 16, 16)), *recipe)
    lowered_graph = lower(model, profile)
    mask = next(node for node in graph.nodes if node.op is FloatOp.MASK)
    softmax = next(node for node in graph.nodes if mask.name in node.inputs)
    off = np.broadcast_to(model.parameter(mask.attributes["parameter"]) != 0, softmax.shape)
    assert off.any()
    pixels = images(8, (3, 16, 16), seed=9)
    codes = quantize(pixels.numpy(), lowered_graph.tensors["image"])
    executor = Executor(lowered_graph, gemm="numba", threads=1)
    found = executor.run(codes, taps=[softmax.name]).taps[softmax.name]
    assert (found[:, off] == 15).all()
    assert (found.min(axis=-1) == 0).all()
    real = run(graph, {"image": pixels}, [softmax.name], transform=model.fake_quantize)
    assert (real[softmax.name].numpy()[:, off] == 0).all()


def test_a_model_is_stored_and_read(tmp_path: Path) -> None:
    model = tiny("base_ptq", CHIP)
    save(model, tmp_path)
    assert load(tmp_path).activations == model.activations


def test_other_chips_refuse_the_model_and_the_chip_other_models() -> None:
    with pytest.raises(InputError, match=r"softmax\.levels_per_octave: the model's probabilities"):
        lower(tiny("base_ptq", CHIP), load_profile("edge_npu_int8"))
    octaves = chip(
        softmax={
            "algorithm": "deferred_log2",
            "output_bits": 4,
            "levels_per_octave": 1,
            "reciprocal_bits": 32,
        }
    )
    with pytest.raises(InputError, match="are logarithms with 2 levels per octave"):
        lower(tiny("base_ptq", CHIP), octaves)
    plain = {"algorithm": "exp_table", "table_bits": 30, "reciprocal_bits": 60, "output_bits": 4}
    uniform = chip(softmax=plain)
    recipe = for_chip(uniform, weight_bits=4, activation_bits=4)
    model = calibrated("base_ptq", tiny_graph(), images(4, input_size(TINY)), *recipe)
    with pytest.raises(InputError, match=r'softmax\.algorithm = "deferred_log2", and the model'):
        lower(model, chip())


@pytest.mark.parametrize("method", ["fq_vit", "ptq4vit_paper"])
def test_methods_with_levels_of_their_own_are_refused(method: str) -> None:
    with pytest.raises(InputError, match="the method has levels of its own for probabilities"):
        tiny(method, CHIP, float_ops="integer")


def test_logarithms_are_of_softmaxes_and_of_the_limits() -> None:
    model = tiny("base_ptq", CHIP)
    (name,) = [n for n, q in model.activations.items() if isinstance(q, LogarithmicQuantizer)]
    other = next(node.name for node in model.graph.nodes if node.name.endswith("attn.scores"))
    with pytest.raises(InputError, match="logarithms are codes of a softmax's rows"):
        verify(replace(model, activations={**model.activations, other: HALVES}))
    octaves = LogarithmicQuantizer.of(4, 1)
    with pytest.raises(InputError, match=r"limits\.softmax_levels_per_octave is 2"):
        verify(replace(model, activations={**model.activations, name: octaves}))


# --- cost -----------------------------------------------------------------------------------------


def test_the_array_reads_codes_and_the_vector_unit_divides() -> None:
    _, graph = lowered("base_ptq")
    profile = load_profile(CHIP)
    (op,) = [op for op in graph.ops if isinstance(op, NormalizedMatMul)]
    found = {one.name: one for one in estimate(graph, profile).ops}[op.name]
    result, rows = graph.result(op).size, graph.result(op).size // graph.result(op).shape[-1]
    lanes, rates = profile.compute.vector.lanes, profile.compute.vector.cycles_per_element
    vector = -(-rows * rates.softmax // lanes) + -(-result * rates.rescale // lanes)
    assert found.vector == vector
    assert graph.tensors[op.a].bytes == graph.tensors[op.a].size // 2


def test_probabilities_of_8_bits_take_a_4_bit_array_two_passes() -> None:
    """As half octaves do, whose levels are numbers of 8 bits; 4-bit probabilities take one."""

    def plain(bits: int) -> NpuProfile:
        return chip(
            softmax={
                "algorithm": "exp_table",
                "table_bits": 30,
                "reciprocal_bits": 60,
                "output_bits": bits,
            }
        )

    def product(profile: NpuProfile) -> tuple[list[str], int]:
        recipe = for_chip(profile, weight_bits=4, activation_bits=4)
        model = calibrated("base_ptq", tiny_graph(), images(4, input_size(TINY)), *recipe)
        graph = lower(model, profile)
        name = next(node.name for node in model.graph.nodes if node.name.endswith("probabilities"))
        (op,) = [op for op in graph.ops if name in op.operands]
        found = next(one for one in estimate(graph, profile).ops if one.name == op.name)
        return [str(graph.tensors[one].type) for one in op.operands], found.compute

    (wide, two_passes), (narrow, one_pass) = product(plain(8)), product(plain(4))
    assert (wide, narrow) == (["u8", "s4"], ["u4", "s4"])
    assert two_passes == 2 * one_pass
    assert product(chip())[1] == two_passes
