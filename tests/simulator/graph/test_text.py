# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace

import pytest
from small_graphs import S4, S8, S16, S32, SATURATE, U8, WRAP, Draft, accumulator, with_tensor

from simulator.graph import IntGraph, sha256, text
from simulator.graph.macs import total_macs
from simulator.graph.ops import (
    Add,
    AddShifted,
    Concat,
    GeluPolynomial,
    InterpolatedLookup,
    LayerNorm,
    LayerNormBisection,
    Lookup,
    MatMul,
    Mean,
    Mul,
    Rescale,
    ShiftGelu,
    Softmax,
    SquaredDifference,
)
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding


def small_graph() -> IntGraph:
    """Every form of line once."""
    d = Draft(Rounding.HALF_EVEN, Overflow.SATURATE_SYMMETRIC)
    d.input("image", (4, 6), U8, 128)
    d.constant("weight", [[3, -2, 1, 0]] * 6, S4)
    d.constant("bias", [5, 6, -7, 8], S32)
    levels = accumulator((2, 12, SATURATE), (0, 16, WRAP))
    d.op(
        MatMul,
        "linear",
        "image",
        "weight",
        bias="bias",
        accumulator=levels,
        multiplier=(7, 8, 9, 10),
        shift=(3, 4, 5, 5),
        zero_point=-3,
    )
    d.op(Rescale, "rescale", "linear", multiplier=(12345,), shift=(14,), type=S16)
    d.op(Add, "add", "rescale", "linear", multiplier_b=(1, 2, 3, 4))
    d.op(LayerNorm, "norm", "add", gamma=[1, 2, 3, 4], beta=[0] * 4)
    d.op(Softmax, "softmax", "norm", table=[9] + [1] * 255)
    d.op(Lookup, "lookup", "norm", table=range(-128, 128))
    d.op(
        MatMul,
        "scores",
        "norm",
        "lookup",
        transpose_b=True,
        accumulator=accumulator((0, 14, SATURATE)),
    )
    d.op(Concat, "concat", "norm", "lookup")
    d.slice("slice", "concat", 1, 5)
    d.reshape("reshape", "slice", 2, 8)
    d.transpose("transpose", "reshape", 1, 0)
    d.op(Mean, "mean", "transpose", multiplier=(3,), shift=(9,))
    graph = d.graph("softmax", "scores", "mean")
    return with_tensor(graph, "image", scale=(0.0078431,))


SNAPSHOT = """\
graph small   profile by_hand   sha256 {digest}…   12 ops   0 float   0.00 MMAC
      image      u8[4,6]   s=0.007843   z=128   input
   0  linear     s8[4,4]                z=-3    matmul image × s4[6,4] + s32 bias   acc 2:12 \
saturate, all:16 wrap, proven 14 bits   → ×m[4] >> 3..5 half_even saturate_symmetric
   1  rescale    s16[4,4]               z=0     rescale linear → ×12345 >> 14 half_even \
saturate_symmetric
   2  add        s8[4,4]                z=0     add rescale × 3 + linear × m[4] >> 3 half_even \
saturate_symmetric
   3  norm       s8[4,4]                z=0     layernorm add   isqrt exact, 2^-4; normalized \
2^-10 × γ + β >> 14 half_even saturate_symmetric
   4  softmax    u8[4,4]                z=0     softmax norm   exp_table[256] u16, reciprocal \
2^24 >> 16 half_even saturate_symmetric
   5  lookup     s8[4,4]                z=0     lookup norm in table[256]
   6  scores     s8[4,4]                z=0     matmul norm × lookupᵀ   acc all:14 saturate, \
may need 18 bits   → ×1 >> 6 half_even saturate_symmetric
   7  concat     s8[8,4]                z=0     concat norm ⧺ lookup along 0
   8  slice      s8[4,4]                z=0     slice concat 1:5 of 0
   9  reshape    s8[2,8]                z=0     reshape slice
  10  transpose  s8[8,2]                z=0     transpose reshape (1, 0)
  11  mean       s8[2]                  z=0     mean transpose over 0   acc all:32 wrap, proven \
11 bits   → ×3 >> 9 half_even saturate_symmetric
"""


def test_every_kind_of_line():
    graph = small_graph()
    assert text(graph) == SNAPSHOT.format(digest=sha256(graph)[:16])


def test_the_header_counts(block):
    header = text(block).splitlines()[0]
    # embed, qkv, scores, mix, project, fc1, fc2, head
    assert total_macs(block) == 96 + 540 + 150 + 150 + 180 + 240 + 240 + 24
    assert f"{len(block.ops)} ops   0 float" in header


