# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost.exchanges import exchanges


def carried_out(array, permutation):
    """Do every exchange on the codes themselves, as pictures in row-major memory."""
    codes = array.reshape(-1)
    for exchange in exchanges(array.shape, permutation):
        picture = codes.reshape(exchange.before)
        axes = [axis for axis in range(3) if exchange.before[axis] != exchange.after[axis]]
        assert len(axes) == 2
        order = [0, 1, 2]
        order[axes[0]], order[axes[1]] = axes[1], axes[0]
        codes = picture.transpose(order).reshape(-1)
    return codes.reshape([array.shape[axis] for axis in permutation])


@st.composite
def permutations(draw):
    # Extents and their products differ, so that every exchange shows which axes it moves.
    shape = draw(st.permutations([1, 2, 3, 5, 7]))[: draw(st.integers(1, 5))]
    return shape, draw(st.permutations(range(len(shape))))


@given(permutations())
def test_the_exchanges_make_the_permutation(case):
    shape, permutation = case
    array = np.arange(math.prod(shape)).reshape(shape)
    np.testing.assert_array_equal(carried_out(array, permutation), array.transpose(permutation))


@given(permutations())
def test_every_exchange_moves_the_whole_tensor(case):
    shape, permutation = case
    for exchange in exchanges(shape, permutation):
        assert math.prod(exchange.before) == math.prod(exchange.after) == math.prod(shape)
        assert sorted(exchange.before) == sorted(exchange.after)


@pytest.mark.parametrize(
    ("shape", "permutation", "number"),
    [
        # Operations named Transpose that Vela 5.2.0 made of one TRANSPOSE.
        ((197, 3, 3, 64), (1, 2, 0, 3), 6),
        ((3, 197, 64), (1, 0, 2), 1),
        ((8, 7, 8, 7, 96), (0, 2, 1, 3, 4), 5),
        ((64, 49, 3, 3, 32), (2, 0, 3, 1, 4), 13),
        # Axes of one element are nowhere in the way.
        ((1, 5, 1, 3), (2, 1, 0, 3), 0),
        ((4, 6), (0, 1), 0),
        ((4, 6), (1, 0), 1),
    ],
)
def test_how_many_there_are(shape, permutation, number):
    assert len(exchanges(shape, permutation)) == number


def test_the_pictures_of_queries_keys_and_values():
    found = exchanges((197, 3, 3, 64), (1, 2, 0, 3))
    assert [(each.before, each.after) for each in found] == [
        ((197, 3, 192), (3, 197, 192)),
        ((3, 197, 192), (197, 3, 192)),
        ((591, 3, 64), (591, 64, 3)),
        ((197, 192, 3), (3, 192, 197)),
        ((9, 64, 197), (9, 197, 64)),
        ((3, 3, 12608), (3, 3, 12608)),
    ]
