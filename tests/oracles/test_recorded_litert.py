# SPDX-License-Identifier: Apache-2.0
"""LiteRT's kernels that depend on the processor, by what they once answered."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lite_oracle import Engine
from record_litert_optimized import FILES
from rules import by_rules
from single_operators import FullyConnected, scales
from tally import Tally


def recorded(engine):
    """Yield the layers and codes of a recording."""
    for case in json.loads(FILES[engine].read_text())["cases"]:
        zeros = case["zero_points"]
        by = scales(
            case["scales"]["x"],
            np.array(case["scales"]["w"]),
            case["scales"]["y"],
            x_zero=zeros["x"],
            y_zero=zeros["y"],
        )
        operator = FullyConnected(
            x=np.array(case["x"], np.int8),
            weights=np.array(case["weights"], np.int8),
            bias=np.array(case["bias"]),
            scales=by,
        )
        yield operator, np.array(case["y"], np.int8)


@pytest.mark.parametrize(
    ("engine", "oracle", "rule", "wrong"),
    [
        (
            Engine.LITERT_OPTIMIZED,
            "LiteRT optimized (rec.)",
            "Q31 double asymmetric",
            ("Q31 double symmetric", "Q31 half up", "float64 half away", "float32 half even"),
        ),
        (
            Engine.LITERT_DEFAULT,
            "LiteRT XNNPACK (rec.)",
            "float32 half even",
            ("Q31 double asymmetric", "Q31 half up", "float64 half away", "float64 half even"),
        ),
    ],
)
def test_fully_connected_int8(record_count, engine, oracle, rule, wrong):
    tally = Tally(oracle, f"FULLY_CONNECTED int8, {rule}", record_count)
    for operator, theirs in recorded(engine):
        factors = operator.scales.factors
        if engine is Engine.LITERT_DEFAULT:
            by = operator.scales
            factors = np.float32(by.x) * by.w.astype(np.float32) / np.float32(by.y)
            factors = factors.astype(np.float64)
        results = by_rules((rule, *wrong), operator.sums, factors, operator.scales.y_zero)
        tally.add(theirs, results.pop(rule), results)
    tally.check(at_least=4096)
