# SPDX-License-Identifier: Apache-2.0
"""Products of levels on an array of narrow multipliers, and work that no rate is in."""

from __future__ import annotations

import pytest
from cost_graphs import profile_with
from small_graphs import S4, U8, Draft

from simulator.cost import estimate
from simulator.cost.engine import gemm_extents, multiplied_bits
from simulator.cost.work import Work, work_of
from simulator.graph import verify
from simulator.graph.ops import DeferredSoftmax, Hadamard, MatMul, NormalizedMatMul, Rescale
from simulator.numerics.softmax_constants import levels_of_octaves

NARROW = {
    "kind": "dot", "m": 1, "n": 1, "k": 1, "cycles_per_step": 1, "pipeline_depth": 0,
    "widths": [
        {"a_bits": 4, "b_bits": 4, "speed": 1.0},
        {"a_bits": 8, "b_bits": 4, "speed": 0.5},
        {"a_bits": 8, "b_bits": 8, "speed": 0.25},
    ],
}  # fmt: skip
ENERGY = {
    "node_nm": 7,
    "float16_mac": 5,
    "mac": [{"a_bits": 4, "b_bits": 4, "pj": 1}, {"a_bits": 8, "b_bits": 8, "pj": 4}],
    "vector_element": 100,
    "sram_byte": 0,
    "dram_byte": 0,
}


RATES = {
    "softmax": 3, "layernorm": 1, "lookup": 1, "add": 1, "rescale": 2, "mean": 1, "layout": 1,
    "float": 1,
}  # fmt: skip
MACS = 6 * 5 * 3


def attention(per_octave):
    """Codes of 4 bits [6, 5] for levels, times values [5, 3] of 4 bits."""
    d = Draft()
    d.input("scores", (6, 5))
    d.op(DeferredSoftmax, "codes", "scores")
    values = d.operand("values", (5, 3), S4)
    levels = d.constant("levels", levels_of_octaves(4, per_octave), U8)
    d.op(NormalizedMatMul, "y", "codes", values, levels=levels)
    return d.graph()


def last_of(graph):
    """Return the op, and what it costs on an array of one narrow multiplier."""
    assert verify(graph) == []
    profile = profile_with(
        compute__engine=NARROW,
        energy=ENERGY,
        compute__vector={"lanes": 1, "cycles_per_element": RATES},
        memory__dram_bytes_per_cycle=1e6,
    )
    (cost,) = (found for found in estimate(graph, profile).ops if found.name == "y")
    return graph.ops[-1], cost


@pytest.mark.parametrize(("per_octave", "passes"), [(1, 1), (2, 2)])
def test_levels_that_are_no_powers_of_two_are_multiplied_at_their_own_width(per_octave, passes):
    """91 takes the multipliers two passes, 64 moves the value to another place."""
    graph = attention(per_octave)
    op, cost = last_of(graph)
    assert multiplied_bits(graph, op) == (4 * passes, 4)
    extents = gemm_extents(graph, op)
    assert (extents.a_bits, extents.b_bits) == (4, 4)  # what is stored and moved
    assert cost.compute == MACS * passes
    assert cost.vector == 6 * RATES["softmax"] + 6 * 3 * RATES["rescale"]
    assert work_of(graph, set()).narrow_macs == MACS * passes
    picojoules = {1: 1, 2: 4}[passes]  # the narrowest entry that holds 8 x 4 bits
    found = estimate(graph, profile_with(energy=ENERGY)).energy
    assert round(found.parts["mac"] * 1e9) == MACS * picojoules


def test_work_is_products_additions_and_elements():
    d = Draft()
    d.input("a", (2, 24))
    d.op(Hadamard, "turned", "a", order=12)
    d.op(MatMul, "y", "turned", d.constant("w", [[1] * 4] * 24, S4))
    d.op(Rescale, "z", "y")
    graph = d.graph()
    wanted = Work(macs=192, narrow_macs=2 * 192, rotation_additions=4 * 54, vector_elements=8)
    assert work_of(graph, {"turned", "y", "z"}) == wanted
    assert work_of(graph, {"turned"}).vector_elements == 0
