# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from cost_graphs import Sketch, profile_with
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost import estimate
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.profile import CyclesPerElement, VectorSection

RATES = {
    "softmax": 3.0,
    "layernorm": 2.5,
    "lookup": 1.0,
    "add": 1.5,
    "rescale": 0.5,
    "mean": 2.0,
    "layout": 0.75,
    "float": 8.0,
}


def unit(lanes=1, **rates):
    return VectorSection(lanes=lanes, cycles_per_element=CyclesPerElement(**RATES | rates))


def last_cost(sketch, vector=None):
    stated = (vector or unit()).model_dump()
    profile = profile_with(
        compute__vector__lanes=stated["lanes"],
        compute__vector__cycles_per_element=stated["cycles_per_element"],
    )
    return estimate(sketch.graph(sketch.ops[-1].name), profile).ops[-1].vector


@pytest.mark.parametrize(
    ("build", "cycles"),
    [
        (lambda s, x: s.softmax("y", x), 24 * 3),
        (lambda s, x: s.layer_norm("y", x), 24 * 2.5),
        (lambda s, x: s.lookup("y", x), 24),
        (lambda s, x: s.add("y", x, x), 24 * 1.5),
        (lambda s, x: s.rescale("y", x), 24 * 0.5),
        (lambda s, x: s.mean("y", x), 24 * 2),  # it reads 4 x 6 codes, it writes 6
        (lambda s, x: s.concat("y", x, x), 48 * 0.75),
        (lambda s, x: s.transpose("y", x, 1, 0), 24 * 0.75),
        (lambda s, x: s.slice("y", x, 0, 2, axis=1), 8 * 0.75),
        (lambda s, x: s.slice("y", x, 1, 3), 0),
        (lambda s, x: s.slice("y", x, 0, 4, step=2), 12 * 0.75),
        (lambda s, x: s.reshape("y", x, 3, 8), 0),
    ],
)
def test_every_kind_of_op(build, cycles):
    sketch = Sketch()
    build(sketch, sketch.input("x", 4, 6))
    assert last_cost(sketch) == cycles


def rotation(order):
    sketch = Sketch()
    x = sketch.input("x", 4, 48)
    sketch.op(Hadamard, "y", x, order=order, multiplier=1, shift=1)
    return sketch


@pytest.mark.parametrize(("order", "additions"), [(1, 0), (16, 4), (12, 4.5), (48, 6.5)])
def test_a_rotation_takes_its_additions_and_one_requantization(order, additions):
    steps = 4 * 48 * (additions + 1)
    assert last_cost(rotation(order), unit(hadamard=0.25)) == steps * 0.25
    assert last_cost(rotation(order)) == steps * 1.5  # as an addition


def test_scales_of_groups_take_their_operands_and_codes_their_results():
    sketch = Sketch()
    x = sketch.input("x", 4, 48)
    sketch.op(GroupExponent, "y", x, group=16, bits=4, trim=0)
    assert last_cost(sketch, unit(group=0.75)) == 4 * 48 * 0.75
    sketch.op(GroupShift, "z", x, "y", group=16)
    assert last_cost(sketch, unit(group=0.75)) == 4 * 48 * 0.75
    assert last_cost(sketch) == 4 * 48 * 0.5  # as a Rescale


def test_codes_by_a_reciprocal_take_one_element_more_for_each_group():
    sketch = Sketch()
    x = sketch.input("x", 4, 48)
    sketch.op(GroupMaximum, "maximum", x, group=16)
    fields = {"numerator": 7 << 20, "shift": 20}
    sketch.op(GroupQuantize, "y", x, "maximum", group=16, **fields)
    assert last_cost(sketch, unit(group=0.75)) == (4 * 48 + 4 * 3) * 0.75


def test_a_slice_behind_dimensions_of_one_is_a_view():
    sketch = Sketch()
    sketch.slice("y", sketch.input("x", 1, 5, 3), 0, 1, axis=1)
    assert last_cost(sketch) == 0


def test_rates_are_the_decimals_of_the_file():
    sketch = Sketch()
    sketch.lookup("y", sketch.input("x", 160))
    assert last_cost(sketch, unit(lanes=16, lookup=0.1)) == 1
    assert last_cost(sketch, unit(lanes=15, lookup=0.1)) == 2


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 10**4))
def test_rounds_up_exactly(size, lanes, thousandths):
    sketch = Sketch()
    sketch.lookup("y", sketch.input("x", size))
    exact = Fraction(size * thousandths, lanes * 1000)
    assert last_cost(sketch, unit(lanes=lanes, lookup=thousandths / 1000)) == ceil(exact)


@given(st.integers(1, 10**5), st.integers(1, 100), st.floats(0.01, 20))
def test_more_lanes_are_never_slower(size, lanes, rate):
    sketch = Sketch()
    sketch.lookup("y", sketch.input("x", size))
    fewer, more = unit(lanes=lanes, lookup=rate), unit(lanes=lanes + 1, lookup=rate)
    assert last_cost(sketch, more) <= last_cost(sketch, fewer)


def test_reads_the_profile():
    sketch = Sketch()
    sketch.softmax("y", sketch.input("x", 10, 10))
    assert last_cost(sketch, profile_with().compute.vector) == 19  # ceil(100 / 16 * 3)
