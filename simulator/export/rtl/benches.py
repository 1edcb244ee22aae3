# SPDX-License-Identifier: Apache-2.0
"""For every op how its elements are fed: loops, operands, the constants that go with an element."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from enum import Enum
from math import prod
from types import MappingProxyType

import numpy as np

from simulator.errors import InputError
from simulator.export.rtl.bench import (
    Bench,
    Loop,
    Part,
    Rom,
    Stream,
    broadcast_strides,
    loops_over,
    strides_of,
)
from simulator.export.rtl.groups import group_loops
from simulator.export.rtl.sums import accumulator_parameters
from simulator.export.rtl.vectors import OpVectors
from simulator.golden.manifest import RESULT, array_names
from simulator.graph.op import Op, Requantization, residual_of
from simulator.graph.ops import (
    SPECS,
    AnyMatMul,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    MatMul,
    Mean,
    NormalizedMatMul,
    ScaledMatMul,
)
from simulator.numerics.float_type import Array, FloatType
from simulator.numerics.integer_type import IntType

TERM = "term"  # the loop over what is summed


def bench_of(vectors: OpVectors, part: Part = Part.WHOLE) -> Bench:
    """Return the testbench of an op, or of a part of one that sums and requantizes.

    Raises
    ------
    InputError
        If the op only moves codes, reads or writes real values, or has no such part.
    """
    op = vectors.op
    kind = type(op).__name__
    if SPECS[type(op)].moves_codes:
        raise InputError(
            f"op {op.name}: {kind} only moves codes, it has no arithmetic to hold hardware to; "
            "its result is that of the op before it in another order"
        )
    for name in array_names(op).values():
        if isinstance(vectors.tensor(name).type, FloatType):
            raise InputError(
                f"op {op.name}: tensor {name} of this {kind} holds real values; testbenches are of "
                "integers"
            )
    if part is not Part.WHOLE and not isinstance(op, MatMul | Mean):
        raise InputError(f"op {op.name}: {kind} has no part {part}, only MatMul and Mean have")
    if part is Part.REQUANTIZATION:
        return _requantization(vectors)
    return _BENCHES.get(type(op), _by_element)(vectors, part)


def _channel_streams(
    vectors: OpVectors, loops: tuple[Loop, ...], at: int, without: tuple[str, ...]
) -> tuple[tuple[Stream, ...], tuple[Rom, ...]]:
    """Return the constants with one code per channel, loop ``at`` being that of channels.

    The others are tables. Constants ``without`` are left out.
    """
    streams, roms = [], []
    tables = SPECS[type(vectors.op)].own_shapes
    operands = (*vectors.op.operand_fields, RESULT)
    for name, tensor in array_names(vectors.op).items():
        if name in operands or name in without:
            continue
        kind, words = vectors.tensor(tensor).code_type, vectors.graph.constants[tensor]
        if name in tables:
            roms.append(Rom(name=name, kind=kind, words=words))
            continue
        words = np.ascontiguousarray(np.broadcast_to(words, (loops[at].extent,)))
        strides = tuple(int(place == at) for place in range(len(loops)))
        streams.append(Stream(name=name, kind=kind, words=words, strides=strides))
    return tuple(streams), tuple(roms)


def _operand(vectors: OpVectors, field: str, strides: tuple[int, ...]) -> Stream:
    name = getattr(vectors.op, field)
    constant = vectors.graph.is_constant(name)
    words = vectors.graph.constants[name] if constant else vectors.activations[name]
    return Stream(name=field, kind=vectors.tensor(name).code_type, words=words, strides=strides)


def _numbers(vectors: OpVectors) -> Mapping[str, int | str]:
    """Return what of an op is one number or word; zero points of operands and of the result."""
    op = vectors.op
    found: dict[str, int | str] = {}
    holders: tuple[Op | Requantization, ...] = (op, *op.requantizations)
    for holder in holders:
        for field in fields(holder):
            value = getattr(holder, field.name)
            if isinstance(value, Enum | bool):
                found[field.name] = str(value).lower()
            elif isinstance(value, int):
                found[field.name] = value
    accumulator = getattr(op, "accumulator", None)
    if accumulator is not None:
        found |= {"accumulator": str(accumulator), "bias_stage": str(accumulator.bias)}
    for field_name in op.operand_fields:
        name = getattr(op, field_name)
        if isinstance(name, str):
            found[f"{field_name}_zero_point"] = vectors.tensor(name).zero_point
    found["zero_point"] = vectors.tensor(op.name).zero_point
    return MappingProxyType(found)


def _accumulators(vectors: OpVectors) -> tuple[Array, IntType]:
    """Return the accumulators of every result, and the type of their register."""
    bits = accumulator_parameters(vectors)["ACCUMULATOR_BITS"]
    assert isinstance(bits, int)
    sums = vectors.inner("accumulator")
    return sums.reshape(vectors.result.shape), IntType(bits=bits)


def _bench(
    vectors: OpVectors,
    loops: tuple[Loop, ...],
    operands: tuple[Stream, ...],
    channel_loop: int,
    part: Part,
) -> Bench:
    without: tuple[str, ...] = ()
    result, kind = vectors.result, vectors.tensor(vectors.op.name).code_type
    if part is Part.SUMS:
        result, kind = _accumulators(vectors)
        without = ("multiplier", "shift", "residual_multiplier")
    elif part is Part.REQUANTIZATION:
        without = ("bias",)
    constants, roms = _channel_streams(vectors, loops, channel_loop, without)
    return Bench(
        op=vectors.op.name,
        formula=type(vectors.op).__name__,
        part=part,
        loops=loops,
        streams=operands + constants,
        result=result,
        result_kind=kind,
        sums=loops[-1].name == TERM,
        numbers=_numbers(vectors),
        roms=roms,
    )


def _requantization(vectors: OpVectors) -> Bench:
    """Return the bench of what follows an accumulator."""
    words, kind = _accumulators(vectors)
    loops, strides = loops_over(words.shape), strides_of(words.shape)
    operands = [Stream(name="accumulator", kind=kind, words=words, strides=strides)]
    if residual_of(vectors.op) is not None:
        operands.append(_operand(vectors, "residual", strides))
    return _bench(vectors, loops, tuple(operands), len(loops) - 1, Part.REQUANTIZATION)


def _matmul(vectors: OpVectors, part: Part) -> Bench:
    op = vectors.op
    assert isinstance(op, MatMul)
    loops, operands = _of_matrices(vectors, op)
    if op.residual is not None and part is Part.WHOLE:
        operands.append(_operand(vectors, "residual", (*strides_of(vectors.result.shape), 0)))
    return _bench(vectors, loops, tuple(operands), len(loops) - 2, part)


def _normalized_matmul(vectors: OpVectors, part: Part) -> Bench:
    """Return the bench of a MatMul of codes."""
    op = vectors.op
    assert isinstance(op, NormalizedMatMul)
    loops, operands = _of_matrices(vectors, op)
    return _bench(vectors, loops, tuple(operands), len(loops) - 2, part)


def _of_a(vectors: OpVectors, op: AnyMatMul | NormalizedMatMul) -> tuple[int, ...]:
    """Return the shape of the left operand of all images: the rows of the result, K terms each."""
    return (*vectors.result.shape[:-1], vectors.tensor(op.a).shape[-1])


def _of_matrices(
    vectors: OpVectors, op: AnyMatMul | NormalizedMatMul
) -> tuple[tuple[Loop, ...], list[Stream]]:
    """Return the loops of a matrix product, and its two operands."""
    weights = vectors.graph.is_constant(op.b)
    result = vectors.result.shape
    loops = (*loops_over(result), Loop(name=TERM, extent=vectors.tensor(op.a).shape[-1]))
    a = (*strides_of(_of_a(vectors, op))[:-1], 0, 1)
    b_shape = vectors.tensor(op.b).shape
    matrix = prod(b_shape[-2:])
    column, term = (b_shape[-1], 1) if op.transpose_b else (1, b_shape[-1])
    outer = [0] * (len(result) - 1)
    if not weights:  # a matrix of its own for every image, head and so on; none of the rows
        outer[:-1] = [matrix * stride for stride in strides_of(result[:-2])]
    return loops, [_operand(vectors, "a", a), _operand(vectors, "b", (*outer, column, term))]


def _scaled_matmul(vectors: OpVectors, part: Part) -> Bench:
    """Return the bench of a MatMul, with factors and an exponent beside each product."""
    op = vectors.op
    assert isinstance(op, ScaledMatMul)
    result = vectors.result.shape
    loops, operands = _of_matrices(vectors, op)
    rows = strides_of(result[:-1])
    if op.row_factor is not None:
        operands.append(_operand(vectors, "row_factor", (*rows, 0, 0)))
    if op.column_factor is not None:
        of_matrix = [result[-1] * stride for stride in strides_of(result[:-2])]
        operands.append(_operand(vectors, "column_factor", (*of_matrix, 0, 1, 0)))
    if op.block_exponent is not None:
        exponents = _operand(
            vectors, "block_exponent", (*strides_of(_of_a(vectors, op))[:-1], 0, 1)
        )
        operands.append(replace(exponents, words=np.repeat(exponents.words, op.block, axis=-1)))
    if op.residual is not None:
        operands.append(_operand(vectors, "residual", (*strides_of(result), 0)))
    return _bench(vectors, loops, tuple(operands), len(loops) - 2, part)


def _mean(vectors: OpVectors, part: Part) -> Bench:
    op = vectors.op
    assert isinstance(op, Mean)
    shape = (vectors.images, *vectors.tensor(op.a).shape)
    axis = op.axis + 1
    strides = strides_of(shape)
    kept = [place for place in range(len(shape)) if place != axis]
    names = loops_over(shape)
    loops = (*(names[place] for place in kept), Loop(name=TERM, extent=shape[axis]))
    a = _operand(vectors, "a", (*(strides[place] for place in kept), strides[axis]))
    return _bench(vectors, loops, (a,), len(loops) - 2, part)


def _group_scale(vectors: OpVectors, part: Part) -> Bench:
    loops, strides = group_loops(vectors, TERM)
    return _bench(vectors, loops, (_operand(vectors, "a", strides["a"]),), len(loops) - 2, part)


def _group_codes(vectors: OpVectors, part: Part) -> Bench:
    """Codes group by group: the last of each has ``in_last``."""
    loops, strides = group_loops(vectors, "member")
    operands = tuple(_operand(vectors, name, strides[name]) for name in vectors.op.operand_fields)
    return _bench(vectors, loops, operands, len(loops) - 1, part)


def _by_element(vectors: OpVectors, part: Part) -> Bench:
    """Return the bench of an op with one result per element, along rows of the last dimension."""
    shape = vectors.result.shape
    loops = loops_over(shape)
    operands = []
    for field in vectors.op.operand_fields:
        name = getattr(vectors.op, field)
        images = () if vectors.graph.is_constant(name) else (vectors.images,)
        try:
            strides = broadcast_strides((*images, *vectors.tensor(name).shape), shape)
        except ValueError as error:
            raise InputError(f"op {vectors.op.name}: operand {name}: {error}") from error
        operands.append(_operand(vectors, field, strides))
    return _bench(vectors, loops, tuple(operands), len(loops) - 1, part)


_BENCHES: Mapping[type[Op], Callable[[OpVectors, Part], Bench]] = MappingProxyType(
    {
        MatMul: _matmul,
        ScaledMatMul: _scaled_matmul,
        NormalizedMatMul: _normalized_matmul,
        Mean: _mean,
        GroupMaximum: _group_scale,
        GroupExponent: _group_scale,
        GroupQuantize: _group_codes,
        GroupShift: _group_codes,
    }
)
