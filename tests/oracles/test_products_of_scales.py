# SPDX-License-Identifier: Apache-2.0
"""In which float type an engine multiplies the scales of two operands, before it divides them.

The types differ by at most 2^-24 of the factor, so random sums tell them apart once in hundreds of
thousands. These sums are so large that the factor's last bits decide the side of a tie.
"""

from __future__ import annotations

import numpy as np
import pytest
from lite_oracle import Engine
from rules import by_rules
from single_operators import BatchMatMul, FullyConnected, Scales, scales
from tally import Tally

ORACLES = {Engine.TFLM: "tflite-micro", Engine.LITERT_REF: "LiteRT reference"}
LARGEST = 127
SUM_BITS = 25.9  # of the largest sum that is a code
DEPTH, SMALL_STEPS = 4200, 100


def factors(by: Scales) -> dict[type, np.ndarray]:
    """The real factor with the product of scales in each float type."""
    product = np.float32(by.x) * np.float32(by.w)
    return {np.float64: by.factors, np.float32: np.float64(product) / by.y}


def telling_sums(random: np.random.Generator, by: Scales) -> np.ndarray:
    """Return sums that both factors round differently."""
    real = factors(by)
    halves = random.integers(-LARGEST, LARGEST, 400_000) + 0.5
    sums = np.unique(np.rint(halves / real[np.float64]) + random.integers(-3, 4, halves.size))
    codes = [np.floor(sums * factor + 0.5) for factor in real.values()]
    return sums[codes[0] != codes[1]].astype(np.int64)


def layer(sums: np.ndarray, by: Scales) -> FullyConnected:
    """A layer whose sums are its bias."""
    zeros, ones = np.zeros((1, 2), np.int8), np.ones((len(sums), 2), np.int8)
    return FullyConnected(x=zeros, weights=ones, bias=sums, scales=by)


def product(sums: np.ndarray, by: Scales) -> BatchMatMul:
    """A product of two activations with these sums: steps of 127², of 127, and the rest."""
    b = np.full((1, DEPTH, 1), LARGEST, np.int8)
    b[0, -SMALL_STEPS:] = 1
    x = np.zeros((1, len(sums), DEPTH), np.int8)
    for row, total in zip(x[0], sums.tolist(), strict=True):
        large, rest = divmod(abs(total), LARGEST)
        full, part = divmod(large, LARGEST)
        sign = 1 if total > 0 else -1
        row[:full], row[full], row[-1] = sign * LARGEST, sign * part, sign * rest
    made = BatchMatMul(x=x, b=b, scales=by)
    assert made.sums[0, :, 0].tolist() == sums.tolist()
    return made


@pytest.mark.parametrize(
    ("engine", "kind", "rule", "product_type"),
    [
        (Engine.TFLM, "FULLY_CONNECTED", "Q31 double symmetric", np.float64),
        (Engine.TFLM, "BATCH_MATMUL", "Q31 double symmetric", np.float64),
        (Engine.LITERT_REF, "FULLY_CONNECTED", "float64 half away", np.float64),
        (Engine.LITERT_REF, "BATCH_MATMUL", "Q31 double symmetric", np.float32),
    ],
)
def test_type_of_the_product_of_scales(
    lite_of_engine, record_count, engine, kind, rule, product_type
):
    random = np.random.default_rng(41)
    other = np.float32 if product_type is np.float64 else np.float64
    row = f"{kind} int8, product of scales in {product_type.__name__}"
    tally = Tally(ORACLES[engine], row, record_count)
    for _ in range(8):
        x, w = random.uniform(0.01, 0.05), random.uniform(0.001, 0.005)
        by = scales(x, w, x * w * 2**SUM_BITS / LARGEST)
        sums = telling_sums(random, by)
        operator = (layer if kind == "FULLY_CONNECTED" else product)(sums, by)
        theirs = operator.run(lite_of_engine, engine).reshape(-1)
        ours, wrong = (
            by_rules((rule,), sums[:, None], factors(by)[chosen], 0)[rule][:, 0]
            for chosen in (product_type, other)
        )
        tally.add(theirs, ours, {"type of the product": wrong})
    tally.check(at_least=1000)
