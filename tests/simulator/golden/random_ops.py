# SPDX-License-Identifier: Apache-2.0
"""Random small ops with random codes: all modes, narrow accumulators, shifts beyond bit 31."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from small_graphs import S4, SATURATE, WRAP, Draft, accumulator

from simulator.golden.variants.all_of import Trial, unit_of
from simulator.graph.ops import (
    Add,
    AddShifted,
    MatMul,
    Mean,
    Mul,
    Op,
    Rescale,
    SquaredDifference,
)
from simulator.graph.verify import verify
from simulator.numerics.accumulator import Accumulator, OverflowPolicy
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rescaling import LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding

IMAGES = 200
MULTIPLIERS = (0, 1, 2, 3, 4, 12, 255, 1 << 10, 1 << 20, 1 << 28, 1 << 30, (1 << 29) - 1)
SHIFTS = (0, 1, 2, 3, 5, 8, 20, 31, 32, 33, 40, 50)


class Chance:
    """Random choices for one op, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def of(self, *values: Any) -> Any:
        return values[self.rng.integers(len(values))]

    def kind(self) -> IntType:
        return IntType(bits=int(self.of(3, 4, 5, 8)), signed=bool(self.of(0, 1)))

    def zero_point(self, kind: IntType) -> int:
        return int(self.of(0, self.rng.integers(kind.low, kind.high + 1)))

    def multiplier(self) -> int:
        return int(self.of(*MULTIPLIERS, self.rng.integers(0, 1 << 31)))

    def codes(self, kind: IntType, shape: tuple[int, ...]) -> np.ndarray:
        """Codes of which many are ends of the type or 0."""
        size = (IMAGES, *shape)
        inner = self.rng.integers(kind.low, kind.high + 1, size)
        ends = self.rng.choice([kind.low, kind.high, 0, kind.low + 1], size)
        return np.where(self.rng.random(size) < 0.4, ends, inner).astype(kind.dtype)

    def rounding(self) -> dict[str, Any]:
        double = self.of(*DoubleRounding)
        once = double is DoubleRounding.NONE
        return {
            "rounding": self.of(*Rounding) if once else Rounding.HALF_UP,
            "double_rounding": double,
            "overflow": self.of(*Overflow),
        }

    def requantization(self) -> dict[str, Any]:
        return {
            **self.rounding(),
            "zero_point_stage": self.of(*ZeroPointStage),
            "left_shift": self.of(*LeftShift),
            "multiplier": (self.multiplier(),),
            "shift": (int(self.of(*SHIFTS)),),
        }

    def accumulator(self) -> Accumulator:
        levels = [(0, self.of(8, 10, 12, 16, 32), self.of(WRAP, SATURATE))]
        if self.of(0, 1):
            group = self.of(1, 2, 3, 4), self.of(8, 9, 10, 16), self.of(WRAP, SATURATE)
            levels.insert(0, group)
        made = accumulator(*levels, bias_last=bool(self.of(0, 1)))
        apply = OverflowPolicy.APPLY
        return replace(made, policy=self.of(apply, apply, OverflowPolicy.REPORT))


def _matmul(draft: Draft, chance: Chance) -> dict[str, Any]:
    kind, weights = chance.kind(), IntType(bits=chance.of(4, 8), signed=chance.of(True, False))
    terms = int(chance.rng.integers(1, 6))
    draft.input("a", (terms,), kind, chance.zero_point(kind))
    codes = chance.rng.integers(weights.low, weights.high + 1, (terms, 2))
    bias = None
    if chance.of(True, False):
        values = chance.rng.integers(-200, 200, 2)
        bias = draft.constant("b", values, IntType(bits=chance.of(9, 16, 32)))
    return {
        "operands": ["a", draft.constant("w", codes, weights)],
        "bias": bias,
        "accumulator": chance.accumulator(),
        **chance.requantization(),
    }


def _residual(draft: Draft, chance: Chance) -> dict[str, Any]:
    kind, other = chance.kind(), chance.kind()
    draft.input("a", (2,), kind, chance.zero_point(kind))
    made = chance.requantization()
    return made | {
        "operands": ["a", draft.constant("w", chance.rng.integers(-8, 8, (2, 2)), S4)],
        "residual": draft.operand("r", (2,), other, chance.zero_point(other)),
        "residual_multiplier": (chance.of(1, 3, 5, 1 << 20),),
        "residual_fraction_bits": int(chance.rng.integers(0, made["shift"][0] + 1)),
        "accumulator": chance.accumulator(),
        "zero_point_stage": ZeroPointStage.AFTER_ROUND,
        "left_shift": LeftShift.WIDEN,
    }


def _mean(draft: Draft, chance: Chance) -> dict[str, Any]:
    kind = chance.kind()
    draft.input("a", (4, 2), kind, chance.zero_point(kind))
    return {"operands": ["a"], "accumulator": chance.accumulator(), **chance.requantization()}


def _one(draft: Draft, chance: Chance) -> dict[str, Any]:
    kind = chance.kind()
    draft.input("a", (2,), kind, chance.zero_point(kind))
    return {"operands": ["a"], **chance.requantization()}


def _two(draft: Draft, chance: Chance) -> list[str]:
    kinds = chance.kind(), replace(chance.kind(), bits=chance.of(3, 4))  # few combinations
    draft.input("a", (2,), kinds[0], chance.zero_point(kinds[0]))
    return ["a", draft.operand("b", (2,), kinds[1], chance.zero_point(kinds[1]))]


def _mul(draft: Draft, chance: Chance) -> dict[str, Any]:
    return {"operands": _two(draft, chance), **chance.requantization()}


def _add(draft: Draft, chance: Chance) -> dict[str, Any]:
    made = chance.rounding()
    return {
        "operands": _two(draft, chance),
        "rounding": made["rounding"],
        "overflow": made["overflow"],
        "multiplier_a": chance.multiplier(),
        "multiplier_b": chance.multiplier(),
        "shift": chance.of(*SHIFTS),
    }


def _joined(draft: Draft, chance: Chance) -> dict[str, Any]:
    return {
        "operands": _two(draft, chance),
        "factors": tuple((max(chance.multiplier(), 1), chance.of(*SHIFTS)) for _ in range(3)),
        "input_left_shift": chance.of(0, 3, 7, 20),
        **chance.rounding(),
    }


MAKERS: dict[str, tuple[type[Op], Callable[[Draft, Chance], dict[str, Any]]]] = {
    "matmul": (MatMul, _matmul),
    "matmul onto a residual": (MatMul, _residual),
    "mean": (Mean, _mean),
    "rescale": (Rescale, _one),
    "mul": (Mul, _mul),
    "add": (Add, _add),
    "add_shifted": (AddShifted, _joined),
    "squared_difference": (SquaredDifference, _joined),
}


def random_trial(kind: str, seed: int) -> Trial | None:
    """Return a random op on random codes; None where what was drawn is no valid op."""
    op_type, make = MAKERS[kind]
    draft, chance = Draft(), Chance(seed)
    made = make(draft, chance)
    result = chance.kind()
    made |= {"type": result, "zero_point": chance.zero_point(result)}
    draft.op(op_type, "y", *made.pop("operands"), **made)
    graph = draft.graph()
    if verify(graph):
        return None
    unit = unit_of(graph, graph.ops[-1])
    codes = {
        name: chance.codes(unit.tensors[name].code_type, unit.tensors[name].shape)
        for name in unit.inputs
    }
    return Trial.of(unit, codes)
