# SPDX-License-Identifier: Apache-2.0
"""LayerNorm as particular targets compute it, other than the one in :mod:`simulator.graph.ops`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simulator.graph.op import Op, TensorId
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNormBisection(Op):
    """Layer normalization over the last dimension by whole-number means and divisions.

    u[c] = a[c] - z_a
    mean = sum(u) / C                              / drops the fraction, as C's division does
    v    = sum((u - mean)²) / C + 1
    r    = floor(sqrt(v))                          by bisection
    y[c] = fit(round((u[c] - mean) * weight[c] / r + bias[c] >> shift) + z_y)

    weight, bias : signed constants [C]: γ / s_y and β / s_y with ``shift`` fraction bits
    Source: Deeploy's 8-bit Layernorm: ``floor``, ``wrap``, z_y = 0. The mean is a whole code, and
    with 1 added to v a constant row divides by 1.
    """

    constant_fields: ClassVar[tuple[str, ...]] = ("weight", "bias")

    a: TensorId
    weight: TensorId
    bias: TensorId
    shift: int
    rounding: Rounding
    overflow: Overflow

    @property
    def kind(self) -> str:
        """The op's name in lower case."""
        return "layernorm_bisection"
