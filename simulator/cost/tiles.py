# SPDX-License-Identifier: Apache-2.0
"""Ways to compute one product: what is copied into SRAM tile by tile, in which order of loops.

An operand that lies in SRAM is read there by the array, block by block. One that lies in DRAM is
either read there by the array, as often as blocks ask for it, or copied into SRAM in tiles, each
tile as often as the loops come back to it. No way depends on a bandwidth, and a larger SRAM only
opens more of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from simulator.cost.array_reads import array_shape, split_cycles, tile_extents
from simulator.cost.engine import GemmExtents
from simulator.cost.ports import Numbers, PortTraffic, joined_traffic
from simulator.cost.tile_traffic import (
    Copying,
    Grid,
    Loops,
    Matrices,
    Matrix,
    Operand,
    grid_of,
    joined_grids,
    product_traffic,
    room,
    tile_count,
)
from simulator.profile import DotEngine, SystolicEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """One way to compute a product.

    Attributes
    ----------
    m, n, k
        extents of a tile
    tiles
        how many there are, of all heads
    loops
        what is copied tile by tile, and in which order
    sums
        where partial sums wait for the next piece of K: in the ``array`` where K is one piece
    room
        bytes of SRAM for tiles and partial sums
    """

    m: int
    n: int
    k: int
    tiles: int
    loops: Loops
    sums: Literal["array", "sram", "dram"]
    room: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Ways to compute a product, an element of every array for each.

    Attributes
    ----------
    loops
        index into ``choices``
    m, n, k, tiles, room
        as in :class:`Tiling`
    serial
        1 where a tile is loaded, computed and stored in turn
    split
        cycles that the array takes longer than for the product in one piece
    sram, dram
        what the ports move
    """

    product: GemmExtents
    choices: tuple[Loops, ...]
    loops: Numbers
    m: Numbers
    n: Numbers
    k: Numbers
    tiles: Numbers
    room: Numbers
    serial: Numbers
    split: Numbers
    sram: PortTraffic
    dram: PortTraffic

    def tiling(self, way: int) -> Tiling:
        """Return one of the ways."""
        loops = self.choices[self.loops[way]]
        return Tiling(
            m=int(self.m[way]),
            n=int(self.n[way]),
            k=int(self.k[way]),
            tiles=int(self.tiles[way]),
            loops=loops,
            sums="array" if self.k[way] == self.product.k else loops.sums,
            room=int(self.room[way]),
        )


@lru_cache(maxsize=256)
def ways_of(
    product: GemmExtents,
    matrices: Matrices,
    engine: SystolicEngine | DotEngine,
    copying: Copying,
) -> Ways:
    """Return the ways to compute a product whose matrices lie at given places.

    Results are kept: a network has few products that differ, and chips that differ in size and
    speed have the same ways.
    """
    array = array_shape(engine)
    whole = grid_of(array, (product.m,), (product.n,), (product.k,))
    cut = grid_of(
        array,
        tile_extents(product.m, array.m),
        tile_extents(product.n, array.n),
        tile_extents(product.k, array.k, halves=True),
    )
    choices = tuple(_choices(matrices, copying))
    grids = [_useful(cut, loops, product) if loops.copied else whole for loops in choices]
    once = [replace(loops, buffers=1) for loops in choices]  # one buffer moves what two do
    traffic = {
        loops: product_traffic(product, matrices, grid, loops, copying.bursts)
        for loops, grid in dict(zip(once, grids, strict=True)).items()
    }
    moved = [traffic[loops] for loops in once]
    rooms = [
        room(product, grid, loops, engine.heads_parallel or 1)
        for grid, loops in zip(grids, choices, strict=True)
    ]
    loops_of = np.repeat(np.arange(len(choices)), [len(grid.m) for grid in grids])
    joined = joined_grids(grids)
    return Ways(
        product=product,
        choices=choices,
        loops=loops_of,
        m=joined.m,
        n=joined.n,
        k=joined.k,
        tiles=tile_count(product, joined),
        room=np.concatenate(rooms),
        serial=np.array([loops.buffers == 1 for loops in choices])[loops_of],
        split=_splits(product, engine, joined),
        sram=joined_traffic([ports["sram"] for ports in moved]),
        dram=joined_traffic([ports["dram"] for ports in moved]),
    )


def _splits(product: GemmExtents, engine: SystolicEngine | DotEngine, grid: Grid) -> Numbers:
    """Return the cycles that the array takes longer for a product that is cut in tiles."""
    array = array_shape(engine)
    if array.streamed is None:
        return np.zeros_like(grid.m)
    pieces, index = np.unique(getattr(grid, array.streamed), return_inverse=True)
    cycles = [split_cycles(product, engine, array.streamed, piece) for piece in pieces.tolist()]
    return np.array(cycles, dtype=np.int64)[index]


def _choices(matrices: Matrices, copying: Copying) -> Iterator[Loops]:
    """Yield what can be tiled: nothing, or any of the operands that lie in DRAM.

    An order in which the one copied operand does not stay is worth its loads only for the partial
    sums, which then fit a smaller place.
    """
    both = (2, 1) if copying.double_buffer else (1,)
    yield Loops(copied=(), order="c", buffers=both[0], sums="sram")
    operands: tuple[tuple[Operand, Matrix | None], ...] = (("a", matrices.a), ("b", matrices.b))
    outside = tuple(
        name
        for name, matrix in operands
        if matrix is not None
        and matrix.place == "dram"
        and (matrix.constant or not copying.only_constants)
    )
    subsets: set[tuple[Operand, ...]] = {(name,) for name in outside}
    subsets |= {outside} if outside else set()
    for copied in sorted(subsets):
        for buffers in both:
            yield Loops(copied=copied, order="c", buffers=buffers, sums="sram")
            for order in copied:
                yield Loops(copied=copied, order=order, buffers=buffers, sums="sram")
                yield Loops(copied=copied, order=order, buffers=buffers, sums="dram")


def _useful(grid: Grid, loops: Loops, product: GemmExtents) -> Grid:
    """Return the tiles that no other way with the same traffic and less room stands beside.

    Partial sums have a place only where K is cut in pieces, and so has the order that serves them.
    An operand that is not copied is not cut for its own sake.
    """
    keep = np.ones_like(grid.m, dtype=bool)
    if loops.order == "c" or loops.sums == "dram":
        keep &= grid.k < product.k
    if loops.order == "a" and loops.copied == ("a",):
        keep &= grid.n == product.n
    if loops.order == "b" and loops.copied == ("b",):
        keep &= grid.m == product.m
    return grid.where(keep)