@pytest.mark.parametrize("scale", [(), (0.5, 0.25, 1.0, 2.0)])
def test_only_a_single_scale_is_shown(scale):
    graph = with_tensor(small_graph(), "linear", scale=scale)
    line = text(graph).splitlines()[2]
    assert "s=" not in line
    assert line.split()[1] == "linear"


def test_the_name_of_a_model_and_a_profile_are_shown():
    graph = replace(small_graph(), name="vit", profile="chip")
    assert text(graph).startswith(f"graph vit   profile chip   sha256 {sha256(graph)[:16]}…")


def test_channel_factors_of_layer_norm_are_shown():
    d = Draft()
    d.input("a", (2, 3), S8)
    affine = {"gamma": [1, 2, 3], "beta": [0] * 3}
    d.op(LayerNorm, "plain", "a", **affine)
    d.op(LayerNorm, "times", "a", **affine, channel_multiplier=[3, 255, 7])
    d.op(LayerNorm, "both", "a", **affine, channel_multiplier=[1, 2, 3], channel_shift=[2, 0, 1])
    lines = text(d.graph()).splitlines()
    assert [line.split("layernorm ")[1].split("   ")[0] for line in lines[2:]] == [
        "a",
        "a × 3..255",
        "a × 1..3 << 0..2",
    ]


def test_element_wise_ops_are_shown():
    d = Draft(Rounding.HALF_UP)
    d.input("a", (2, 4), S8)
    twice = {"double_rounding": DoubleRounding.SYMMETRIC}
    d.op(AddShifted, "sum", "a", "a", **twice)
    d.op(AddShifted, "difference", "a", "a", subtract=True)
    d.op(SquaredDifference, "square", "a", "a")
    d.op(Mul, "product", "a", "sum")
    d.op(InterpolatedLookup, "between", "a", table=[1, 2, 3])
    d.op(GeluPolynomial, "gelu", "a")
    d.op(GeluPolynomial, "negated", "a", negated=True, clip_low=-127, erf_shift=14, sum_shift=1)
    d.op(ShiftGelu, "shifts", "a")
    d.op(LayerNormBisection, "bisection", "a", weight=[1] * 4, bias=[2] * 4)
    affine = {"gamma": [1] * 4, "beta": [0] * 4}
    d.op(LayerNorm, "newton", "a", **affine, root_steps=10)
    d.op(LayerNorm, "from", "a", **affine, root_steps=10, root_start_bits=16)
    d.op(Mean, "mean", "a", axis=1, keep_dimension=True)
    shown = [line.split("z=0     ")[1] for line in text(d.graph()).splitlines()[2:]]
    normalized = "2^-4; normalized 2^-10 × γ + β >> 14 half_up saturate"
    assert shown == [
        "add_shifted (a << 3 × 3 >> 5) + (a << 3 × 5 >> 6)   → ×7 >> 4 half_up twice symmetric "
        "saturate",
        "sub_shifted (a << 3 × 3 >> 5) - (a << 3 × 5 >> 6)   → ×7 >> 4 half_up saturate",
        "squared_difference (a << 3 × 3 >> 5) - (a << 3 × 5 >> 6)   → ×7 >> 4 half_up saturate",
        "mul a × sum   → ×3 >> 8 half_up saturate",
        "interpolated_lookup a in table[3], 7 bits between >> 7 half_up saturate",
        "gelu_polynomial a   clip 50; -2500 + d² >> 0, + -2500 >> 0 in s26   → ×7 >> 15 half_up "
        "saturate",
        "gelu_polynomial a   clip 50, codes from -127; -2500 - d² >> 14, + -2500 >> 1 in s26   → "
        "×7 >> 15 half_up saturate",
        "shift_gelu a   octave 12, 2^-23, σ 8 bits   → ×3 >> 8 half_up saturate",
        "layernorm_bisection a   whole mean and root × weight + bias >> 8 half_up saturate",
        f"layernorm a   isqrt 10 Newton steps, {normalized}",
        f"layernorm a   isqrt 10 Newton steps from 2^16, {normalized}",
        "mean a over 1, kept   acc all:32 wrap, proven 10 bits   → ×1 >> 2 half_up saturate",
    ]


def test_the_header_says_what_the_network_is_built_with():
    """Of a graph without ``meta`` there is nothing to say, as the snapshot shows."""
    graph = small_graph()
    preprocessing = {
        "input_size": [3, 8, 8],
        "interpolation": "bicubic",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    meta = {
        "classes": "8",
        "preprocessing": json.dumps(preprocessing),
        "model_arguments": json.dumps({"img_size": 8, "act_layer": "\x1b[2J"}),
    }
    header = text(replace(graph, meta=meta)).splitlines()[0]
    assert header.endswith(" MMAC   8 classes   built with img_size=8 act_layer=\\x1b[2J")
