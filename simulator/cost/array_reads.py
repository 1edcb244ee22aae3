# SPDX-License-Identifier: Apache-2.0
"""How often the MAC array reads the operands of a product, and in which multiples it takes them.

The array computes block after block of results. Where results stay in the array (output stationary,
dot engine), a block reads its rows of A and its columns of B, so that A is read once for each
column of blocks and B once for each row of blocks: M K ceil(N / C) and N K ceil(M / R) elements, as
in SCALE-Sim. Where weights stay, B is read once, and A once for each column of folds; where inputs
stay, the other way round.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from simulator.cost.engine import GemmExtents, heads_cycles
from simulator.cost.exact import ceil_div
from simulator.cost.ports import Numbers
from simulator.profile import DotEngine, SystolicEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """What tiles and traffic must know of an engine.

    Attributes
    ----------
    m, n, k
        multiples in which it takes the extents of a product
    streamed
        the extent that passes through it during one fold: of a product that is cut there, each
        piece has a fill and a drain. None of a dot engine, which has neither.
    blocks
        rows and columns of results that it computes before it takes other ones, the program
        chooses; 0 for as many as there are
    """

    m: int
    n: int
    k: int
    streamed: Literal["m", "n", "k"] | None
    blocks: tuple[tuple[int, int], ...]


def array_shape(engine: SystolicEngine | DotEngine) -> ArrayShape:
    """Return the multiples and blocks of an engine."""
    if isinstance(engine, DotEngine):
        return ArrayShape(
            m=engine.m, n=engine.n, k=engine.k, streamed=None, blocks=tuple(_dot_blocks(engine))
        )
    rows, columns = engine.rows, engine.columns
    if engine.dataflow == "output_stationary":
        return ArrayShape(m=rows, n=columns, k=1, streamed="k", blocks=((rows, columns),))
    if engine.dataflow == "weight_stationary":
        return ArrayShape(m=1, n=columns, k=rows, streamed="m", blocks=((0, columns),))
    return ArrayShape(m=columns, n=1, k=rows, streamed="n", blocks=((columns, 0),))


def _dot_blocks(engine: DotEngine) -> list[tuple[int, int]]:
    """Return the blocks whose sums a dot engine holds, from flat and wide to high and narrow.

    Where the profile does not say how many it holds, they are the results of one step.
    """
    sums = engine.accumulators or engine.m * engine.n
    blocks = []
    height = engine.m
    while height * engine.n <= sums:
        blocks.append((height, sums // (height * engine.n) * engine.n))
        height *= 2
    return blocks


def block_count(extent: int, tile: Numbers, block: Numbers) -> Numbers:
    """Return how many blocks cover an extent that is cut in tiles; a block of 0 covers a tile."""
    block = np.where(block == 0, tile, block)
    count: Numbers = extent // tile * -(-tile // block) + -(-(extent % tile) // block)
    return count


def tile_extents(extent: int, multiple: int, *, halves: bool = False) -> tuple[int, ...]:
    """Return the extents of tiles to try: nearly equal pieces, in multiples of the array's.

    Ever more pieces, from one to as many as there are: powers of two and, but for ``halves``, the
    middle between two of them.
    """
    units = ceil_div(extent, multiple)
    found = {1}
    pieces = 1
    while pieces < units:
        found.add(ceil_div(units, pieces))
        if not halves:
            found.add(ceil_div(units, pieces + ceil_div(pieces, 2)))
        pieces *= 2
    return tuple(sorted({min(extent, multiple * each) for each in found}))


def split_cycles(
    product: GemmExtents, engine: SystolicEngine | DotEngine, extent: str, piece: int
) -> int:
    """Return how many cycles longer a product takes one of whose extents is cut in pieces.

    Each piece has a fill and a drain of its own; the last is as long as what remains.
    """
    of_product: int = getattr(product, extent)

    def cut(size: int) -> GemmExtents:
        changes: dict[str, Any] = {extent: size}
        return replace(product, **changes)

    whole, rest = divmod(of_product, piece)
    cycles = whole * heads_cycles(cut(piece), engine)
    if rest:
        cycles += heads_cycles(cut(rest), engine)
    return cycles - heads_cycles(product, engine)
