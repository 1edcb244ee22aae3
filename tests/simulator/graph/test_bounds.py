# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import INT32, S4, S8, S16, S32, SATURATE, U8, WRAP, Draft, accumulator

from simulator.graph.bounds import bounds
from simulator.graph.ops import Add, MatMul, Mean, Rescale, op_name
from simulator.graph.ranges import code_range, signed_bits
from simulator.numerics.accumulator import Event, accumulate
from simulator.numerics.integer_type import IntType

U4 = IntType(bits=4, signed=False)
S2, U2 = IntType(bits=2), IntType(bits=2, signed=False)


def last_bounds(d):
    graph = d.graph()
    return bounds(graph, graph.ops[-1])


def linear(weights, bias=None, kind=U4, levels=INT32, **arguments):
    """Return the bounds of codes of ``kind`` times weights [K, N]."""
    d = Draft()
    d.input("a", (1, len(weights)), kind)
    d.constant("w", weights, S8)
    if bias is not None:
        arguments["bias"] = d.constant("bias", bias, S32)
    d.op(MatMul, "y", "a", "w", accumulator=levels, **arguments)
    return last_bounds(d)


def every_row(kind, length):
    return product(range(kind.low, kind.high + 1), repeat=length)


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [
        (0, 0, 1),
        (-1, 0, 1),
        (0, 1, 2),
        (-2, 1, 2),
        (-3, 0, 3),
        (-128, 127, 8),
        (-129, 0, 9),
        (0, 128, 9),
        (0, 255, 9),
        (-1, -1, 1),
        (5, 7, 4),
        (-(1 << 63), (1 << 63) - 1, 64),
        (0, 1 << 63, 65),
        (-(1 << 63) - 1, 0, 65),
    ],
)
def test_signed_bits(low, high, bits):
    assert signed_bits(low, high) == bits


def test_codes_of_constants_are_known_and_those_of_activations_are_not():
    d = Draft()
    d.input("a", (2, 3), U8, 100)
    d.constant("c", [3, -5, 2], S8)
    graph = d.graph("a")
    assert code_range(graph, "a") == (0, 255)
    assert code_range(graph, "c") == (-5, 3)


# --- sums -----------------------------------------------------------------------------------------


def test_bounds_of_a_product_computed_by_hand():
    # Codes 0..15. First column: 0..60, from -10 on. Second: -30..60, to 65 with the bias.
    known = linear([[3, -2], [1, 4]], [-10, 5])
    assert known.accumulator == (-30, 65)
    assert known.proven_free
    # Times 1, plus 2^6 for the rounding: -94..129.
    assert known.widest_bits == 9


def test_bounds_of_a_product_of_activations():
    d = Draft()
    d.input("a", (2, 7), U8)
    d.operand("b", (4, 7), S8)
    d.op(MatMul, "y", "a", "b", transpose_b=True)
    assert last_bounds(d).accumulator == (-7 * 255 * 128, 7 * 255 * 127)
    d = Draft()
    d.input("a", (2, 3), S8)
    d.operand("b", (3, 4), S8)
    d.op(MatMul, "y", "a", "b")
    assert last_bounds(d).accumulator == (-3 * 128 * 127, 3 * 128 * 128)


def test_bounds_of_a_mean():
    d = Draft()
    d.input("a", (5, 3), S8, 100)
    d.op(Mean, "y", "a")
    assert last_bounds(d).accumulator == (-5 * 228, 5 * 27)


@given(
    st.sampled_from([S2, U2]),
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=3),
    st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
)
def test_bounds_of_a_product_are_reached_and_never_passed(kind, weights, bias):
    # A partial sum, in whatever order and grouping, is a sum of some of the terms.
    partial = set()
    for column in range(2):
        for codes in every_row(kind, len(weights)):
            terms = [code * row[column] for code, row in zip(codes, weights, strict=True)]
            for chosen in product((0, 1), repeat=len(terms) + 1):
                addends = zip(chosen, [*terms, bias[column]], strict=True)
                partial.add(sum(take * term for take, term in addends))
    known = linear(weights, bias, kind)
    assert known.accumulator == (min(partial), max(partial))


@st.composite
def narrow_levels(draw):
    overflow = st.sampled_from([SATURATE, WRAP])
    inner = [(draw(st.integers(1, 2)), draw(st.integers(8, 10)), draw(overflow))]
    outer = (0, draw(st.integers(8, 10)), draw(overflow))
    return accumulator(*draw(st.sampled_from([[], inner])), outer, bias_last=draw(st.booleans()))


@given(
    narrow_levels(),
    st.lists(st.integers(-20, 20), min_size=1, max_size=3),
    st.integers(-150, 150),
)
def test_what_is_proven_free_never_overflows(levels, weights, bias):
    known = linear([[weight] for weight in weights], [bias], S4, levels)
    smallest, largest = known.accumulator
    overflowed = False
    for codes in product((S4.low, -1, 0, S4.high), repeat=len(weights)):
        products = [code * weight for code, weight in zip(codes, weights, strict=True)]
        total, event = accumulate(products, bias, levels)
        overflowed |= event != Event.NONE
        assert event != Event.NONE or smallest <= total <= largest
    assert not (known.proven_free and overflowed)


