# SPDX-License-Identifier: Apache-2.0
"""The scale of scores is found again in the constants that were made of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from exported import built
from small_graphs import S8, S16

from simulator.export.score_scales import score_scale
from simulator.graph.ops import (
    MatMul,
    Shiftmax,
    Softmax,
    SoftmaxFloatTable,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics import softmax_constants

SCALES = [0.0123, 0.0625, 0.1, 0.31]
# How near the scale is where the operand's own does not help: coarse constants say little.
NEAR = {
    Softmax: 1e-6,
    SoftmaxFloatTable: 1e-6,
    SoftmaxGemmlowp: 1e-8,
    SoftmaxLut513: 1e-6,
    SoftmaxIBert: 0.06,
    Shiftmax: 0.3,
    SoftmaxLog2: 0.05,
}


def constants(kind, scale):
    """Fields of a softmax of scores at a scale."""
    if kind is Softmax:
        codes = np.floor(np.exp(-scale * np.arange(256)) * (2**30 - 1) + 0.5)
        return {"table": codes.astype(np.int64)}
    if kind is SoftmaxFloatTable:
        return {"table": softmax_constants.float_table(scale)}
    if kind is SoftmaxGemmlowp:
        return softmax_constants.gemmlowp_constants(scale)._asdict()
    if kind is SoftmaxLut513:
        multiplier, shift = softmax_constants.lut513_multiplier(scale)
        tables = softmax_constants.lut513_tables()._asdict()
        return {"input_multiplier": multiplier, "input_left_shift": shift, **tables}
    if kind is SoftmaxIBert:
        return softmax_constants.ibert_constants(scale)._asdict()
    if kind is Shiftmax:
        return {"x0": softmax_constants.shiftmax_constants(scale), "n": 10}
    return softmax_constants.log2_constants(scale)._asdict()


def graph_of(kind, scale, own):
    def build(draft):
        draft.input("a", (3, 40), S16 if kind is SoftmaxLut513 else S8)
        draft.op(kind, "y", "a", **constants(kind, scale))

    return built(build, own)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", NEAR)
def test_the_operand_s_own_scale_is_taken_where_the_constants_allow_it(kind, scale):
    graph = graph_of(kind, scale, own=scale)
    assert score_scale(graph, graph.ops[0]) == scale


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", NEAR)
def test_constants_alone_say_it_as_exactly_as_they_can(kind, scale):
    graph = graph_of(kind, scale, own=777.0)
    assert math.isclose(score_scale(graph, graph.ops[0]), scale, rel_tol=NEAR[kind])


@pytest.mark.parametrize("kind", NEAR)
def test_the_factor_of_attention_is_one_over_the_root_of_the_products_length(kind):
    own, length = 0.4, 16
    scale = own * length**-0.5

    def build(draft):
        wide = S16 if kind is SoftmaxLut513 else S8
        draft.input("q", (3, length), wide)
        key = draft.operand("k", (3, length), wide)
        draft.op(MatMul, "a", "q", key, transpose_b=True, type=wide)
        draft.op(kind, "y", "a", **constants(kind, scale))

    graph = built(build, own)
    assert score_scale(graph, graph.ops[-1]) == scale


def test_a_rom_that_no_scale_explains_is_read_at_its_operand_s():
    graph = graph_of(Softmax, 0.1, own=0.05)
    (op,) = graph.ops
    table = graph.constants[op.table].copy()
    table[1:] = table[1]
    rom = replace(graph, constants={**graph.constants, op.table: table})
    assert score_scale(rom, op) == 0.05


def test_octaves_say_it_exactly():
    def build(draft):
        draft.input("a", (3, 40), S8)
        draft.op(SoftmaxIta, "y", "a", octave_bits=5)

    graph = built(build, 1.0)
    assert math.isclose(score_scale(graph, graph.ops[0]), math.log(2) / 32, rel_tol=1e-9)
