# SPDX-License-Identifier: Apache-2.0
"""A run's figures on the axes that designs are compared by."""

from __future__ import annotations

import math
from typing import Any

from built_run import build, build_with_costs

from aocq.records.axes import AXES, figures_of_run, outermost_register
from aocq.records.design_costs import BUDGET_AXES, DesignCosts
from aocq.records.run import ProofRecord


def register(op: str, kind: str, value: str, level: int | None, type_: str) -> dict[str, Any]:
    found = {"op": op, "kind": kind, "value": value, "level": level, "type": type_}
    return {**found, "needed_bits": 9, "stated_by": "graph", "slack_bits": 3, "proven": True}


def proof(*registers: dict[str, Any]) -> ProofRecord:
    return ProofRecord.model_validate({"values": 9, "proven": 9, "registers": [*registers]})


def test_of_several_levels_the_outermost_counts_though_an_inner_one_is_wider() -> None:
    found = proof(
        register("a", "matmul", "accumulator", 0, "s32"),
        register("a", "matmul", "accumulator", 1, "s24"),
        register("b", "scaled_matmul", "accumulator", 1, "s18"),
        register("b", "scaled_matmul", "accumulator", 0, "s20"),
    )
    assert outermost_register(found) == 24


def test_only_sums_of_products_count() -> None:
    sums = [register(name, "matmul", "accumulator", None, name) for name in ("s16", "s20")]
    others = [
        register("a", "matmul", "product", None, "s40"),
        register("b", "layernorm", "accumulator", None, "u48"),
    ]
    assert outermost_register(proof(*sums, *others)) == 20
    assert outermost_register(proof(*others)) is None
    assert outermost_register(None) is None


def test_a_run_has_a_figure_on_every_axis_or_none() -> None:
    result, _ = build_with_costs(2)
    found = figures_of_run(result)
    assert found.keys() == AXES.keys()
    assert found["drop"] == 82.5
    assert found["energy_mj"] == 1.25
    assert found["accumulator_bits"] is None, "an older record does not say"
    older, _ = build(2)
    assert figures_of_run(older)["energy_mj"] is None


def test_logits_without_noise_have_an_infinite_sqnr() -> None:
    result, _ = build(2)
    exact = result.accuracy.logit_sqnr_db.model_copy(update={"integer_float": None})
    accuracy = result.accuracy.model_copy(update={"logit_sqnr_db": exact})
    assert figures_of_run(result.model_copy(update={"accuracy": accuracy}))["sqnr_db"] == math.inf


def test_less_is_better_of_a_loss() -> None:
    assert AXES["sqnr_db"].loss(30.0) < AXES["sqnr_db"].loss(20.0)
    assert AXES["latency_ms"].loss(3.0) < AXES["latency_ms"].loss(4.0)


def test_a_budgets_axes_are_those_of_fronts_and_cycles() -> None:
    result, _ = build_with_costs(2)
    costs, figures = DesignCosts.of_run(result), figures_of_run(result)
    assert {*BUDGET_AXES} - {*figures} == {"cycles"}
    assert {axis: costs.of(axis) for axis in figures if axis in BUDGET_AXES} == {
        axis: figure for axis, figure in figures.items() if axis in BUDGET_AXES
    }
    assert costs.of("cycles") == result.cycles.total
