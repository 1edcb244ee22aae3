# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
from cost_graphs import S8, S32, Sketch, profile_with, transformer

from simulator.cost import estimate
from simulator.cost.float16 import float16_estimate
from simulator.graph.ops import (
    DeferredSoftmax,
    GroupMaximum,
    GroupQuantize,
    Hadamard,
    MatMul,
    NormalizedMatMul,
    ScaledMatMul,
)

PRODUCT = {"transpose_b": False, "multiplier": 1, "shift": 1}
DOT = {"kind": "dot", "m": 4, "n": 4, "k": 4, "cycles_per_step": 1, "pipeline_depth": 0}


def two_layers():
    s = Sketch()
    hidden = s.linear("first", s.input("x", 8, 16), 16)
    s.linear("second", s.rescale("scaled", s.lookup("gelu", hidden)), 4)
    return s.graph("second")


def without(*keys):
    """Return the profile without optional tables, and without their sources."""
    values = profile_with(compute__engine=DOT).model_dump(mode="json")
    for path in keys:
        *tables, key = path.split(".")
        table = values
        for name in tables:
            table = table[name]
        table[key] = None
    values["source"] = {"default": "assumed: of a test"}
    return type(profile_with()).model_validate(values)


def test_two_bytes_an_element_and_nothing_that_only_integers_need():
    found = float16_estimate(two_layers(), profile_with())
    # Weights and biases: no multipliers, no shifts, no table of the GELU
    assert found.weight_bytes == 2 * (16 * 16 + 16 + 16 * 4 + 4)
    assert found.dram_bytes == found.weight_bytes + 2 * (8 * 16 + 8 * 4)
    assert found.peak_sram_bytes == 2 * (8 * 16 + 8 * 16)


def test_no_rotation_and_no_scales_of_groups():
    s = Sketch()
    x = s.op(Hadamard, "turned", s.input("x", 8, 16), order=16, multiplier=1, shift=1)
    s.op(GroupMaximum, "maximum", x, group=16)
    fields = {"numerator": 7 << 20, "shift": 20}
    s.op(GroupQuantize, "codes", x, "maximum", group=16, **fields)
    profile = profile_with(
        compute__float16={"mac_speed": 1.0, "vector_speed": 1.0}, memory__dram_bytes_per_cycle=1e6
    )
    found = float16_estimate(s.graph("codes", "maximum"), profile)
    assert found.cycles == 1  # of a value for each row
    assert estimate(s.graph("codes", "maximum"), profile).total_cycles > 50


def test_factors_and_the_division_behind_a_product_are_gone():
    """A product costs in float16 what it does without them, and nothing finds scales for it."""
    profile = profile_with(memory__dram_bytes_per_cycle=1e6)

    def found(build):
        s = Sketch()
        build(s, s.input("x", 8, 16), s.ones("w", S8, 16, 4))
        whole = float16_estimate(s.graph("y"), profile)
        return whole.cycles, whole.peak_sram_bytes, whole.dram_bytes, whole.energy

    def scaled(s, x, w):
        s.op(GroupMaximum, "factor", x, group=16)
        given = {"block": 0, "bias": s.ones("bias", S32, 4), **PRODUCT}
        s.op(ScaledMatMul, "y", x, w, row_factor="factor", **given)

    def normalized(s, x, _):
        s.op(DeferredSoftmax, "softmax", x, multiplier=1, shift=1)
        values = s.reshape("values", x, 16, 8)
        given = {"reciprocal_bits": 20, "levels": np.ones(256), **PRODUCT}
        s.op(NormalizedMatMul, "y", "softmax", values, **given)

    def plain(s, x, _):
        softmax = s.softmax("softmax", x)
        s.op(MatMul, "y", softmax, s.reshape("values", x, 16, 8), bias=None, **PRODUCT)

    assert found(scaled) == found(lambda s, x, w: s.matmul("y", x, w, bias=s.ones("b", S32, 4)))
    assert found(normalized) == found(plain)


def test_rates_are_those_of_the_profile_and_a_rescale_is_gone():
    profile = profile_with(
        compute__engine=DOT,
        compute__float16={"mac_speed": 0.5, "vector_speed": 0.25},
        memory__dram_bytes_per_cycle=1e6,
    )
    graph = two_layers()
    found = float16_estimate(graph, profile)
    products = 2 * (2 * 4 * 4) + 2 * (2 * 1 * 4)  # steps of 4 x 4 x 4, at half the speed
    table = 8 * 16 * 4 // 16  # 16 lanes, a quarter of the speed
    assert found.cycles == products + table
    assert found.latency_ms == found.cycles / 500e3


def test_the_speed_is_relative_to_the_chips_integers_of_eight_bits():
    def products(**engine):
        profile = profile_with(
            compute__engine=DOT | engine,
            compute__float16={"mac_speed": 0.5, "vector_speed": 1000.0},
            memory__dram_bytes_per_cycle=1e6,
        )
        return float16_estimate(two_layers(), profile).cycles

    fast = {"widths": [{"a_bits": 8, "b_bits": 8, "speed": 4}]}
    assert (products(), products(**fast)) == (81, 21)  # 40 and 10 steps at half the speed, a table


def test_no_cycles_and_no_energy_where_the_profile_has_no_float16():
    found = float16_estimate(two_layers(), without("compute.float16"))
    assert (found.cycles, found.latency_ms, found.energy) == (None, None, None)
    assert found.weight_bytes == 2 * (16 * 16 + 16 + 16 * 4 + 4)


def test_no_energy_where_a_float16_product_has_none():
    found = float16_estimate(two_layers(), without("energy.float16_mac"))
    assert found.cycles is not None
    assert found.energy is None


def test_a_whole_network_is_larger_and_slower_than_its_integers():
    graph, profile = transformer(tokens=17, width=8, blocks=2), profile_with()
    integers, found = estimate(graph, profile), float16_estimate(graph, profile)
    assert found.cycles > integers.total_cycles
    assert found.peak_sram_bytes > integers.peak_sram_bytes
    assert found.energy.total_mj > integers.energy.total_mj
