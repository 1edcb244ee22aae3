# SPDX-License-Identifier: Apache-2.0
"""The innermost part of a product: a tile of some rows and 16 columns, held in registers.

Three ways, by the type of the packed right operand:

``pairs`` (int16)
    ``vpmaddwd`` multiplies 16 pairs of 16-bit codes and adds neighbours in 32 bits: exact for any
    8-bit codes (and for 16-bit left codes as long as 32 bits hold the sum).
``quads`` (int8)
    ``vpmaddubsw`` multiplies 32 pairs of bytes and adds neighbours in 16 bits, where it saturates:
    exact while 16 bits hold what is added up in them. With weights of 4 bits that is true of 8
    steps on end; ``chunk`` says of how many, and then the sums move on to 32 bits.
``vnni`` (int32: a quad of signed bytes)
    one instruction multiplies 32 pairs of bytes and adds fours of the products to sums of 32 bits:
    exact for any 8-bit codes. See :mod:`simulator.simd.product.dot`.

The first two take a multiplication and an addition for 16 or 32 products, two of each in a cycle
at best: 32 or 64 products in a cycle and core, where float32 FMA makes 16. The third takes one
instruction for 32 products, or for 64 in registers of 512 bits.

A tile has 6 rows: with 16 columns they fill 12 of the 16 registers that CPUs without AVX-512 have.
In registers of 512 bits it has 8: as many as the addresses of its rows leave registers for.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types

from simulator.simd.lanes.vectors import (
    I8X32,
    I16X16,
    I32X8,
    I32X16,
    INT8,
    INT32,
    Values,
    address_of,
    broadcast,
    call,
    constant,
    element,
    hidden,
    intrinsic,
    load,
    loop,
    splat,
    store,
)
from simulator.simd.product.dot import add_quads, has_wide_vnni, instruction_for

TILE_COLUMNS = 16
UNROLLED = 2  # steps in one round of the loop
STEP_BYTES = 4  # of a left row, and of a column, in one step: two int16, or four bytes


class Shape(NamedTuple):
    """Rows of a tile, and the registers that hold one row's 16 sums."""

    rows: int
    register: Any  # an LLVM type of lanes of 32 bits

    @property
    def spots(self) -> list[tuple[int, int]]:
        """Return row and register of each register of sums."""
        return list(product(range(self.rows), range(TILE_COLUMNS // self.register.count)))


NARROW, WIDE = Shape(6, I32X8), Shape(8, I32X16)
TILE_ROWS = NARROW.rows
VNNI_SHAPE = WIDE if has_wide_vnni() else NARROW
VNNI_ROWS = VNNI_SHAPE.rows

# Adds the products of a left register and a right one, both seen as int32, to one of sums.
Add = Callable[[Any, Any, Any], Any]


@intrinsic
def multiply_tile(
    typing, left, left_at, left_stride, packed, packed_at, steps, chunk, start, start_at,
    start_stride, sums, sums_at, sums_stride,
):  # fmt: skip
    """Write ``start`` plus a product of some rows of ``left`` and 16 packed columns.

    Parameters
    ----------
    left
        int16, uint8 or int8, flat; rows of codes start at ``left_at``, ``left_stride`` elements
        apart
    packed
        int16 (pairs), int8 (quads) or int32 (vnni), flat; from ``packed_at`` on, for each step, the
        step's 2 or 4 codes of every column
    steps
        how many pairs or quads of terms there are: a multiple of 2
    chunk
        for quads: how many of them 16 bits hold; a multiple of 2
    start, sums
        int32, flat; rows of 16 sums start at ``start_at``, ``start_stride`` elements apart
    """
    index = types.intp
    signature = types.void(
        left, index, index, packed, index, index, index, start, index, index, sums, index, index
    )  # fmt: skip

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_vnni = packed.dtype == types.int32
        shape = VNNI_SHAPE if is_vnni else NARROW
        places = _places(context, builder, signature.args, arguments, shape)
        if packed.dtype == types.int8:
            _in_16_bits(builder, places, arguments[5:7], shape)
        else:
            add = quads_added(builder, left.dtype.signed) if is_vnni else pairs_added(builder)
            multiply_in_32_bits(builder, places, arguments[5], shape, add)
        return context.get_dummy_value()

    return signature, generate


class Places(NamedTuple):
    """Addresses: of the left rows, of the packed codes, of the registers before and after."""

    rows: list[Any]
    columns: Any
    start: list[Any]
    sums: list[Any]


def _places(context: Any, builder: Any, kinds: Any, arguments: Any, shape: Shape) -> Places:
    def place(position: int) -> Any:
        lane = ir.IntType(kinds[position].dtype.bitwidth)
        return address_of(context, builder, kinds[position], arguments[position], lane)

    def tile(position: int) -> list[Any]:
        first, at, stride = place(position), arguments[position + 1], arguments[position + 2]
        lanes = shape.register.count
        return [
            element(builder, first, (at, 1), (stride, row), (constant(lanes), register))
            for row, register in shape.spots
        ]

    left, at, stride = place(0), arguments[1], arguments[2]
    rows = [element(builder, left, (at, 1), (stride, row)) for row in range(shape.rows)]
    columns = element(builder, place(3), (arguments[4], 1))
    in_bytes = [builder.bitcast(address, INT8.as_pointer()) for address in (*rows, columns)]
    return Places(in_bytes[:-1], in_bytes[-1], tile(7), tile(10))


def pairs_added(builder: Any) -> Add:
    """Return how pairs are multiplied and added."""

    def add(total: Any, a: Any, b: Any) -> Any:
        seen = [builder.bitcast(codes, I16X16) for codes in (a, b)]
        return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, *seen))

    return add


def quads_added(builder: Any, signed_left: bool, instruction: str | None = None) -> Add:
    """Return how quads are, by an instruction, or by the one that this CPU has."""
    instruction = instruction or instruction_for(signed_left=signed_left)

    def add(total: Any, a: Any, b: Any) -> Any:
        return add_quads(builder, total, a, b, instruction, signed_left)

    return add


def multiply_in_32_bits(builder: Any, places: Places, steps: Any, shape: Shape, add: Add) -> None:
    """Pairs and vnni: sums of 32 bits stay in registers to the end."""
    start = [load(builder, place, shape.register) for place in places.start]
    final = _steps(builder, places, (constant(0), steps), shape, add, start)
    for value, place in zip(final, places.sums, strict=True):
        store(builder, value, place)


def _in_16_bits(builder: Any, places: Places, counts: Values, shape: Shape) -> None:
    """Quads: sums of 16 bits, added to those of 32 after each chunk."""
    steps, chunk = counts
    nothing = [ir.Constant(I16X16, None)] * len(places.sums)
    ones = splat(I16X16, 1)
    for source, target in zip(places.start, places.sums, strict=True):
        store(builder, load(builder, source, I32X8), target)

    def add(total: Any, a: Any, b: Any) -> Any:
        seen = [builder.bitcast(codes, I8X32) for codes in (a, b)]
        return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.ub.sw", I16X16, *seen))

    def one_chunk(begin: Any, _: Values) -> list[Any]:
        stop = builder.add(begin, chunk)
        stop = builder.select(builder.icmp_signed("<", stop, steps), stop, steps)
        partial = _steps(builder, places, (begin, stop), shape, add, nothing)
        for value, place in zip(partial, places.sums, strict=True):
            wide = call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, value, ones)
            store(builder, builder.add(load(builder, place, I32X8), wide), place)
        return []

    loop(builder, constant(0), steps, chunk, [], one_chunk)


