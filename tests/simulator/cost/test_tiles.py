# SPDX-License-Identifier: Apache-2.0
"""Ways to compute a product, against loops that are run tile by tile."""

from __future__ import annotations

from itertools import product as every

import numpy as np
import pytest
from cost_graphs import profile_with
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cost.array_reads import array_shape, block_count, split_cycles, tile_extents
from simulator.cost.engine import GemmExtents, gemm_cycles, heads_cycles
from simulator.cost.tile_choice import Beside, choice_of
from simulator.cost.tile_traffic import Copying, Loops, Matrices, Matrix, grid_of, room
from simulator.cost.tiles import ways_of
from simulator.profile import DotEngine, SystolicEngine

DOT = {"kind": "dot", "m": 2, "n": 3, "k": 4, "cycles_per_step": 1, "pipeline_depth": 0}


def dot(**changes):
    return DotEngine.model_validate(DOT | changes)


def systolic(dataflow, rows=3, columns=2, overlap="none"):
    return SystolicEngine(
        kind="systolic",
        rows=rows,
        columns=columns,
        dataflow=f"{dataflow}_stationary",
        overlap=overlap,
    )


def copying(sram=1, dram=1, *, double_buffer=True, only_constants=False):
    return Copying(bursts=(sram, dram), double_buffer=double_buffer, only_constants=only_constants)


def bytes_of(product):
    m, n, k, heads = product.m, product.n, product.k, product.heads
    return heads * m * k, heads * k * n, heads * m * n


def matrices(product, a="dram", b="dram", c="dram"):
    sizes = bytes_of(product)
    return Matrices(
        **{
            name: Matrix(bytes=size, run_bytes=size, place=place)
            for name, size, place in zip("abc", sizes, (a, b, c), strict=True)
        }
    )


def extents(m, k, n, heads=1):
    return GemmExtents(heads=heads, m=m, k=k, n=n, a_bits=8, b_bits=8, multiplied=(8, 8))


def cut(extent, piece):
    return [(start, min(start + piece, extent)) for start in range(0, extent, piece)]


def in_order(order, rows, columns, deep):
    if order == "a":
        return [(m, n, k) for m, k, n in every(rows, deep, columns)]
    if order == "b":
        return [(m, n, k) for n, k, m in every(columns, deep, rows)]
    return list(every(rows, columns, deep))


def by_loops(product, tiling, block):
    """Run the loops of one head: tiles that are loaded, what the array reads, partial sums."""
    found = dict.fromkeys(("load_a", "load_b", "read_a", "read_b", "sums", "open"), 0)
    loops = in_order(
        tiling.loops.order,
        cut(product.m, tiling.m),
        cut(product.n, tiling.n),
        cut(product.k, tiling.k),
    )
    here = {"a": None, "b": None}
    begun, unfinished = set(), {}
    for m, n, k in loops:
        height, width, depth = (end - start for start, end in (m, n, k))
        for name, tile, size in (("a", (m, k), height * depth), ("b", (k, n), depth * width)):
            if here[name] != tile:
                here[name] = tile
                found[f"load_{name}"] += size
        block_m, block_n = block[0] or height, block[1] or width
        for rows, columns in every(cut(height, block_m), cut(width, block_n)):
            found["read_a"] += (rows[1] - rows[0]) * depth
            found["read_b"] += (columns[1] - columns[0]) * depth
        if (m, n) in begun:
            found["sums"] += height * width
        begun.add((m, n))
        unfinished[m, n] = height * width
        found["open"] = max(found["open"], sum(unfinished.values()))
        if k[1] == product.k:
            del unfinished[m, n]
    return found


engines = st.sampled_from(
    [
        dot(),
        dot(accumulators=24),
        systolic("output"),
        systolic("weight"),
        systolic("input"),
        systolic("weight", overlap="fold"),
    ]
)
products = st.builds(
    extents, st.integers(1, 13), st.integers(1, 13), st.integers(1, 13), st.integers(1, 3)
)
places = st.sampled_from(["sram", "dram"])


