# SPDX-License-Identifier: Apache-2.0
"""The softmax kernels at the widest intermediates that ``verify`` allows.

As in ``test_widest_graphs.py``.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import S8, S16, U4, U8, U16, Draft
from test_widest_graphs import check, overflows, roundings

from simulator.graph.ops import (
    Shiftmax,
    Softmax,
    SoftmaxGemmlowp,
    SoftmaxIBert,
    SoftmaxIta,
    SoftmaxLog2,
    SoftmaxLut513,
)
from simulator.numerics.softmax_normalisation import Normalisation

columns = st.integers(1, 5) | st.just(40)
few = settings(max_examples=25)
scores = st.sampled_from([S8, U8, S16])


def draft_of(op_type, source, width, **fields):
    d = Draft()
    d.input("a", (3, width), source)
    d.op(op_type, "y", "a", **fields)
    return d


@few
@given(
    roundings,
    overflows,
    columns,
    st.sampled_from([[1], [1000], [65535], [1, 65535], [65535, 1], [3, 0, 65535, 0]]),
    st.integers(0, 62),
)
def test_widest_division(rounding, overflow, width, table, fraction_bits):
    def build(bits):
        d = Draft(rounding, overflow)
        d.input("a", (3, width), S8)
        d.op(
            Softmax,
            "y",
            "a",
            table=np.resize(table, 256),
            reciprocal_bits=bits,
            shift=max(bits - fraction_bits, 0),
            zero_point=255,
            normalisation=Normalisation.DIVISION,
        )
        return d

    check(build, range(63))


def test_the_searches_go_far():
    division = {"normalisation": Normalisation.DIVISION, "shift": 0, "table": [65535] * 256}
    for op_type, name, fields in (
        (Softmax, "reciprocal_bits", division),
        (SoftmaxIBert, "coefficient_c", {}),
        (SoftmaxIBert, "coefficient_b", {}),
        (SoftmaxLog2, "c", {"n": 0}),
        (SoftmaxLog2, "n", {}),
        (SoftmaxLog2, "b", {"n": 3}),
    ):

        def build(bits, op_type=op_type, name=name, fields=fields):
            value = bits if name in ("reciprocal_bits", "n") else 1 << bits
            return draft_of(op_type, S8, 5, **{name: value} | fields)

        assert check(build, range(63)) >= 63


@few
@given(
    scores,
    columns,
    st.integers(0, 31),
    st.sampled_from([1, 1 << 30, (1 << 31) - 1]),
    st.integers(0, 31) | st.just(31),
)
def test_widest_fixed_point(kind, width, left_shift, multiplier, bits):
    def build(_):
        return draft_of(
            SoftmaxGemmlowp,
            kind,
            width,
            input_multiplier=multiplier,
            input_left_shift=left_shift,
            smallest_difference=-((1 << bits) >> left_shift),
        )

    assert check(build, [0]) == 63


@few
@given(
    scores,
    columns,
    st.integers(0, 1 << 40),
    st.integers(-(1 << 20), 1 << 20),
    st.integers(1, 1 << 40),
    st.integers(1, 1 << 20),
)
def test_widest_ibert(kind, width, a, b, c, log2):
    def build(bits):
        fields = {"coefficient_a": a >> 40 - bits, "coefficient_b": b >> 20 - min(bits, 20)}
        fields |= {"coefficient_c": max(c >> 40 - bits, 1), "log2": log2}
        return draft_of(SoftmaxIBert, kind, width, type=U16, zero_point=0, **fields)

    check(build, range(41))


@few
@given(scores, columns, st.integers(0, 30), st.data())
def test_widest_shiftmax(kind, width, n, data):
    largest = ((1 << 31) - 1) >> n
    x0 = -data.draw(st.integers(1, largest) | st.just(largest))

    def build(_):
        return draft_of(Shiftmax, kind, width, x0=x0, n=n)

    assert check(build, [0]) >= 33


@few
@given(
    scores,
    columns,
    st.integers(1, 1 << 40),
    st.integers(-(1 << 40), 1 << 40),
    st.integers(1, 1 << 40),
    st.integers(0, 62),
)
def test_widest_log2(kind, width, x0, b, c, n):
    def build(bits):
        fields = {"x0": -max(x0 >> 40 - bits, 1), "b": b >> 40 - bits, "c": (c >> 40 - bits) + 1}
        return draft_of(SoftmaxLog2, kind, width, type=U4, n=n, **fields)

    check(build, range(41))


@few
@given(scores, columns, st.integers(0, 16), st.integers(1, 120), st.integers(1, 65535))
def test_widest_ita(kind, width, octave_bits, group, largest):
    def build(_):
        fields = {"octave_bits": octave_bits, "group": group, "largest": largest}
        return draft_of(SoftmaxIta, kind, width, type=U16, **fields)

    assert check(build, [0]) >= 21


exp_tables = st.sampled_from([[1] * 513, [32767] * 513, [0] * 511 + [1, 2], [0, 32767] * 256 + [9]])
reciprocal_tables = st.sampled_from([[0] * 513, [32767] * 513, [0, 32767] * 256 + [0]])
multipliers = st.sampled_from([0, 1, 1 << 30, (1 << 31) - 1])


@few
@given(scores, columns, st.integers(-31, 15), multipliers, exp_tables, reciprocal_tables)
def test_widest_tables_of_513_entries(
    kind, width, left_shift, multiplier, exp_table, reciprocal_table
):
    def build(_):
        return draft_of(
            SoftmaxLut513,
            kind,
            width,
            exp_table=exp_table,
            reciprocal_table=reciprocal_table,
            input_multiplier=multiplier,
            input_left_shift=left_shift,
        )

    assert check(build, [0]) >= 33