def _steps(
    builder: Any, places: Places, limits: tuple[Any, Any], shape: Shape, add: Add, start: Values
) -> list[Any]:
    """Add up the products of all steps between two limits, in registers."""
    rows = places.rows
    if shape.rows <= NARROW.rows:
        # Each row's address in a register of its own: told that they are multiples of a stride, the
        # compiler adds them up anew in each step. There is no room for more rows.
        rows = [hidden(builder, address) for address in rows]
    width = STEP_BYTES * shape.register.count
    registers = range(TILE_COLUMNS // shape.register.count)

    def some_steps(first: Any, totals: list[Any]) -> list[Any]:
        for ahead in range(UNROLLED):
            step = builder.add(first, constant(ahead))
            columns = [
                element(
                    builder, places.columns, (step, STEP_BYTES * TILE_COLUMNS), (constant(r), width)
                )
                for r in registers
            ]
            columns = [load(builder, place, shape.register) for place in columns]
            for row in range(shape.rows):
                place = element(builder, rows[row], (step, STEP_BYTES))
                a = broadcast(builder, place, INT32, shape.register)
                for register in registers:
                    spot = row * len(registers) + register
                    totals[spot] = add(totals[spot], a, columns[register])
        return totals

    return loop(builder, *limits, UNROLLED, start, some_steps)
