# SPDX-License-Identifier: Apache-2.0
"""Factors of products where scales are float32 in a file, those of scaled tensors too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from asked import for_chip
from tiny_models import images
from torch import nn

from aocq.capture import FloatGraph, FloatOp
from aocq.lowering import lower
from aocq.methods import METHODS
from aocq.methods.layernorm_parts import observe_parts
from simulator.numerics.fixed_point import q31_multiplier_and_shift
from simulator.profile import load_profile

Captured = Callable[[str], tuple[nn.Module, FloatGraph]]


@pytest.mark.parametrize(
    ("profile_name", "product_type"), [("tflm_cmsis_int8", np.float64), ("litert_ref", np.float32)]
)
def test_attention_scores_of_heads_whose_scale_factor_is_no_float32(
    nano: Captured, profile_name: str, product_type: type
) -> None:
    graph = nano("class_token")[1]
    (scaled,) = (node for node in graph.nodes if node.op is FloatOp.SCALE)
    factor = scaled.attributes["factor"]
    assert float(np.float32(factor)) != factor
    profile = load_profile(profile_name)
    calibration = images(16, graph.input.shape)
    model = METHODS["base_ptq"](graph, calibration, *for_chip(profile))
    parts = observe_parts(model, calibration, 8)
    lowered = lower(replace(model, layernorm_quantizers=parts), profile)
    name = next(node.name for node in graph.nodes if scaled.name in node.inputs)
    (op,) = (op for op in lowered.ops if op.name == name)
    step_a, step_b, step_y = (lowered.tensors[tensor].scale[0] for tensor in (*op.operands, name))
    held = product_type(np.float32(step_a * factor))
    expected = float(held * product_type(step_b)) / step_y
    (requantize,) = op.requantizations
    assert requantize.shift
    found = lowered.constants[requantize.multiplier], lowered.constants[requantize.shift]
    assert tuple(int(codes[0]) for codes in found) == q31_multiplier_and_shift(expected)
    unrounded = q31_multiplier_and_shift(step_a * factor * step_b / step_y)
    assert q31_multiplier_and_shift(expected) != unrounded
