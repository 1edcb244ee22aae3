# SPDX-License-Identifier: Apache-2.0
"""Accumulators that overflow, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st
from small_graphs import SATURATE, WRAP, accumulator

from simulator.numerics.accumulator import Accumulator


@st.composite
def accumulators(draw: st.DrawFn, smallest: int = 8, largest: int = 24) -> Accumulator:
    """One to three levels of ``smallest`` to ``largest`` bits, groups that nest, either bias."""
    groups = []
    for level in range(draw(st.integers(0, 2))):
        groups.append(draw(st.integers(2 if level else 1, 3)) * (groups[-1] if level else 1))
    levels = [
        (group, draw(st.integers(smallest, largest)), draw(st.sampled_from([SATURATE, WRAP])))
        for group in [*groups, 0]
    ]
    return accumulator(*levels, bias_last=draw(st.booleans()))
