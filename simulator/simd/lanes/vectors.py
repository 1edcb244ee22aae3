# SPDX-License-Identifier: Apache-2.0
"""LLVM vectors for kernels that Numba alone does not vectorize well: types, addresses, loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import extending

INT8, INT16, INT32, INT64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
# One register of 256 bits, in the ways the kernels look at it.
I8X32, I16X16, I32X8, I64X4 = (
    ir.VectorType(lane, 256 // lane.width) for lane in (INT8, INT16, INT32, INT64)
)
I32X16 = ir.VectorType(INT32, 16)  # of 512 bits: for products alone

LANES: int = I32X8.count  # of 32 bits: what most kernels take at a time

Values = Sequence[Any]


def intrinsic(function: Callable[..., Any]) -> Any:
    """Make a function that generates LLVM callable from kernels.

    It gets the types of the call's arguments, and returns the call's signature and a generator:
    see :func:`numba.extending.intrinsic`, whose result has no type that a checker could read.
    """
    return extending.intrinsic(function)


def constant(value: int) -> Any:
    """Return an index."""
    return ir.Constant(INT64, value)


def address_of(context: Any, builder: Any, kind: Any, array: Any, lane: Any) -> Any:
    """Return the address of an array's first element, seen as elements of type ``lane``."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(data, lane.as_pointer())


def element(builder: Any, start: Any, *steps: tuple[Any, int]) -> Any:
    """Return ``start`` moved by the sum of index times factor."""
    offset = constant(0)
    for index, factor in steps:
        offset = builder.add(offset, builder.mul(index, constant(factor)))
    return builder.gep(start, [offset])


def hidden(builder: Any, address: Any) -> Any:
    """Return an address whose origin the optimizer does not see: an assembly of no instruction."""
    kind = ir.FunctionType(address.type, [address.type])
    return builder.asm(kind, "", "=r,0", [address], False)


def load(builder: Any, place: Any, vector: Any) -> Any:
    """Load a register from an address of any alignment."""
    return builder.load(builder.bitcast(place, vector.as_pointer()), align=1)


def store(builder: Any, value: Any, place: Any) -> None:
    """Store a register at an address of any alignment."""
    builder.store(value, builder.bitcast(place, value.type.as_pointer()), align=1)


def broadcast(builder: Any, place: Any, lane: Any, vector: Any) -> Any:
    """Load one element of type ``lane`` into every place of a register, seen as ``vector``."""
    one = builder.load(builder.bitcast(place, lane.as_pointer()), align=1)
    lanes = vector.count * vector.element.width // lane.width
    return builder.bitcast(fill(builder, one, ir.VectorType(lane, lanes)), vector)


def loop(
    builder: Any,
    begin: Any,
    end: Any,
    step: int | Any,
    carried: Values,
    body: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:
    """Run ``body(index, carried)`` at least once, for indices below ``end``; return what it left.

    The carried values are registers: they meet no memory between the rounds.
    """
    before = builder.block
    block = builder.append_basic_block("loop")
    builder.branch(block)
    builder.position_at_end(block)
    index = builder.phi(INT64)
    index.add_incoming(begin, before)
    current = []
    for value in carried:
        phi = builder.phi(value.type)
        phi.add_incoming(value, before)
        current.append(phi)
    left = body(index, list(current))
    following = builder.add(index, constant(step) if isinstance(step, int) else step)
    last = builder.block
    index.add_incoming(following, last)
    for phi, value in zip(current, left, strict=True):
        phi.add_incoming(value, last)
    after = builder.append_basic_block("after")
    builder.cbranch(builder.icmp_signed("<", following, end), block, after)
    builder.position_at_end(after)
    return left


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call an LLVM intrinsic."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.module.declare_intrinsic(name, (), kind), arguments)


def splat(vector: Any, value: int) -> Any:
    """Return a register with one constant in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def fill(builder: Any, value: Any, vector: Any) -> Any:
    """Return a register with one value in every lane."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, undefined, zeros)


def smaller(builder: Any, a: Any, b: Any) -> Any:
    """Return the smaller of each pair of signed lanes."""
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def larger(builder: Any, a: Any, b: Any) -> Any:
    """Return the larger of each pair of signed lanes."""
    return builder.select(builder.icmp_signed(">", a, b), a, b)
