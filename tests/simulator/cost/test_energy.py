# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from cost_graphs import S4, S8, S16, Sketch, profile_with, transformer
from test_estimate import linear_graph, scaled_graph

from simulator.cost import estimate
from simulator.cost.energy import mac_energy

TABLE = {
    "node_nm": 28,
    "float16_mac": 17,
    "mac": [{"a_bits": 8, "b_bits": 8, "pj": 3}, {"a_bits": 8, "b_bits": 4, "pj": 2}],
    "vector_element": 5,
    "sram_byte": 7,
    "dram_byte": 11,
    "leakage_per_cycle": 13,
}


def parts(graph, **changes):
    """Return picojoules by part."""
    profile = profile_with(energy=TABLE | changes)
    energy = estimate(graph, profile).energy
    return {part: round(mj * 1e9) for part, mj in energy.parts.items()}


def test_every_part_of_a_small_graph():
    graph = linear_graph()
    cost = estimate(graph, profile_with())
    # 8 x 10 x 6 with weights of 4 bits; the table's 48 codes; 80 in, 48 through, 48 out. What DRAM
    # gives is written to SRAM, and what it takes is read there.
    assert parts(graph) == {
        "mac": 480 * 2,
        "vector": 48 * 5,
        "sram": (2 * 80 + 48 + 48 + 2 * 48) * 7,
        "dram": cost.dram_bytes * 11,
        "leakage": cost.total_cycles * 13,
    }


def test_leakage_that_is_not_stated_is_absent_and_not_zero():
    table = {name: value for name, value in TABLE.items() if name != "leakage_per_cycle"}
    energy = estimate(linear_graph(), profile_with(energy=table)).energy
    assert set(energy.parts) == {"mac", "vector", "sram", "dram"}
    assert energy.total_mj == sum(energy.parts.values())


@pytest.mark.parametrize(
    ("a_bits", "b_bits", "pj"), [(8, 8, 3), (8, 4, 2), (4, 3, 2), (4, 8, 3), (16, 4, None)]
)
def test_the_least_entry_that_holds_both_operands(a_bits, b_bits, pj):
    assert mac_energy(profile_with(energy=TABLE).energy, a_bits, b_bits) == pj


def test_no_energy_where_the_table_has_no_entry_for_a_product():
    s = Sketch()
    s.matmul("y", s.input("a", 4, 4), s.ones("w", S16, 4, 4))
    graph = s.graph("y")
    assert estimate(graph, profile_with(energy=TABLE)).energy is None


def test_a_profile_without_a_table_has_none():
    values = profile_with().model_dump(mode="json", exclude={"energy"})
    values["source"].pop("energy")
    values["source"].pop("energy.float16_mac")
    profile = type(profile_with()).model_validate(values)
    assert estimate(transformer(), profile).energy is None


def test_narrower_weights_cost_less_where_the_table_says_so():
    def macs(weight_type):
        s = Sketch()
        s.linear("y", s.input("a", 8, 10), 6, weight_type)
        return parts(s.graph("y"))["mac"]

    assert (macs(S8), macs(S4)) == (480 * 3, 480 * 2)


def test_a_pass_of_the_array_that_is_no_product_counts_each_element():
    by_rows = {
        "temporaries": {"products": {"bits": 32, "per": "operand"}},
        "passes": [
            {"over": "mac", "writes": "products", "cycles_per_element": 8},
            {"unit": "mac", "over": "mac", "reads": ["products"], "cycles_per_element": 0.25},
        ],
    }
    pooled = {"passes": [{"unit": "mac", "over": "operand", "cycles_per_element": 1}]}
    s = Sketch()
    a = s.input("a", 4, 10)
    s.mean("y", s.matmul("product", a, s.transpose("b", s.slice("part", a, 0, 3), 1, 0)))
    profile = profile_with(energy=TABLE, compute__passes={"matmul": by_rows, "mean": pooled})
    energy = estimate(s.graph("y"), profile).energy
    # The vector unit multiplies 120 times, the array adds as often, then 12 results for the mean.
    assert round(energy.parts["mac"] * 1e9) == (120 + 12) * 3
    assert round(energy.parts["vector"] * 1e9) == (120 + 30) * 5


def test_factors_of_rows_count_as_elements_of_the_vector_unit():
    """48 sums times their row's factor; these are 8 elements of a Slice and of a Rescale."""
    found = parts(scaled_graph())
    assert found["vector"] == (48 + 8 + 8) * 5
    assert found["mac"] == 480 * 3