@settings(max_examples=60)
@given(products, engines, places, places, places, st.booleans())
def test_traffic_and_room_are_those_of_the_loops(product, engine, a, b, c, double_buffer):
    ways = ways_of(
        product, matrices(product, a, b, c), engine, copying(double_buffer=double_buffer)
    )
    blocks = array_shape(engine).blocks
    result = bytes_of(product)[2]
    seen = {}
    for way in range(len(ways.m)):
        tiling = ways.tiling(way)
        number = seen[tiling] = seen.get(tiling, -1) + 1  # equal tiles differ in their blocks
        found = by_loops(product, tiling, blocks[number])
        moved = {"sram": [0, 0], "dram": [0, 0]}
        for name, place in (("a", a), ("b", b)):
            if name in tiling.loops.copied:
                assert place == "dram"
                moved["dram"][0] += found[f"load_{name}"] * product.heads
                moved["sram"][1] += found[f"load_{name}"] * product.heads
                moved["sram"][0] += found[f"read_{name}"] * product.heads
            else:
                moved[place][0] += found[f"read_{name}"] * product.heads
        moved[c][1] += result
        if tiling.sums != "array":
            for direction in (0, 1):
                moved[tiling.sums][direction] += 4 * found["sums"] * product.heads
        assert (ways.sram.read[way], ways.sram.written[way]) == tuple(moved["sram"])
        assert (ways.dram.read[way], ways.dram.written[way]) == tuple(moved["dram"])
        tiles = {"a": tiling.m * tiling.k, "b": tiling.k * tiling.n}
        room = tiling.loops.buffers * sum(tiles[name] for name in tiling.loops.copied)
        if tiling.sums == "sram":
            room += 4 * found["open"]
        assert tiling.room == room
        assert tiling.loops.buffers == (2 if double_buffer else 1) or tiling.loops.copied


@given(products, engines)
def test_whatever_is_copied_is_loaded_at_least_once(product, engine):
    ways = ways_of(product, matrices(product), engine, copying())
    size_a, size_b, size_c = bytes_of(product)
    assert ways.dram.read.min() >= size_a + size_b
    assert ways.dram.written.min() == size_c
    # Enough room loads everything once, without partial sums.
    best = ways.dram.bytes.argmin()
    assert ways.dram.bytes[best] == size_a + size_b + size_c


def test_reads_of_an_output_stationary_array():
    # M K ceil(N / C) and N K ceil(M / R), as in SCALE-Sim
    product = extents(197, 192, 576)
    engine = systolic("output", rows=16, columns=16)
    ways = ways_of(product, matrices(product, "sram", "sram", "sram"), engine, copying())
    assert ways.m.tolist() == [197]
    assert ways.sram.read.tolist() == [197 * 192 * 36 + 576 * 192 * 13]
    assert ways.sram.written.tolist() == [197 * 576]
    assert ways.dram.bytes.tolist() == [0]


def test_reads_of_the_other_dataflows():
    product = extents(197, 192, 576)
    for dataflow, reads in (
        ("weight", 197 * 192 * 36 + 576 * 192),
        ("input", 197 * 192 + 576 * 192 * 13),
    ):
        engine = systolic(dataflow, rows=16, columns=16)
        ways = ways_of(product, matrices(product, "sram", "sram", "sram"), engine, copying())
        assert ways.sram.read.tolist() == [reads]


def test_a_dot_engine_with_more_accumulators_reads_less():
    product = extents(197, 192, 576)
    least = []
    for accumulators in (None, 64, 2048, 1 << 18):
        engine = dot(m=4, n=8, k=8, accumulators=accumulators)
        ways = ways_of(product, matrices(product, "sram", "sram", "sram"), engine, copying())
        least.append(ways.sram.read.min())
    assert least[0] == 197 * 192 * 72 + 576 * 192 * 50
    # 64 rows and 32 columns, or 32 and 64: ceil(576 / 32), ceil(197 / 64)
    assert least[2] == min(197 * 192 * 18 + 576 * 192 * 4, 197 * 192 * 9 + 576 * 192 * 7)
    assert least[3] == 197 * 192 + 576 * 192
    assert least == sorted(least, reverse=True)


def test_a_constant_is_read_in_whole_bursts_a_column_tile_in_short_runs():
    product = extents(4, 6, 12)
    sizes = bytes_of(product)
    for constant, bursts in ((True, 5), (False, 6 * 3)):
        b = Matrix(bytes=sizes[1], run_bytes=sizes[1], place="dram", constant=constant)
        found = Matrices(a=None, b=b, c=None)
        ways = ways_of(product, found, systolic("output", rows=4, columns=4), copying(dram=16))
        copied = [ways.tiling(way).loops.copied == ("b",) for way in range(len(ways.m))]
        quarter = (ways.n == 4) & (ways.k == 6) & copied
        assert quarter.any()
        assert (ways.dram.read[quarter] == bursts * 16).all()


