# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simulator.numerics.jit import has_avx2
from simulator.simd.product.narrow_bounds import CHECKED_TERMS, Reach, whole_root
from simulator.simd.product.narrow_rows import measure_rows, measure_turned, turn_rows
from simulator.simd.product.narrow_tile import NARROW_COLUMNS

pytestmark = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
TERMS = [1, 15, 16, 64, 65, 150]


def codes(dtype, rows, terms):
    """Return random codes; the first rows hold the least and the largest, then ends in turns."""
    ends = np.iinfo(dtype)
    found = np.random.default_rng(terms).integers(ends.min, ends.max + 1, (rows, terms))
    found[0], found[1], found[2, ::2] = ends.min, ends.max, ends.min
    return found.astype(dtype)


def root(squares):
    return int(whole_root(np.int32(squares)))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("terms", TERMS)
def test_lengths_of_rows_and_of_their_blocks(dtype, terms):
    rows = codes(dtype, 9, terms)
    edges = range(0, terms, CHECKED_TERMS)
    for centre in (np.iinfo(dtype).min, 3, np.iinfo(dtype).max):
        lengths = np.full((48, 1 + len(edges)), -1, np.int32)
        measure_rows(rows, 2, 7, centre, lengths)
        squares = (rows[2:].astype(int) - centre) ** 2
        parts = [squares, *(squares[:, edge : edge + CHECKED_TERMS] for edge in edges)]
        expected = [[root(part[i].sum()) for part in parts] for i in range(7)]
        assert lengths[:7].tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_lengths_of_columns_that_lie_as_rows(dtype):
    b = codes(dtype, 50, 150)
    reach = Reach.empty(150, 64)
    measure_turned(b, np.empty((48, len(reach.norms) - 1), np.int32), reach.norms)
    squares = b.astype(int) ** 2
    assert reach.norms[0, :50].tolist() == [root(row.sum()) for row in squares]
    assert reach.norms[2, :50].tolist() == [
        root(row[CHECKED_TERMS : 2 * CHECKED_TERMS].sum()) for row in squares
    ]
    assert (reach.norms[:-1, 50:] == reach.norms[:-1, 49:50]).all()
    assert not reach.norms[-1].any()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("count", [1, 16, 19, 48])
def test_a_strip_is_turned(dtype, terms, count):
    rows = codes(dtype, 52, terms)
    padded = terms + 5
    turned = np.zeros((2, padded * NARROW_COLUMNS), np.int16)
    turn_rows(rows, 3, count, turned)
    found = turned.reshape(2, padded, NARROW_COLUMNS).transpose(0, 2, 1).reshape(-1, padded)
    assert found[:count, :terms].tolist() == rows[3 : 3 + count].tolist()
    assert not found[:, terms:].any()
