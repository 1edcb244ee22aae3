# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way to the VNNI tile: right operands that are activations, packed for every image.

For products of one head packing and sums of columns take a noticeable share, so that all of it
happens in vector registers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from simulator.numerics.jit import kernel
from simulator.simd.lanes.vectors import (
    INT8,
    INT32,
    Values,
    address_of,
    constant,
    element,
    fill,
    intrinsic,
    load,
    loop,
    splat,
    store,
)
from simulator.simd.product.dot import add_quads, instruction_for
from simulator.simd.product.forms import QUAD
from simulator.simd.product.tile import STEP_BYTES, TILE_COLUMNS, VNNI_SHAPE

LINE = ir.VectorType(INT8, TILE_COLUMNS)
STEP = ir.VectorType(INT8, TILE_COLUMNS * STEP_BYTES)
CODES_AT_ONCE = 32
TURNED = 4  # quads that are turned at once: a square in registers of 128 bits
FOUR = ir.VectorType(INT32, TURNED)
ONES = 0x01010101


@kernel
def pack_quads(b, panels):
    """Write signed bytes ``b`` [K, N], contiguous, into int32 panels."""
    terms, count = b.shape
    flat = b.reshape(-1)
    whole = count // TILE_COLUMNS
    for index in range(panels.shape[0]):
        panel = panels[index]
        first = index * TILE_COLUMNS
        steps = terms // QUAD if index < whole else 0
        for s in range(steps):
            interleave_lines(flat, s * QUAD * count + first, count, panel, s * TILE_COLUMNS)
        _pack_one_by_one(b, first, steps * QUAD, panel)


@kernel
def _pack_one_by_one(b, first, begin, panel):
    """Write terms from ``begin`` on of 16 columns, and zeros behind the last term."""
    terms, count = b.shape
    at = begin // QUAD * TILE_COLUMNS
    panel[at:] = 0
    for k in range(begin, terms):
        for c in range(TILE_COLUMNS):
            code = np.int32(b[k, min(first + c, count - 1)]) & np.int32(255)
            place = k // QUAD * TILE_COLUMNS + c
            panel[place] = np.int32(panel[place] | (code << np.int32(8 * (k % QUAD))))


@kernel
def pack_quads_of_columns(columns, panels):
    """As :func:`pack_quads`, of contiguous ``columns`` [N, K] whose K is a multiple of 4."""
    count, terms = columns.shape
    quads = columns.view(np.int32)
    flat, steps = quads.reshape(-1), terms // QUAD
    for index in range(panels.shape[0]):
        panel = panels[index]
        first = index * TILE_COLUMNS
        panel[steps * TILE_COLUMNS :] = 0
        at_once = steps // TURNED * TURNED if first + TILE_COLUMNS <= count else 0
        for s in range(0, at_once, TURNED):
            turn_quads(flat, first * steps + s, steps, panel, s * TILE_COLUMNS)
        for c in range(TILE_COLUMNS):
            row = quads[min(first + c, count - 1)]
            for s in range(at_once, steps):
                panel[s * TILE_COLUMNS + c] = row[s]


