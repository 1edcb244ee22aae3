# SPDX-License-Identifier: Apache-2.0
"""A ScaledMatMul: what is refused, bounds that inputs reach, text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from small_graphs import S4, S8, S16, S32, SATURATE, U4, U8, WRAP, Draft, accumulator, with_tensor

from simulator.graph import IntGraph, text, verify
from simulator.graph.bounds import bounds, intermediates
from simulator.graph.ops import SPECS, GroupExponent, GroupMaximum, Rescale, ScaledMatMul
from simulator.numerics.integer_type import IntType
from simulator.numerics.rescaling import Arithmetic, LeftShift
from simulator.proof import nearest_input, prove

U3, U5, U6 = (IntType(bits=bits, signed=False) for bits in (3, 5, 6))
WEIGHTS = np.array([[1, -8], [2, 7], [-3, 0], [4, 5], [-8, 1], [7, -2]])


def layer(exponent: IntType = U3, groups: int = 3, **changes: Any) -> IntGraph:
    d = Draft()
    d.input("a", (3, 6), S4)
    d.constant("weights", WEIGHTS, S4)
    if "bias" not in changes:
        changes["bias"] = d.constant("bias", [1000, -2000], S32)
    d.operand("row", (3, 1), U8)
    d.operand("exponent", (3, groups), exponent)
    given = {"row_factor": "row", "block_exponent": "exponent", "block": 2}
    d.op(ScaledMatMul, "y", "a", "weights", **given | {"shift": (14,)} | changes)
    return d.graph()


def attention(**changes: Any) -> IntGraph:
    d = Draft()
    d.input("a", (2, 3, 6), S4)
    d.operand("b", (2, 5, 6), S4)
    d.operand("row", (2, 3, 1), U8)
    d.operand("column", (2, 5, 1), U8)
    given = {"transpose_b": True, "row_factor": "row", "column_factor": "column", "shift": (16,)}
    if "bias" in {*changes.values()}:
        d.constant("bias", [0] * 5, S32)
    d.op(ScaledMatMul, "y", "a", "b", **given | changes)
    return d.graph()


def found(graph: IntGraph) -> dict[str, Any]:
    return {each.name: each for each in intermediates(graph, graph.ops[-1])}


def test_it_is_valid_and_says_so_in_words() -> None:
    assert verify(layer()) == []
    assert verify(attention()) == []
    assert "a × s4[6,2] << exponent per 2   acc all:32 wrap, proven" in text(layer())
    assert "× row + s32 bias   → ×1 >> 14" in text(layer())
    assert "a × bᵀ" in text(attention())
    assert "× row × column   →" in text(attention())


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (layer(row_factor=None, block_exponent=None, block=0), "neither factors nor exponents"),
        (layer(block_exponent=None), "block 2: block and block_exponent go together"),
        (layer(block_exponent=None, block=-1), "block -1: block and block_exponent go together"),
        (layer(block=0), "wanted (3, 0)"),
        (layer(row_factor="exponent"), "row_factor exponent has shape (3, 3), wanted (3, 1)"),
        (layer(block_exponent="row"), "block_exponent row has shape (3, 1), wanted (3, 3)"),
        (layer(U6), "block_exponent exponent has 6 bits, wanted at most 5"),
        (layer(S4), "block_exponent exponent is s4, wanted unsigned codes with zero point 0"),
        (layer(column_factor="row"), "a product with weights has no column factor"),
        (layer(block=4, block_exponent="row"), "block 4: must divide the 6 terms"),
        (layer(left_shift=LeftShift.WRAP), "a scaled sum is rescaled in fixed point"),
        (layer(residual="row"), "residual and residual_multiplier go together"),
        (layer(residual="a", residual_multiplier=(1,)), "residual a has shape (3, 6)"),
        (attention(bias="bias"), "a product of two activations has no bias"),
        (attention(column_factor="row"), "column_factor row has shape (2, 3, 1), wanted (2, 5, 1)"),
        (attention(row_factor="bias"), "row_factor bias is a constant"),
        (with_tensor(layer(), "a", zero_point=1), "operand a has a zero point"),
        (with_tensor(layer(), "row", zero_point=1), "row_factor row is u8, wanted unsigned codes"),
        (with_tensor(attention(), "b", zero_point=1), "operand b has a zero point"),
    ],
)
def test_what_does_not_go_together_is_refused(graph: IntGraph, message: str) -> None:
    # A valid graph keeps all rules; one of several is told by the first layer of verify alone.
    problems = [*verify(graph), *SPECS[ScaledMatMul].rules(graph, graph.ops[-1])]
    assert any(message in problem for problem in problems), problems
    assert verify(graph)


def test_groups_that_cross_the_borders_of_blocks_are_refused() -> None:
    for groups, valid in (((1,), 1), ((2,), 0), ((3,), 1), ((6,), 1), ((1, 2), 0), ((4,), 1)):
        levels = accumulator(*((group, 20, WRAP) for group in groups), (0, 32, WRAP))
        problems = verify(layer(groups=2, block=3, accumulator=levels))
        assert any("cross the borders of blocks of 3" in each for each in problems) != valid, groups


def test_a_requantization_in_float_is_refused() -> None:
    graph = layer()
    op = graph.ops[-1]
    assert isinstance(op, ScaledMatMul)
    changed = replace(op, requantize=replace(op.requantize, arithmetic=Arithmetic.FLOAT32))
    problems = [*SPECS[ScaledMatMul].rules(graph, changed)]
    assert any("a scaled sum is rescaled in fixed point" in problem for problem in problems)


def test_bounds_are_those_of_the_largest_exponent_and_factors() -> None:
    """The column of weights (1, 2, -3, 4, -8, 7), codes -8 to 7, exponents up to 7."""
    graph = layer()
    values = found(graph)
    least = sum(int(min(w * -8, w * 7)) for w in WEIGHTS[:, 0])
    most = sum(int(max(w * -8, w * 7)) for w in WEIGHTS[:, 0])
    assert values["accumulator"].interval == (least << 7, most << 7)
    assert values["row_scaled"].interval == (255 * least << 7, 255 * most << 7)
    assert values["biased"].interval[1] == (255 * most << 7) + 1000
    assert bounds(graph, graph.ops[-1]).proven_free
    both = found(attention())
    assert both["accumulator"].interval == (-6 * 56, 6 * 64)
    assert both["column_scaled"].interval == (-6 * 56 * 255 * 255, 6 * 64 * 255 * 255)


def test_levels_inside_a_block_hold_sums_that_are_not_shifted() -> None:
    levels = accumulator((1, 8, WRAP), (2, 12, WRAP), (4, 16, SATURATE), (0, 18, SATURATE))
    one, block, two, every = found(layer(accumulator=levels))["accumulator"].levels
    assert one.interval == (-56, 64)
    least = [min(-8 * w, 7 * w) for w in WEIGHTS[:, 0]]
    assert block.interval[0] == min(sum(least[:2]), sum(least[2:4]), sum(least[4:]), -56 - 14)
    assert two.interval[0] <= sum(least[:4]) << 7 < 0
    assert every.interval[0] == sum(least) << 7
    assert [level.proven for level in (one, block)] == [True, True]


def test_the_last_bit_is_proven_and_no_less() -> None:
    most = sum(int(max(w * -8, w * 7)) for w in WEIGHTS[:, 0]) << 7
    bits = most.bit_length() + 1
    for width, free in ((bits, True), (bits - 1, False)):
        graph = layer(accumulator=accumulator((0, width, SATURATE)))
        assert bounds(graph, graph.ops[-1]).proven_free is free


def test_what_could_pass_64_bits_is_refused() -> None:
    wide: dict[str, Any] = {"bias": None, "accumulator": accumulator((0, 64, WRAP))}
    assert verify(layer(U5, multiplier=((1 << 15) - 1,), **wide)) == []
    (problem,) = verify(layer(U5, multiplier=((1 << 18) - 1,), **wide))
    assert "an intermediate may need" in problem


def test_unsigned_and_wide_codes_have_their_bounds() -> None:
    d = Draft()
    d.input("a", (1, 2), U4)
    d.constant("w", [[100], [-100]], S8)
    d.operand("row", (1, 1), IntType(bits=16, signed=False))
    d.op(ScaledMatMul, "y", "a", "w", row_factor="row", type=S16, shift=(20,))
    values = found(d.graph())
    assert values["accumulator"].interval == (-1500, 1500)
    assert values["row_scaled"].interval == (-1500 * 65535, 1500 * 65535)


def test_exponents_and_factors_are_bounded_by_what_made_them() -> None:
    """Of signed bytes: magnitudes up to 128, so a shift of at most 8 - 3 places to four bits."""
    d = Draft()
    d.input("x", (3, 6), S8)
    exponents = d.op(GroupExponent, "e", "x", group=3, bits=4, type=U5)
    maxima = d.op(GroupMaximum, "m", "x", group=6, type=U8)
    codes = d.op(Rescale, "a", "x", type=S4, shift=(4,))
    weights = d.constant("w", [[1]] * 6, S8)
    moved = d.reshape("moved", d.transpose("t", exponents, 1, 0), 3, 2)
    given = {"row_factor": maxima, "block_exponent": moved, "block": 3}
    d.op(ScaledMatMul, "y", codes, weights, **given)
    graph = d.graph()
    assert verify(graph) == []
    values = found(graph)
    assert values["accumulator"].interval == (-48 << 5, 42 << 5)
    assert values["row_scaled"].interval == ((-48 << 5) * 128, (42 << 5) * 128)
    (proof,) = (each for each in prove(graph) if (each.op, each.value) == ("y", "accumulator"))
    nearest = nearest_input(graph, proof)
    assert nearest is not None
    assert nearest.attained == proof.interval[1 if nearest.upper else 0]
