# SPDX-License-Identifier: Apache-2.0
"""The innermost part of a product: a tile of 6 rows and 16 columns, held in registers.

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
instruction for 32 products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types

from simulator.simd.lanes.vectors import (
    I8X32,
    I16X16,
    I32X8,
    INT8,
    INT32,
    Values,
    address_of,
    broadcast,
    call,
    constant,
    element,
    intrinsic,
    load,
    loop,
    store,
)
from simulator.simd.product.dot import add_quads, instruction_for

TILE_ROWS, REGISTERS = 6, 2
TILE_COLUMNS: int = REGISTERS * I32X8.count
UNROLLED = 2  # steps in one round of the loop
STEP_BYTES = 4  # of a left row, and of a column, in one step: two int16, or four bytes
SPOTS = [(row, register) for row in range(TILE_ROWS) for register in range(REGISTERS)]

# Adds the products of a left register and a right one, both int32 [8], to a register of sums.
Add = Callable[[Any, Any, Any], Any]


@intrinsic
def multiply_tile(
    typing, left, left_at, left_stride, packed, packed_at, steps, chunk, sums, sums_at, sums_stride
):
    """Add a product of 6 rows of ``left`` and 16 packed columns to a tile of ``sums``.

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
    sums
        int32, flat; rows of 16 sums start at ``sums_at``, ``sums_stride`` elements apart
    """
    index = types.intp
    signature = types.void(left, index, index, packed, index, index, index, sums, index, index)
    return signature, _quads if packed.dtype == types.int8 else _in_32_bits


def _in_32_bits(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Pairs and vnni: sums of 32 bits stay in registers to the end."""
    left, packed, sums, steps, _ = _places(context, builder, signature, arguments)
    kind = signature.args[0].dtype

    def pairs(total: Any, a: Any, b: Any) -> Any:
        seen = [builder.bitcast(codes, I16X16) for codes in (a, b)]
        return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, *seen))

    def quads(total: Any, a: Any, b: Any) -> Any:
        return add_quads(
            builder, total, a, b, instruction_for(signed_left=kind.signed), kind.signed
        )

    add = pairs if signature.args[3].dtype == types.int16 else quads
    start = [load(builder, place, I32X8) for place in sums]
    final = _steps(builder, left, packed, (constant(0), steps), add, start)
    for value, place in zip(final, sums, strict=True):
        store(builder, value, place)
    return context.get_dummy_value()


def _quads(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    left, packed, sums, steps, chunk = _places(context, builder, signature, arguments)
    nothing = [ir.Constant(I16X16, None)] * len(SPOTS)
    ones = ir.Constant(I16X16, [1] * I16X16.count)

    def add(total: Any, a: Any, b: Any) -> Any:
        seen = [builder.bitcast(codes, I8X32) for codes in (a, b)]
        return builder.add(total, call(builder, "llvm.x86.avx2.pmadd.ub.sw", I16X16, *seen))

    def one_chunk(begin: Any, _: Values) -> list[Any]:
        stop = builder.add(begin, chunk)
        stop = builder.select(builder.icmp_signed("<", stop, steps), stop, steps)
        partial = _steps(builder, left, packed, (begin, stop), add, nothing)
        for value, place in zip(partial, sums, strict=True):
            wide = call(builder, "llvm.x86.avx2.pmadd.wd", I32X8, value, ones)
            store(builder, builder.add(load(builder, place, I32X8), wide), place)
        return []

    loop(builder, constant(0), steps, chunk, [], one_chunk)
    return context.get_dummy_value()


def _places(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return addresses of the left rows, of the packed codes, of the tile's registers."""
    left, left_at, left_stride, packed, packed_at, steps, chunk, sums, sums_at, stride = arguments
    lane = ir.IntType(signature.args[0].dtype.bitwidth)
    start = address_of(context, builder, signature.args[0], left, lane)
    rows = [element(builder, start, (left_at, 1), (left_stride, row)) for row in range(TILE_ROWS)]
    lane = ir.IntType(signature.args[3].dtype.bitwidth)
    columns = element(
        builder, address_of(context, builder, signature.args[3], packed, lane), (packed_at, 1)
    )
    start = address_of(context, builder, signature.args[7], sums, INT32)
    tile = [
        element(builder, start, (sums_at, 1), (stride, row), (constant(I32X8.count), register))
        for row, register in SPOTS
    ]
    return rows, columns, tile, steps, chunk


def _steps(
    builder: Any, left: Values, packed: Any, limits: tuple[Any, Any], add: Add, start: Values
) -> list[Any]:
    """Add up the products of all steps between two limits, in registers."""
    left = [builder.bitcast(row, INT8.as_pointer()) for row in left]
    packed = builder.bitcast(packed, INT8.as_pointer())
    width = STEP_BYTES * I32X8.count

    def some_steps(first: Any, totals: list[Any]) -> list[Any]:
        for ahead in range(UNROLLED):
            step = builder.add(first, constant(ahead))
            places = [
                element(builder, packed, (step, REGISTERS * width), (constant(width), register))
                for register in range(REGISTERS)
            ]
            columns = [load(builder, place, I32X8) for place in places]
            for row in range(TILE_ROWS):
                place = element(builder, left[row], (step, STEP_BYTES))
                a = broadcast(builder, place, INT32, I32X8)
                for register in range(REGISTERS):
                    spot = row * REGISTERS + register
                    totals[spot] = add(totals[spot], a, columns[register])
        return totals

    return loop(builder, *limits, UNROLLED, start, some_steps)