@pytest.mark.parametrize(
    ("levels", "weights", "bias", "free"),
    [
        ([(0, 8, WRAP)], [8, 0], 7, True),  # 15 * 8 + 7 = 127
        ([(0, 8, WRAP)], [8, 0], 8, False),
        ([(0, 8, SATURATE)], [-8, 0], -8, True),  # -128
        ([(0, 8, SATURATE)], [-8, 0], -9, False),
        ([(0, 8, SATURATE)], [8, -8], 0, True),
        ([(0, 8, SATURATE)], [9, -9], 0, False),  # their sum fits, the first alone does not
        ([(0, 9, SATURATE)], [9, 8], 0, True),  # 255
        ([(0, 9, SATURATE)], [9, 9], 0, False),
        ([(1, 8, WRAP), (0, 9, WRAP)], [8, 8], 0, True),
        ([(1, 8, WRAP), (0, 9, WRAP)], [9, 8], 0, False),
        ([(2, 8, WRAP), (0, 9, WRAP)], [8, 8], 0, False),
        ([(1, 8, WRAP), (2, 9, WRAP), (0, 20, WRAP)], [8, 8, 8, 8], 0, True),
        ([(1, 8, WRAP), (4, 9, WRAP), (0, 20, WRAP)], [8, 8, 8, 8], 0, False),
        ([(1, 8, WRAP), (2, 8, WRAP), (0, 20, WRAP)], [0, 0, 8, 8], 0, False),
        # The bias enters the outermost register only.
        ([(1, 8, WRAP), (0, 12, WRAP)], [8, 8], 1000, True),
        ([(1, 8, WRAP), (0, 11, WRAP)], [8, 8], 1000, False),
    ],
)
def test_free_of_overflow_is_proven_up_to_the_last_code(levels, weights, bias, free):
    known = linear([[weight] for weight in weights], [bias], U4, accumulator(*levels))
    assert known.proven_free == free


def test_one_channel_that_may_overflow_is_enough():
    levels = accumulator((0, 8, WRAP))
    assert linear([[8, 1, 8]], [7, 0, 7], U4, levels).proven_free
    assert not linear([[8, 1, 8]], [7, 0, 8], U4, levels).proven_free


def test_a_mean_in_a_narrow_register_is_not_proven():
    for bits, free in ((9, True), (8, False)):
        d = Draft()
        d.input("a", (2, 3), S8)
        d.op(Mean, "y", "a", accumulator=accumulator((0, bits, SATURATE)))
        assert last_bounds(d).proven_free == free


# --- bits -----------------------------------------------------------------------------------------


def test_what_leaves_a_register_bounds_the_requantization():
    # 15 * 100 needs 12 bits; times 2^10, plus 2^6. A register of 8 bits lets 128 through.
    weights = [[100]]
    assert linear(weights, multiplier=(1 << 10,)).widest_bits == signed_bits(0, 1500 * 1024 + 64)
    narrow = accumulator((0, 8, SATURATE))
    assert linear(weights, levels=narrow, multiplier=(1 << 10,)).widest_bits == signed_bits(
        -128 * 1024 - 64, 0
    )


def test_the_largest_multiplier_and_shift_count():
    weights = [[1, 1]]
    wide = linear(weights, multiplier=(3, 1000), shift=(2, 20))
    assert wide.widest_bits == signed_bits(0, 15 * 1000 + (1 << 20))


def test_bits_of_a_rescale_and_an_add():
    d = Draft()
    d.input("a", (1, 2), S16, 1000)
    d.op(Rescale, "y", "a", multiplier=(70000,), shift=(20,), zero_point=-100)
    assert last_bounds(d).widest_bits == signed_bits(-33768 * 70000 - (1 << 20) - 100, 0)
    d = Draft()
    d.input("a", (1, 2), S16)
    d.operand("b", (1, 2), U8, 200)
    d.op(Add, "y", "a", "b", multiplier_a=(3, 5), multiplier_b=(7,), shift=4, zero_point=9)
    smallest, largest = -32768 * 5 - 200 * 7, 32767 * 5 + 55 * 7
    assert last_bounds(d).widest_bits == signed_bits(smallest - 25, largest + 25)


def test_layout_ops_and_tables_have_no_bounds(block):
    for op in block.ops:
        known = bounds(block, op)
        assert known.proven_free or known.accumulator is not None
        if op_name(op) in {"concat", "slice", "reshape", "transpose", "lookup"}:
            assert (known.accumulator, known.widest_bits) == (None, 0)
        else:
            assert 8 < known.widest_bits <= 64


def test_bounds_are_plain_integers(block):
    for op in block.ops:
        known = bounds(block, op)
        numbers = [known.widest_bits, *(known.accumulator or ())]
        assert all(type(number) is int for number in numbers)
