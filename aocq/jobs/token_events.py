# SPDX-License-Identifier: Apache-2.0
"""At which tokens results were saturated and sums overflowed, by a second computation of the ops.

The executor counts both for whole ops. Here the ops that counted any are computed again by their
formulas (:mod:`simulator.traces`) from the codes that they read, and each event has a place. It is
told only where as many are found as were counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from aocq.capture.token_grid import TokenGrid
from aocq.capture.token_places import TokenPlaces
from simulator.counts import OpCounts
from simulator.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import MatMul
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import limits
from simulator.traces import trace
from simulator.traces.sums import exact_product

Mask = NDArray[np.bool_]


@dataclass(slots=True)
class TokenEvents:
    """Events by token.

    Attributes
    ----------
    tokens
        how many there are at each token of a grid, int64 [tokens]
    placed, elsewhere
        how many each op counted: whose tokens are known, and the others
    """

    tokens: dict[TokenGrid, NDArray[np.int64]] = field(default_factory=dict)
    placed: dict[str, int] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        name: str,
        counted: int,
        mask: Mask | None,
        places: TokenPlaces | None,
        grids: Iterable[TokenGrid],
    ) -> None:
        """Note the events of an op, [*shape of its result].

        Parameters
        ----------
        mask, places
            where there are events, and the tokens of the result; None: not known
        grids
            that are told of; of those that fit a result's tokens the first
        """
        found = None if mask is None or places is None else _by_token(mask, places, grids)
        if found is None or mask is None or int(mask.sum()) != counted:
            self.elsewhere[name] = counted
            return
        grid, numbers = found
        self.placed[name] = counted
        self.tokens[grid] = self.tokens.get(grid, np.zeros(grid.tokens, np.int64)) + numbers


def token_events(
    graph: IntGraph,
    codes: Mapping[str, Array],
    counts: Mapping[str, OpCounts],
    places: Mapping[str, TokenPlaces],
    grids: Collection[TokenGrid],
) -> tuple[TokenEvents, TokenEvents]:
    """Return the saturated results of one image and its overflowed sums.

    Parameters
    ----------
    codes
        of the input and of every result, [1, ...]
    counts
        of the same run
    places
        the tokens of results, by name
    grids
        see :meth:`TokenEvents.add`
    """
    saturated, overflowed = TokenEvents(), TokenEvents()
    values = {**graph.constants, **codes}
    for op in graph.ops:
        found = counts[op.name]
        if found.saturated:
            traced = trace(op, graph, [values[name] for name in op.operands])
            mask = _cut_off(op, graph, traced)
            saturated.add(op.name, found.saturated, mask, places.get(op.name), grids)
        if found.sums and found.sums.persistent:
            mask = _not_held(op, graph, values)
            overflowed.add(op.name, found.sums.persistent, mask, places.get(op.name), grids)
        if found.sums and found.sums.transient:  # the sums themselves fit
            before = overflowed.elsewhere.get(op.name, 0)
            overflowed.elsewhere[op.name] = before + found.sums.transient
    return saturated, overflowed


def _cut_off(op: Op, graph: IntGraph, traced: Mapping[str, Array]) -> Mask | None:
    """Return which results were outside of their type before it was applied."""
    result = graph.result(op)
    values = traced.get("rounded")
    rule = getattr(op, "requantize", op)
    if values is None or values.shape[1:] != result.shape or not hasattr(rule, "overflow"):
        return None
    low, high = limits(result.code_type, rule.overflow)
    mask: Mask = ((values < low) | (values > high))[0]
    return mask


def _not_held(op: Op, graph: IntGraph, values: Mapping[str, Array]) -> Mask | None:
    """Return which completed sums of products do not fit their register; None of other ops."""
    if not isinstance(op, MatMul):
        return None
    a, b = values[op.a], values[op.b]
    exact = exact_product(a, np.swapaxes(b, -1, -2) if op.transpose_b else b)
    if op.bias:
        exact = exact + graph.constants[op.bias].astype(np.int64)
    register = op.accumulator.levels[-1].kind
    mask: Mask = ((exact < register.low) | (exact > register.high))[0]
    return mask


def _by_token(
    mask: Mask, places: TokenPlaces, grids: Iterable[TokenGrid]
) -> tuple[TokenGrid, NDArray[np.int64]] | None:
    """Return the events of each token, and the grid; None where one has no token of a grid.

    There may be patches alone, before a class token joins them.
    """
    own = places.grid
    fitting = (
        grid
        for grid in grids
        if (grid.rows, grid.columns) == (own.rows, own.columns) and own.prefix in {0, grid.prefix}
    )
    grid = next(fitting, None)
    numbers = places.numbers.numpy()
    if grid is None or mask.ndim < 2 or mask.shape != numbers.shape or not numbers[mask].all():
        return None
    counts = np.bincount(numbers[mask] - 1, minlength=own.tokens)
    return grid, np.pad(counts, (grid.tokens - own.tokens, 0))  # tokens in front have none
