# SPDX-License-Identifier: Apache-2.0
"""Small ops with operands at hand, for tests of variants, proofs and coverage."""

from __future__ import annotations

from functools import cache

import numpy as np
from one_op_graphs import CASES
from small_graphs import S8, S32, Draft, random_codes

from simulator.golden.variants.all_of import Trial, unit_of
from simulator.graph.ops import LayerNorm, MatMul, Op, ScaledMatMul, Softmax
from simulator.numerics.rounding import Rounding

CHOSEN = [(op_type, next(iter(cases))) for op_type, cases in CASES.items()] + [
    (MatMul, "onto a residual, per channel"),
    (MatMul, "pairs wrap in 9 bits, bias last"),
    (MatMul, "activations, saturating"),
    (ScaledMatMul, "exponents, pairs, then shifted"),
    (ScaledMatMul, "activations, exponents"),
    (LayerNorm, "multiplied channels"),
    (Softmax, "division"),
]


@cache
def trial_of(op_type: type[Op], case: str, images: int = 2, seed: int = 0) -> Trial:
    """Return a trial of one of the small graphs, with random codes."""
    draft = Draft()
    CASES[op_type][case](draft)
    graph = draft.graph()
    unit = unit_of(graph, graph.ops[-1])
    codes = {
        name: random_codes(graph.tensors[name], images, seed + number)
        for number, name in enumerate(unit.inputs)
    }
    return Trial.of(unit, codes)


def one_layer(weights: list[list[int]], bias: list[int], **changes: object) -> Trial:
    """A layer of signed bytes on all first codes, the second one 3."""
    draft = Draft(Rounding.HALF_UP)
    draft.input("a", (1, 2), S8, 5)
    given = {"shift": (4,), "multiplier": (3,), "zero_point": -7} | changes
    draft.op(
        MatMul,
        "y",
        "a",
        draft.constant("w", weights, S8),
        bias=draft.constant("b", bias, S32),
        **given,
    )
    unit = unit_of(draft.graph(), draft.ops[-1])
    codes = np.array([[[code, 3]] for code in range(-128, 128)], np.int8)
    return Trial.of(unit, {"a": codes})