@kernel
def sum_columns(panels, first, last, factor, sums):
    """``sums = factor`` times the sums of terms ``first`` to ``last``, multiples of 8, by column.

    ``sums`` is int32 [panels * 16].
    """
    flat = panels.reshape(-1)
    step = np.int64(STEP_BYTES * TILE_COLUMNS // panels.itemsize)
    for panel in range(panels.shape[0]):
        at = panel * panels.shape[1] + first // QUAD * step
        sum_panel(flat, at, (last - first) // QUAD, factor, sums, panel * TILE_COLUMNS)


@intrinsic
def shift_codes(typing, codes, codes_at, count, shifted, out, out_at):
    """Copy ``count`` codes, a multiple of 32, of any integer types, and add a number to them."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, codes_at, count, shifted, out, out_at = arguments
        kinds = [signature.args[position] for position in (0, 4)]
        lanes = [ir.IntType(kind.dtype.bitwidth) for kind in kinds]
        before, after = (ir.VectorType(lane, CODES_AT_ONCE) for lane in lanes)
        source = address_of(context, builder, kinds[0], codes, lanes[0])
        target = address_of(context, builder, kinds[1], out, lanes[1])
        addend = fill(builder, builder.trunc(shifted, lanes[1]), after)

        def some(first: Any, _: Values) -> list[Any]:
            loaded = load(builder, element(builder, source, (codes_at, 1), (first, 1)), before)
            if lanes[0].width < lanes[1].width:
                extend = builder.sext if kinds[0].dtype.signed else builder.zext
                loaded = extend(loaded, after)
            elif lanes[0].width > lanes[1].width:
                loaded = builder.trunc(loaded, after)
            place = element(builder, target, (out_at, 1), (first, 1))
            store(builder, builder.add(loaded, addend), place)
            return []

        loop(builder, constant(0), count, CODES_AT_ONCE, [], some)
        return context.get_dummy_value()

    return types.void(codes, index, index, index, out, index), generate


@intrinsic
def interleave_lines(typing, codes, codes_at, stride, panel, panel_at):
    """Write 4 lines of 16 bytes, ``stride`` apart, as 16 quads."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, codes_at, stride, panel, panel_at = arguments
        source = address_of(context, builder, signature.args[0], codes, INT8)
        target = address_of(context, builder, signature.args[3], panel, INT32)
        lines = [
            load(builder, element(builder, source, (codes_at, 1), (stride, term)), LINE)
            for term in range(QUAD)
        ]
        halves = [_joined(builder, lines[term : term + 2]) for term in (0, 2)]
        both = _joined(builder, halves)
        order = [term * TILE_COLUMNS + c for c in range(TILE_COLUMNS) for term in range(QUAD)]
        picked = ir.Constant(ir.VectorType(INT32, len(order)), order)
        quads = builder.shuffle_vector(both, both, picked)
        store(builder, quads, element(builder, target, (panel_at, 1)))
        return context.get_dummy_value()

    return types.void(codes, index, index, panel, index), generate


@intrinsic
def turn_quads(typing, quads, quads_at, stride, panel, panel_at):
    """Write 4 quads of each of 16 columns, ``stride`` apart, as 4 steps of 16 quads."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, quads_at, stride, panel, panel_at = arguments
        source = address_of(context, builder, signature.args[0], quads, INT32)
        target = address_of(context, builder, signature.args[3], panel, INT32)
        fours = []
        for first in range(0, TILE_COLUMNS, TURNED):
            rows = [
                load(builder, element(builder, source, (quads_at, 1), (stride, row)), FOUR)
                for row in range(first, first + TURNED)
            ]
            fours.append(_turned(builder, rows))
        for step in range(TURNED):
            parts = [four[step] for four in fours]
            halves = [_joined(builder, parts[part : part + 2]) for part in (0, 2)]
            place = element(builder, target, (panel_at, 1), (constant(TILE_COLUMNS), step))
            store(builder, _joined(builder, halves), place)
        return context.get_dummy_value()

    return types.void(quads, index, index, panel, index), generate


def _turned(builder: Any, rows: Values) -> list[Any]:
    """Return the columns of a square of 4 registers of 4 lanes."""

    def picked(a: Any, b: Any, lanes: Values) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(FOUR, list(lanes)))

    found = []
    for lanes in ((0, 4, 1, 5), (2, 6, 3, 7)):
        first, second = (picked(rows[i], rows[i + 1], lanes) for i in (0, 2))
        found += [picked(first, second, (0, 1, 4, 5)), picked(first, second, (2, 3, 6, 7))]
    return found


def _joined(builder: Any, registers: Values) -> Any:
    """Return two registers as one, twice as wide."""
    count = 2 * registers[0].type.count
    order = ir.Constant(ir.VectorType(INT32, count), list(range(count)))
    return builder.shuffle_vector(*registers, order)


@intrinsic
def sum_panel(typing, panel, panel_at, steps, factor, sums, sums_at):
    """Write ``factor`` times the sums of 16 packed columns: their products with ones."""
    index = types.intp

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        panel, panel_at, steps, factor, sums, sums_at = arguments
        source = address_of(context, builder, signature.args[0], panel, INT32)
        target = address_of(context, builder, signature.args[4], sums, INT32)
        register = VNNI_SHAPE.register
        parts = range(TILE_COLUMNS // register.count)
        instruction = instruction_for(signed_left=False)

        def one_step(step: Any, totals: list[Any]) -> list[Any]:
            for part in parts:
                offset = (constant(register.count), part)
                place = element(builder, source, (panel_at, 1), (step, TILE_COLUMNS), offset)
                quads = load(builder, place, register)
                ones = splat(register, ONES)
                totals[part] = add_quads(builder, totals[part], ones, quads, instruction, False)
            return totals

        nothing = [splat(register, 0) for _ in parts]
        totals = loop(builder, constant(0), steps, 1, nothing, one_step)
        factors = fill(builder, builder.trunc(factor, INT32), register)
        for part, total in zip(parts, totals, strict=True):
            place = element(builder, target, (sums_at, 1), (constant(register.count), part))
            store(builder, builder.mul(total, factors), place)
        return context.get_dummy_value()

    return types.void(panel, index, index, index, sums, index), generate
