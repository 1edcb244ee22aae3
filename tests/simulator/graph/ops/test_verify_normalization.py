# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from small_graphs import S8, Draft

from simulator.graph import verify
from simulator.graph.bounds import bounds
from simulator.graph.ops import L2Norm

COARSE = {"sqrt_fraction_bits": 0, "normalized_fraction_bits": 0, "gain": [1], "shift": 0}
WIDE_PRODUCT = {"gain": [1 << 31], "normalized_fraction_bits": 31}  # with the gain: above 2^62


def graph_of(shape=(3, 2, 5), **changes):
    d = Draft()
    d.input("a", shape, S8)
    given = {
        "gain": [7],
        "epsilon": 1,
        "sqrt_fraction_bits": 4,
        "reciprocal_bits": 40,
        "normalized_fraction_bits": 10,
        "shift": 6,
    }
    d.op(L2Norm, "y", "a", **given | changes)
    return d.graph()


VALID = [
    {},
    {"gain": [7, 0, 9]},
    {"shape": (4, 3, 2, 5), "gain": [7, 8, 9]},
    {"shape": (2, 5)},
    {"shape": (5,)},
    {"epsilon": 0},
    {"epsilon": (1 << 31) - 1},
    {"reciprocal_bits": 14},  # 4 + 10 fraction bits
    {"reciprocal_bits": 0, **COARSE},
    {"reciprocal_bits": 61, **COARSE},
    {"reciprocal_bits": 62, **COARSE},  # times sqrt(3) at most: 63 bits and a sign
    {"reciprocal_bits": 62, **COARSE, "sqrt_fraction_bits": 1},
    {**WIDE_PRODUCT, "shift": 61},
]


@pytest.mark.parametrize("changes", VALID)
def test_the_ends_of_what_is_allowed(changes):
    graph = graph_of(**changes)
    assert verify(graph) == []
    assert 0 < bounds(graph, graph.ops[0]).widest_bits <= 64


NEGATIVE = "fraction bits and the spare reciprocal bits must not be negative"
REFUSED = [
    ({"shape": (2, 5), "gain": [1, 2, 3]}, "gain y.gain has shape (3,), wanted (1,) or one for"),
    ({"shape": (5,), "gain": [1, 2, 3]}, "gain y.gain has shape (3,), wanted (1,) or one for"),
    (
        {"gain": [1, 2]},
        "gain y.gain has shape (2,), wanted (1,) or one for each index of (3, 2, 5)",
    ),
    ({"gain": [1, 2, 3, 4, 5]}, "gain y.gain has shape (5,), wanted (1,) or one for"),
    ({"shape": (4, 3, 2, 5), "gain": [1, 2, 3, 4]}, "gain y.gain has shape (4,), wanted"),
    ({"gain": [-1]}, "a multiplier is negative"),
    ({"epsilon": -1}, "epsilon -1: must be 0..2147483647"),
    ({"epsilon": 1 << 31}, "epsilon 2147483648: must be 0..2147483647"),
    ({"sqrt_fraction_bits": -1}, NEGATIVE),
    ({"normalized_fraction_bits": -1}, NEGATIVE),
    ({"reciprocal_bits": 13}, NEGATIVE),
    ({"reciprocal_bits": 63}, "reciprocal_bits 63: must be 0..62"),
    ({"sqrt_fraction_bits": 24}, "an intermediate may need"),
    ({**WIDE_PRODUCT, "shift": 62}, "an intermediate may need 65 bits"),  # the rounding
]


@pytest.mark.parametrize(("changes", "problem"), REFUSED)
def test_what_is_refused(changes, problem):
    (found,) = verify(graph_of(**changes))
    assert problem in found
    assert "op y (l2norm)" in found
