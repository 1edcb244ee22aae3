# SPDX-License-Identifier: Apache-2.0
"""Weights whose sums fit a narrow register: on the calibration images, or on any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny_graph

from aocq.capture import FloatOp
from aocq.jobs.calibration import calibrated
from aocq.methods import QuantizedModel
from aocq.methods.aocq.narrow_sums import Register, projected, smallest_scales
from aocq.methods.quantizers import ActivationQuantizer
from aocq.recipes.aocq_options import AocqOptions, NarrowSums, Rounding
from aocq.recipes.limits import ANY_CHIP, ChipLimits, limits_of
from aocq.recipes.recipe import Recipe
from simulator.numerics.integer_type import IntType
from simulator.profile import load_profile

BITS = 14  # 8-bit weights of 8 channels reach 17
ONE_SCALE = replace(ANY_CHIP, weight_granularity="per_tensor", weight_scale="power_of_two")


def quantized(
    wanted: NarrowSums,
    bits: int | None = BITS,
    rounding: Rounding = "gptq",
    limits: ChipLimits = ANY_CHIP,
) -> QuantizedModel:
    options = AocqOptions(
        scale_passes=0,
        search_images=4,
        narrow_sums=wanted,
        rounding=rounding,
        adaround_steps=20,
        reconstruction_steps=20,
    )
    pixels = images(64, input_size(TINY))
    recipe = Recipe(aocq=options)
    return calibrated("aocq", tiny_graph(), pixels, recipe, replace(limits, sum_bits=bits))


def largest_sums(model: QuantizedModel) -> dict[str, int]:
    """Return the largest magnitude that a sum of each layer can have, by the codes alone."""
    found = {}
    for node in model.graph.nodes:
        if node.op is FloatOp.LINEAR:
            name = node.inputs[0]
            while name not in model.activations:
                (name,) = model.graph.node(name).inputs
            low, high = model.activations[name].span
            codes = model.weights[node.attributes["weight"]].codes.astype(int)
            norms = np.abs(codes).sum(1) * max(-low, high)
            found[node.name] = int((norms + np.abs(model.bias_codes(node))).max())
    return found


@pytest.mark.parametrize("rounding", ["nearest", "gptq", "adaround", "reconstruct"])
@pytest.mark.parametrize("limits", [ANY_CHIP, ONE_SCALE], ids=["by row", "one power of two"])
def test_proven_sums_fit_whatever_the_input_is(rounding: Rounding, limits: ChipLimits) -> None:
    """Also where codes, scales and biases move after the closed form."""
    high = (1 << (BITS - 1)) - 1
    sums = largest_sums(quantized("proven", BITS, rounding, limits))
    assert max(sums.values()) <= high
    assert max(largest_sums(quantized("counted", BITS, rounding, limits)).values()) > high
    assert min(sums.values()) > high // 4  # no more is given away than has to be


def test_observed_sums_have_larger_scales_only_where_images_need_them() -> None:
    counted, observed, proven = (quantized(x) for x in ("counted", "observed", "proven"))
    for name, weight in observed.weights.items():
        assert (weight.scale >= 0.99 * counted.weights[name].scale).all()
    total = [sum(largest_sums(model).values()) for model in (counted, observed, proven)]
    assert total[0] >= total[1] > total[2]


def test_wide_sums_change_nothing() -> None:
    wide, plain = quantized("proven", 32), quantized("counted", None)
    for name, weight in wide.weights.items():
        assert np.array_equal(weight.codes, plain.weights[name].codes)
        assert np.array_equal(weight.scale, plain.weights[name].scale)


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_a_register_knows_the_largest_code(zero_point: int) -> None:
    quantizer = ActivationQuantizer(type=IntType(bits=8), scale=0.5, zero_point=zero_point)
    register = Register.of(20, quantizer, 2.0)
    assert (register.high, register.scale) == (524287, 1.0)
    assert register.largest == {-128: 255, 0: 128, 127: 255}[zero_point]


def test_codes_are_projected_only_where_they_could_overflow() -> None:
    register = Register(bits=12, scale=0.1, largest=128)
    codes = torch.tensor([[3.0, -4.0, 5.0], [60.0, -80.0, 7.0], [1.0, 0.0, 0.0]]).double()
    scales, bias = torch.tensor([0.5, 0.5, 0.5]).double(), torch.tensor([0.0, 5.0, 1000.0])
    found = projected(register, codes, scales, bias)
    assert found[0].tolist() == [3, -4, 5]
    assert 0 < int(found[1].abs().sum()) * 128 + 100 <= 2047
    assert found[2].tolist() == [0, 0, 0]


def test_scales_make_room_for_what_was_seen_and_for_what_could_be() -> None:
    register = Register(bits=12, scale=0.1, largest=128)
    weight, bias = torch.tensor([[1.0, -2.0]]).double(), torch.tensor([4.0])
    reach = torch.tensor([100.0]).double()
    (counted,) = smallest_scales(register, "counted", weight, bias, reach).tolist()
    (observed,) = smallest_scales(register, "observed", weight, bias, reach).tolist()
    (proven,) = smallest_scales(register, "proven", weight, bias, reach).tolist()
    assert counted == 0
    assert 100 / (0.1 * observed) == pytest.approx(2047 / 1.25)
    assert 3 * 128 * 1.05 / proven + 4 / (0.1 * proven) == pytest.approx(2047)


def test_profiles_tell_which_sums_are_narrow() -> None:
    bits = {
        name: limits_of(load_profile(name), Recipe()).sum_bits
        for name in ("edge_npu_int8", "narrow_acc_20", "esp32_s3_20b", "ita_26b", "gemmini_20b")
    }
    assert bits == {
        "edge_npu_int8": None,
        "narrow_acc_20": 20,
        "esp32_s3_20b": 20,
        "ita_26b": None,
        "gemmini_20b": None,
    }


def test_a_proof_is_of_any_register() -> None:
    """26 bits hold the sums of images, but not whatever 4,096 products of bytes add up to."""
    asked = Recipe(aocq=AocqOptions(narrow_sums="proven"))
    bits = [limits_of(load_profile(name), asked).sum_bits for name in ("ita_26b", "edge_npu_int8")]
    assert bits == [26, 32]
