# SPDX-License-Identifier: Apache-2.0
"""Bounds of intermediates: never passed by a trace, and reached where a formula is simple."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_op_graphs import CASES, operands_for, operands_with_images
from small_graphs import S8, U8, Draft

from simulator.graph.bounds import bounds, intermediates
from simulator.graph.ops import SPECS, L2Norm, LayerNorm, LayerNormBisection, Softmax
from simulator.graph.ranges import holds, hull, signed_bits
from simulator.graph.row_bounds import RowBounds, root_bounds
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.numerics.square_root import newton_root
from simulator.traces import trace

EVERY_CASE = [
    pytest.param(kind, name, id=f"{kind.__name__}: {name}")
    for kind, cases in CASES.items()
    for name in cases
]
ROUNDING_OPS = tuple(
    op for op in SPECS if {"overflow", "requantize"} & {field.name for field in fields(op)}
)


def extreme_codes(graph):
    """All lowest, all highest, both in turn, one against all others, codes at random."""
    rng = np.random.default_rng(0)
    operands = {}
    for name in operands_with_images(graph):
        tensor = graph.tensors[name]
        low, high = tensor.type.low, tensor.type.high
        codes = rng.integers(low, high, (16, *tensor.shape), endpoint=True).astype(
            tensor.type.dtype
        )
        codes[0], codes[1], codes[2], codes[3] = low, high, low, high
        codes[2, ..., 0], codes[3, ..., 0] = high, low
        codes[4], codes[5] = low, high
        codes[4, ..., ::2], codes[5, ..., 1::2] = high, low
        codes[6] = min(max(tensor.zero_point, low), high)
        codes[7] = np.where(codes[7] > tensor.zero_point, high, low)
        operands[name] = codes
    return operands


def traced(graph, operands):
    op = graph.ops[-1]
    given = [graph.constants[n] if graph.is_constant(n) else operands[n] for n in op.operands]
    return op, trace(op, graph, given)


def allowed(found):
    """What a register may hold: of sums that do not fit, whatever the register has."""
    registers = [level.register for level in found.levels]
    registers += [found.register] if found.register else []
    cut = [(kind.low, kind.high) for kind in registers if not holds(kind, found.interval)]
    return hull(found.interval, *cut)


def assert_within(graph, operands):
    op, values = traced(graph, operands)
    known = intermediates(graph, op)
    names = [found.name for found in known]
    assert len(set(names)) == len(names)
    assert names == [name for name in values if name != "result"]
    for found in known:
        low, high = allowed(found)
        held = values[found.name]
        assert low <= held.min(), found
        assert held.max() <= high, found
        assert hull(found.interval, found.emulated) == found.emulated


@pytest.mark.parametrize(("kind", "name"), EVERY_CASE)
def test_no_trace_passes_the_bounds(kind, name):
    modes = [(rounding, Overflow.WRAP) for rounding in Rounding] if kind in ROUNDING_OPS else [()]
    for mode in modes:
        d = Draft(*mode)
        CASES[kind][name](d)
        graph = d.graph()
        assert_within(graph, operands_for(graph))
        if not any(graph.tensors[name].is_float for name in graph.inputs):
            assert_within(graph, extreme_codes(graph))


def test_the_widest_of_them_is_what_verify_asks_for():
    for kind, cases in CASES.items():
        for build in cases.values():
            d = Draft()
            build(d)
            graph = d.graph()
            found = intermediates(graph, graph.ops[-1])
            widest = max((signed_bits(*each.emulated) for each in found), default=0)
            assert bounds(graph, graph.ops[-1]).widest_bits == widest, kind


# --- reached --------------------------------------------------------------------------------------

# Of rows of equal channels, the ends that some row reaches: of others a bound is enough.
REACHED = {
    LayerNorm: {"centred", "sum", "square_sum", "variance", "radicand", "root", "deviation"},
    L2Norm: {"centred", "square_sum", "radicand", "root", "reciprocal"},
    Softmax: {"maximum", "exponentials", "sum", "reciprocal"},
}


def layer_norm(d, channels, zero_point):
    d.input("a", (2, channels), S8, zero_point)
    d.op(
        LayerNorm,
        "y",
        "a",
        gamma=[100] * channels,
        beta=[3] * channels,
        epsilon=5,
        sqrt_fraction_bits=4,
        normalized_fraction_bits=8,
        reciprocal_bits=24,
        shift=8,
    )


@pytest.mark.parametrize("channels", [1, 2, 5, 8])
@pytest.mark.parametrize("zero_point", [0, -128, 127, 3])
def test_the_statistics_of_a_layer_norm_reach_their_ends(channels, zero_point):
    d = Draft()
    layer_norm(d, channels, zero_point)
    graph = d.graph()
    rows = extreme_codes(graph)
    half = np.full((4, 2, channels), -128, np.int8)
    half[0, ..., : channels // 2] = 127
    half[1, ..., -1], half[2], half[2, ..., -1] = 127, 127, -128
    half[3] = zero_point
    _, values = traced(graph, {"a": np.concatenate([rows["a"], half])})
    for found in intermediates(graph, graph.ops[-1]):
        held = values[found.name]
        if found.name in REACHED[LayerNorm]:
            assert (held.min(), held.max()) == found.interval, found
        if found.name == "normalized" and channels > 1:
            # One against all others is as far from the mean as any code can be.
            assert held.max() >= found.interval[1] * 0.96, found


@pytest.mark.parametrize("normalisation", Normalisation)
def test_the_sums_of_a_softmax_reach_their_ends(normalisation):
    d = Draft()
    d.input("a", (3, 7), S8)
    table = np.maximum(1000 * np.exp(-np.arange(256) / 20), 1).astype(int)
    d.op(
        Softmax,
        "y",
        "a",
        table=table,
        reciprocal_bits=20,
        shift=12,
        normalisation=normalisation,
        type=U8,
    )
    graph = d.graph()
    operands = extreme_codes(graph)
    operands["a"][0, 0] = -128
    operands["a"][0, 0, 0] = 127
    _, values = traced(graph, operands)
    for found in intermediates(graph, graph.ops[-1]):
        held = values[found.name]
        if found.name in REACHED[Softmax]:
            assert (held.min(), held.max()) == found.interval, found
        if found.name == "rounded":
            division = normalisation is Normalisation.DIVISION
            assert found.interval[1] == (256 if division else held.max())


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6), st.data())
def test_unequal_channels_have_a_variance_within_the_bound(factors, data):
    low, high = sorted((data.draw(st.integers(-300, 300)), data.draw(st.integers(-300, 300))))
    row = RowBounds.of((low, high), factors)
    count = len(factors)
    largest = 0
    for ends in range(1 << count):
        u = [(high if ends >> c & 1 else low) * factor for c, factor in enumerate(factors)]
        variance = count * sum(x * x for x in u) - sum(u) ** 2
        largest = max(largest, variance)
        assert variance <= row.largest_variance
        for x in u:
            assert row.deviation[0] <= count * x - sum(u) <= row.deviation[1]
    if len(set(factors)) == 1:
        assert row.largest_variance == largest


@given(
    st.integers(0, 1 << 40) | st.integers(0, 300),
    st.integers(0, 1 << 40) | st.integers(0, 300),
    st.integers(0, 6) | st.just(12),
    st.integers(0, 24),
    st.data(),
)
@settings(max_examples=300)
def test_newtons_roots_stay_within_their_bounds(first, second, steps, start_bits, data):
    low, high = sorted((first, second))
    bound = root_bounds((low, high), steps, start_bits)
    between = data.draw(st.integers(low, high))
    for value in (low, high, between, max(low, high - 1)):
        root = newton_root(value, steps, start_bits) if steps else int(value**0.5)
        assert not steps or bound[0] <= root <= bound[1]


def test_a_whole_mean_leaves_squares_within_the_bound():
    for channels in (1, 2, 3, 5):
        d = Draft()
        d.input("a", (1, channels), IntType(bits=3), 1)
        d.op(LayerNormBisection, "y", "a", weight=[3] * channels, bias=[1] * channels, shift=1)
        graph = d.graph()
        axes = np.meshgrid(*[np.arange(-4, 4)] * min(channels, 3))
        rows = np.stack([axis.ravel() for axis in axes], axis=-1)
        every = np.resize(rows.repeat(-(-channels // 3), axis=1), (len(rows), 1, channels))
        assert_within(graph, {"a": every.astype(np.int8)})
