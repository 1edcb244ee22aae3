# SPDX-License-Identifier: Apache-2.0
"""Right operands as the tile kernel reads them, and strips of rows multiplied by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import kernel
from simulator.simd.product.forms import (
    PAIR,
    QUAD,
    SIGN,
    Form,
    exact_chunk,
    form_of,
    left_codes,
    terms_per_step,
)
from simulator.simd.product.quads import CODES_AT_ONCE, pack_quads, shift_codes, sum_columns
from simulator.simd.product.tile import (
    STEP_BYTES,
    TILE_COLUMNS,
    TILE_ROWS,
    VNNI_ROWS,
    multiply_tile,
)

# Rows whose sums are held together, a multiple of those of a tile of any form: their codes and sums
# stay in the second cache.
STRIP_ROWS = 48
# Bytes of 16 columns after which the next columns are taken: they fill half a first cache.
BLOCK_BYTES = 1 << 14
TERMS_MULTIPLE = {PAIR: 4, QUAD: 8}  # two steps of the tile


@dataclass(frozen=True, slots=True)
class Packed:
    """A right operand [K, N] in panels of 16 columns.

    Attributes
    ----------
    panels
        int16 or int8 [panels, padded K * 16], or int32 [panels, padded K * 4]: for each pair or
        quad of terms, those terms of every column; missing terms are zero, missing columns repeat
        the last
    terms, columns
        K and N
    per_step
        2: pairs, or 4: quads
    chunk
        quads that may be added up in 16 bits, where they are
    column_sums
        int32 [panels * 16]: the sum of each column, for left codes that are shifted by a constant
    """

    panels: IntArray
    terms: int
    columns: int
    per_step: int
    chunk: int
    column_sums: NDArray[np.int32]

    @property
    def padded_terms(self) -> int:
        """K with its padding."""
        step_bytes = STEP_BYTES * TILE_COLUMNS
        return int(self.panels.shape[1]) * self.panels.itemsize // step_bytes * self.per_step

    @property
    def form(self) -> Form:
        """What the tile does with it."""
        return Form(self.panels.dtype)


@dataclass(frozen=True, slots=True)
class LeftForm:
    """Left codes as the tile reads them beside a right operand.

    Attributes
    ----------
    dtype
        16-bit numbers, or bytes
    shifted
        what is added to the codes
    initial
        int32 [panels * 16]: what sums start with to undo that
    """

    dtype: type[np.integer]
    shifted: int
    initial: NDArray[np.int32]


def left_form(packed: Packed, dtype: np.dtype) -> LeftForm:
    """Return what becomes of left codes of a type: bytes are unsigned beside quads, mostly."""
    left, shifted = left_codes(packed.form, dtype)
    return LeftForm(left, shifted, np.int32(-shifted) * packed.column_sums)


def empty_panels(terms: int, columns: int, form: Form, panels_multiple: int = 1) -> IntArray:
    """Allocate panels of a right operand [K, N]; see :class:`Packed`."""
    steps = padded_terms(terms, form) // terms_per_step(form)
    width = steps * STEP_BYTES * TILE_COLUMNS // form.value.itemsize
    panels = -(-columns // (panels_multiple * TILE_COLUMNS)) * panels_multiple
    return np.empty((panels, width), form.value)


def padded_terms(terms: int, form: Form) -> int:
    """Return K with its padding."""
    multiple = TERMS_MULTIPLE[terms_per_step(form)]
    return -(-terms // multiple) * multiple


def pack(b: IntArray, panels_multiple: int = 1, form: Form | None = None) -> Packed:
    """Pack codes of at most 8 bits [K, N], in the fastest form, or in one that is exact for them.

    :attr:`Form.QUADS` is exact where :func:`exact_chunk` is not 0, :attr:`Form.VNNI` for signed
    codes.
    """
    form = form or form_of(b)
    chunk = exact_chunk(b) if form is Form.QUADS else 0
    per_step = terms_per_step(form)
    terms, columns = b.shape
    panels = empty_panels(terms, columns, form, panels_multiple)
    sums = np.empty(len(panels) * TILE_COLUMNS, np.int32)
    if form is Form.VNNI:
        pack_quads(np.ascontiguousarray(b), panels)
        sum_columns(panels, 0, padded_terms(terms, form), 1, sums)
        return Packed(panels, terms, columns, per_step, chunk, sums)
    if form is Form.PAIRS:
        pack_pairs(np.ascontiguousarray(b), panels)
    else:
        pack_columns(np.ascontiguousarray(b.T), per_step, panels)
    sums = padded_columns(b.sum(axis=0, dtype=np.int32), len(sums))
    return Packed(panels, terms, columns, per_step, chunk, sums)


def padded_columns(vector: NDArray[Any], length: int) -> NDArray[Any]:
    """Repeat the last entries [..., N] up to whole panels: padding columns equal the last."""
    missing = length - vector.shape[-1]
    return np.pad(vector, [(0, 0)] * (vector.ndim - 1) + [(0, missing)], mode="edge")


@kernel
def pack_columns(columns, per_step, out):
    """Write ``columns`` [N, K] into panels [panels, padded K * 16].

    Missing terms are zero, missing columns are the last one: their sums are sums that there are.
    """
    count, terms = columns.shape
    step = TILE_COLUMNS * per_step
    whole = terms // per_step
    for index in range(out.shape[0]):
        panel = out[index]
        first = index * TILE_COLUMNS
        if whole * step < panel.shape[0]:
            panel[whole * step :] = 0
        for s in range(whole):
            for c in range(TILE_COLUMNS):
                column = columns[min(first + c, count - 1)]
                for t in range(per_step):
                    panel[s * step + c * per_step + t] = column[s * per_step + t]
        for k in range(whole * per_step, terms):
            for c in range(TILE_COLUMNS):
                code = columns[min(first + c, count - 1), k]
                panel[whole * step + c * per_step + k - whole * per_step] = code


@kernel
def pack_pairs(b, out):
    """Write ``b`` [K, N], contiguous, into int16 panels: quick, for products of activations."""
    terms, count = b.shape
    step = TILE_COLUMNS * PAIR
    for index in range(out.shape[0]):
        panel = out[index]
        first = index * TILE_COLUMNS
        whole = terms // PAIR * step
        if whole < panel.shape[0]:
            panel[whole:] = 0
        for k in range(0, terms - 1, PAIR):
            even, odd = b[k], b[k + 1]
            at = k // PAIR * step
            if first + TILE_COLUMNS <= count:
                for c in range(TILE_COLUMNS):
                    panel[at + 2 * c] = even[first + c]
                    panel[at + 2 * c + 1] = odd[first + c]
            else:
                for c in range(TILE_COLUMNS):
                    panel[at + 2 * c] = even[min(first + c, count - 1)]
                    panel[at + 2 * c + 1] = odd[min(first + c, count - 1)]
        if terms % PAIR:
            for c in range(TILE_COLUMNS):
                panel[whole + 2 * c] = b[terms - 1, min(first + c, count - 1)]


@kernel
def pack_pairs_of_columns(columns, out):
    """As :func:`pack_pairs`, of contiguous ``columns`` [N, K] of bytes with an even K.

    Two neighbouring bytes are read at once, and written at once as two 16-bit numbers.
    """
    count, terms = columns.shape
    twos = columns.view(np.uint16)
    # Flipped and taken off, it extends the sign.
    sign = np.int32(SIGN if np.iinfo(columns.dtype).min else 0)
    for index in range(out.shape[0]):
        panel = out[index].view(np.uint32)
        first = index * TILE_COLUMNS
        panel[terms // PAIR * TILE_COLUMNS :] = 0
        for c in range(TILE_COLUMNS):
            row = twos[min(first + c, count - 1)]
            for s in range(terms // PAIR):
                both = np.int32(row[s])
                even = ((both & np.int32(255)) ^ sign) - sign
                odd = ((both >> np.int32(8)) ^ sign) - sign
                panel[s * TILE_COLUMNS + c] = np.uint32((even & 0xFFFF) | (odd << 16))


@kernel
def transpose_codes(a, out):
    """``out = a.T`` for contiguous codes, in blocks that stay in registers and caches."""
    rows, columns = a.shape
    for i in range(0, rows, TILE_COLUMNS):
        height = min(TILE_COLUMNS, rows - i)
        for j in range(columns):
            line = out[j]
            for r in range(height):
                line[i + r] = a[i + r, j]


@kernel
def take_rows(a, start, count, shifted, codes):
    """``codes[:count] = a[start : start + count] + shifted``; padding stays as it is.

    Both are contiguous. What is added wraps: a signed byte plus 128 is an unsigned one.
    """
    terms, width = a.shape[1], codes.shape[1]
    source, target = a.reshape(-1), codes.reshape(-1)
    whole = terms // CODES_AT_ONCE * CODES_AT_ONCE
    for i in range(count):
        first = (start + i) * terms
        if whole:
            shift_codes(source, first, whole, shifted, target, i * width)
        for k in range(whole, terms):
            codes[i, k] = np.int16(source[first + k]) + np.int16(shifted)


@kernel
def multiply_terms(codes, count, first, last, panels, per_step, chunk, sums):
    """Add some terms of the product of ``count`` rows of codes and panels to ``sums``.

    Parameters
    ----------
    codes
        int16, uint8 or int8 [48, padded K]
    first, last
        the terms to take, of the padded ones: multiples of two steps
    panels, per_step, chunk
        see :class:`Packed`
    sums
        int32 [48, panels * 16]
    """
    flat, width = sums.reshape(-1), sums.shape[1]
    block = block_terms(per_step)
    for term in range(first, last, block):
        terms = min(block, last - term)
        multiply_block(
            codes, count, term, terms, panels, per_step, chunk, flat, 0, width, flat, 0, width
        )


@kernel
def multiply_from(
    initial, codes, count, first, last, panels, per_step, chunk, sums, sums_at, sums_stride
):
    """As :func:`multiply_terms`, but write ``initial``, int32 [panels * 16], plus the product.

    ``sums`` is flat; its rows start at ``sums_at``, ``sums_stride`` apart. Rows beyond ``count``
    are written, too, up to a whole tile.
    """
    block = block_terms(per_step)
    terms = min(block, last - first)
    multiply_block(
        codes, count, first, terms, panels, per_step, chunk, initial, 0, 0, sums, sums_at,
        sums_stride,
    )  # fmt: skip
    for term in range(first + block, last, block):
        terms = min(block, last - term)
        multiply_block(
            codes, count, term, terms, panels, per_step, chunk, sums, sums_at, sums_stride, sums,
            sums_at, sums_stride,
        )  # fmt: skip


@kernel
def block_terms(per_step):
    """Return how many terms are taken of 16 columns on end."""
    return BLOCK_BYTES // (STEP_BYTES * TILE_COLUMNS) * per_step


@kernel
def multiply_block(
    codes, count, first, terms, panels, per_step, chunk, start, start_at, start_stride, sums,
    sums_at, sums_stride,
):  # fmt: skip
    """Write ``start`` plus the product of ``terms`` terms, both flat, into ``sums``."""
    flat_codes, flat_panels = codes.reshape(-1), panels.reshape(-1)
    width = codes.shape[1]
    step = STEP_BYTES * TILE_COLUMNS // panels.itemsize  # elements of a panel
    rows = VNNI_ROWS if panels.itemsize == STEP_BYTES else TILE_ROWS
    for panel in range(panels.shape[0]):
        column = panel * TILE_COLUMNS
        for i in range(0, count, rows):
            multiply_tile(
                flat_codes,
                i * width + first,
                width,
                flat_panels,
                panel * panels.shape[1] + first // per_step * step,
                terms // per_step,
                chunk,
                start,
                start_at + i * start_stride + column,
                start_stride,
                sums,
                sums_at + i * sums_stride + column,
                sums_stride,
            )
