# SPDX-License-Identifier: Apache-2.0
"""What a product moves over both ports, and the room that it takes, tile by tile.

With A and B copied, A is moved once where its tiles stay while B's pass, or where it is one tile.
Otherwise it is moved once for each tile of columns, M K ceil(N / tn) elements, and B likewise,
N K ceil(M / tm). Partial sums make a round trip of 8 bytes for every piece of K but the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from simulator.cost.array_reads import ArrayShape, block_count
from simulator.cost.engine import GemmExtents
from simulator.cost.ports import Numbers, PortTraffic, bytes_of_bursts, no_traffic
from simulator.profile.cost import MemorySection

Place = Literal["sram", "dram"]
Operand = Literal["a", "b"]
Order = Literal["a", "b", "c"]
SUM_BYTES = 4  # int32


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """An operand or the result of a product: bytes in all, of one contiguous run, and its place.

    ``constant`` is true of weights, which are stored in the order in which they are needed.
    """

    bytes: int
    run_bytes: int
    place: Place
    constant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrices:
    """The matrices of ``A x B = C``; None for one that the step does not move."""

    a: Matrix | None
    b: Matrix | None
    c: Matrix | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Copying:
    """How a chip moves tiles: what decides on ways to compute a product, and no bandwidth.

    Attributes
    ----------
    bursts
        bytes of a burst of the SRAM's and of the DRAM's port
    double_buffer, only_constants
        of the profile's keys ``memory.double_buffer`` and ``memory.tiles_of``
    """

    bursts: tuple[int, int]
    double_buffer: bool
    only_constants: bool

    @classmethod
    def by(cls, memory: MemorySection) -> Self:
        """Return how the chip with this memory moves tiles."""
        return cls(
            bursts=(
                memory.sram_port.burst_bytes if memory.sram_port else 1,
                memory.dram_burst_bytes or 1,
            ),
            double_buffer=memory.double_buffer is not False,
            only_constants=memory.tiles_of == "constants",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """What is tiled, and how.

    Attributes
    ----------
    copied
        the operands that are copied into SRAM tile by tile
    order
        what stays while the innermost loop runs: a tile of ``a``, of ``b`` or of the result ``c``
    buffers
        2 where the next tile is loaded during the work on one, else 1
    sums
        where partial sums wait if K is cut in pieces
    """

    copied: tuple[Operand, ...]
    order: Order
    buffers: int
    sums: Place


@dataclass(frozen=True, slots=True)
class Grid:
    """Extents of tiles, and of blocks of the array; an element of every array for each choice."""

    m: Numbers
    n: Numbers
    k: Numbers
    block_m: Numbers
    block_n: Numbers

    def where(self, keep: Any) -> Grid:
        """Return the choices for which ``keep`` is true."""
        return Grid(
            self.m[keep], self.n[keep], self.k[keep], self.block_m[keep], self.block_n[keep]
        )


def grid_of(array: ArrayShape, m: Sequence[int], n: Sequence[int], k: Sequence[int]) -> Grid:
    """Return every combination of extents and blocks."""
    numbers = range(len(array.blocks))
    axes = [axis.ravel() for axis in np.meshgrid(m, n, k, numbers, indexing="ij")]
    blocks = np.array(array.blocks, dtype=np.int64)[axes[3]]
    return Grid(axes[0], axes[1], axes[2], blocks[:, 0], blocks[:, 1])


def joined_grids(grids: Sequence[Grid]) -> Grid:
    """Return the choices of several grids, one after the other."""
    names = ("m", "n", "k", "block_m", "block_n")
    return Grid(*(np.concatenate([getattr(grid, name) for grid in grids]) for name in names))


def tile_count(product: GemmExtents, grid: Grid) -> Numbers:
    """Return how many tiles there are, of all heads."""
    down, across, deep = pieces(product, grid)
    return product.heads * down * across * deep


def pieces(product: GemmExtents, grid: Grid) -> tuple[Numbers, Numbers, Numbers]:
    """Return in how many pieces M, N and K are cut."""
    return -(-product.m // grid.m), -(-product.n // grid.n), -(-product.k // grid.k)


def room(product: GemmExtents, grid: Grid, loops: Loops, heads: int) -> Numbers:
    """Return the bytes of SRAM for the tiles of ``heads`` products at once, and their sums."""
    tiles = np.zeros_like(grid.m)
    if "a" in loops.copied:
        tiles += -(-grid.m * grid.k * product.a_bits // 8)
    if "b" in loops.copied:
        tiles += -(-grid.k * grid.n * product.b_bits // 8)
    sums = {"a": grid.m * product.n, "b": product.m * grid.n, "c": grid.m * grid.n}[loops.order]
    held = (grid.k < product.k) & (loops.sums == "sram")
    at_once: Numbers = loops.buffers * tiles + held * sums * SUM_BYTES
    return min(heads, product.heads) * at_once


def product_traffic(
    product: GemmExtents, matrices: Matrices, grid: Grid, loops: Loops, bursts: tuple[int, int]
) -> dict[Place, PortTraffic]:
    """Return what both ports move in bursts of so many bytes."""
    moved = _Moved(bursts, len(grid.m))
    a, b, c = matrices.a, matrices.b, matrices.c
    down, across, deep = pieces(product, grid)
    if a is not None:
        stays = (loops.order == "a") | (down * deep == 1)
        loads = np.where(stays, 1, across)
        run = np.where(grid.k < product.k, grid.k * product.a_bits // 8, a.run_bytes)
        reads = block_count(product.n, grid.n, grid.block_n)
        moved.operand(a, reads, loads, run, "a" in loops.copied)
    if b is not None:
        stays = (loops.order == "b") | (across * deep == 1)
        loads = np.where(stays, 1, down)
        run = np.where(grid.n < product.n, grid.n * product.b_bits // 8, b.run_bytes)
        reads = block_count(product.m, grid.m, grid.block_m)
        moved.operand(b, reads, loads, run, "b" in loops.copied)
    if c is not None:
        moved.add(c.place, "written", c.bytes, _result_runs(product, c, grid), 1)
    trips = deep - 1
    size = SUM_BYTES * product.heads * product.m * product.n
    moved.add(loops.sums, "written", size, size, trips)
    moved.add(loops.sums, "read", size, size, trips)
    return moved.ports


def _result_runs(product: GemmExtents, c: Matrix, grid: Grid) -> Numbers:
    """Return the bytes of a result that the array writes to DRAM one after the other.

    A row of its block; in SRAM, blocks lie as the result does.
    """
    if c.place == "sram":
        return np.full_like(grid.n, c.run_bytes)
    columns = np.minimum(grid.n, np.where(grid.block_n == 0, product.n, grid.block_n))
    row = c.bytes * columns // (product.heads * product.m * product.n)
    return np.where(columns < product.n, np.minimum(row, c.run_bytes), c.run_bytes)


class _Moved:
    """Sums of what both ports move."""

    def __init__(self, bursts: tuple[int, int], count: int) -> None:
        self._burst = {"sram": bursts[0], "dram": bursts[1]}
        self.ports: dict[Place, PortTraffic] = {
            "sram": no_traffic(count),
            "dram": no_traffic(count),
        }

    def add(
        self, port: Place, way: Literal["read", "written"], size: int, run: Any, times: Any
    ) -> None:
        """Add ``size`` bytes in runs, so many times."""
        bursts = bytes_of_bursts(size, np.asarray(run), self._burst[port]) * times
        np.add(getattr(self.ports[port], way), bursts, out=getattr(self.ports[port], way))

    def operand(self, matrix: Matrix, reads: Any, loads: Any, tile_run: Any, copied: bool) -> None:
        """Add an operand that the array reads so often, and that is loaded so often if copied."""
        if not copied:
            self.add(matrix.place, "read", matrix.bytes, matrix.run_bytes, reads)
            return
        run = matrix.run_bytes if matrix.constant else np.minimum(tile_run, matrix.run_bytes)
        self.add("dram", "read", matrix.bytes, run, loads)
        self.add("sram", "written", matrix.bytes, matrix.run_bytes, loads)
        self.add("sram", "read", matrix.bytes, matrix.run_bytes, reads)