def test_only_constants_are_copied_where_the_profile_says_so():
    product = extents(8, 8, 8)
    ways = ways_of(product, matrices(product), dot(), copying(only_constants=True))
    assert {loops.copied for loops in ways.choices} == {()}


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), engines)
def test_twice_the_rows_in_whole_tiles_are_twice_the_tiles(tiles, m, n, k, engine):
    height = array_shape(engine).m * m
    once, twice = extents(tiles * height, k, 4 * n), extents(2 * tiles * height, k, 4 * n)

    def count(product):
        ways = ways_of(product, matrices(product), engine, copying())
        return {
            (tiling.n, tiling.k, tiling.loops): tiling.tiles
            for tiling in map(ways.tiling, range(len(ways.m)))
            if tiling.m == height and tiling.loops.copied == ("a", "b")
        }

    found, doubled = count(once), count(twice)
    assert found.keys() & doubled.keys()
    for way in found.keys() & doubled.keys():
        assert doubled[way] == 2 * found[way]


@given(products, engines, st.integers(1, 13))
def test_pieces_take_no_less_time(product, engine, piece):
    streamed = array_shape(engine).streamed
    if streamed is None:
        ways = ways_of(product, matrices(product), engine, copying())
        assert not ways.split.any()
        return
    longer = split_cycles(product, engine, streamed, piece)
    assert longer >= 0
    shapes = []
    for start, end in cut(getattr(product, streamed), piece):
        shape = {"m": product.m, "k": product.k, "n": product.n} | {streamed: end - start}
        shapes.append(product.heads * gemm_cycles(engine=engine, **shape))
    assert heads_cycles(product, engine) + longer == sum(shapes)


@pytest.mark.parametrize("halves", [False, True])
@given(extent=st.integers(1, 300), multiple=st.integers(1, 20))
def test_extents_of_tiles_are_multiples_or_all(halves, extent, multiple):
    found = tile_extents(extent, multiple, halves=halves)
    assert found == tuple(sorted(set(found)))
    assert found[-1] == extent
    assert found[0] == min(extent, multiple)
    assert all(each % multiple == 0 for each in found[:-1])


@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 20))
def test_block_count(extent, tile, block):
    counted = sum(len(cut(end - start, block or tile)) for start, end in cut(extent, tile))
    assert block_count(extent, np.array([tile]), np.array([block])).tolist() == [counted]


def test_heads_at_once_have_their_tiles_at_once():
    product = GemmExtents(heads=3, m=8, k=8, n=8, a_bits=8, b_bits=8, multiplied=(8, 8))
    engine = profile_with().compute.engine
    grid = grid_of(array_shape(engine), (8,), (8,), (8,))
    loops = Loops(copied=("a",), order="a", buffers=2, sums="sram")
    found = [room(product, grid, loops, heads).tolist() for heads in (1, 2, 8)]
    assert found == [[2 * 64], [2 * 2 * 64], [3 * 2 * 64]]


def test_every_tile_of_a_single_buffer_waits_for_the_latency():
    product = GemmExtents(heads=1, m=64, k=64, n=64, a_bits=8, b_bits=8, multiplied=(8, 8))
    outside = Matrix(bytes=64 * 64, run_bytes=64 * 64, place="dram", constant=True)
    quick, slow = (
        profile_with(memory__double_buffer=False, memory__dram_latency_cycles=cycles)
        for cycles in (0, 100)
    )
    copying, engine = Copying.by(quick.memory), quick.compute.engine
    ways = ways_of(product, Matrices(a=None, b=outside, c=None), engine, copying)
    beside = Beside(0, (0, 0), (0, 0))
    waits = choice_of(ways, beside, slow.memory).dram - choice_of(ways, beside, quick.memory).dram
    copied = [bool(ways.choices[index].copied) for index in ways.loops]
    expected = [tiles if each else 1 for tiles, each in zip(ways.tiles, copied, strict=True)]
    assert waits.tolist() == [100 * each for each in expected]
    assert max(expected) > 1
