# SPDX-License-Identifier: Apache-2.0
"""Right operands as the tile kernel reads them, and strips of rows multiplied by them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2, has_vnni, kernel
from simulator.simd.product.dot import multiplies_signed_bytes
from simulator.simd.product.tile import STEP_BYTES, TILE_COLUMNS, TILE_ROWS, multiply_tile

# Rows whose sums are held together: their codes and sums stay in the second cache.
STRIP_ROWS = 8 * TILE_ROWS
# Terms after which the next columns are taken: 16 columns of as many pairs fill half a first cache.
BLOCK_TERMS = 512
PAIR, QUAD = 2, 4
TERMS_MULTIPLE = {PAIR: 4, QUAD: 8}  # two steps of the tile
CODE_RANGE = (1 << 15) - 1  # what 16 bits hold
CODE_LIMIT = 255  # the largest magnitude of an 8-bit code, as unsigned
SIGN = 128  # makes signed bytes unsigned


class Form(Enum):
    """How a right operand is packed, by the type of its panels; see the tile."""

    PAIRS = np.dtype(np.int16)
    QUADS = np.dtype(np.int8)
    VNNI = np.dtype(np.int32)


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


def left_codes(form: Form, dtype: np.dtype) -> tuple[type[np.integer], int]:
    """Return the type of left codes that the tile reads, and what is added to make them so."""
    if form is Form.PAIRS:
        return np.int16, 0
    if dtype != np.int8:
        return np.uint8, 0
    if form is Form.VNNI and multiplies_signed_bytes():
        return np.int8, 0
    return np.uint8, SIGN


def form_of(b: IntArray) -> Form:
    """Return the fastest exact form of a right operand of at most 8 bits."""
    if has_vnni() and b.dtype == np.int8:
        return Form.VNNI
    return Form.QUADS if exact_chunk(b) >= QUAD else Form.PAIRS


def forms_here() -> tuple[str, ...]:
    """Return the names of the forms that this CPU multiplies, the fastest first."""
    if not has_avx2():
        return ()
    plain = (Form.QUADS, Form.PAIRS)
    return tuple(form.name.lower() for form in ((Form.VNNI, *plain) if has_vnni() else plain))


def pairs_shape(terms: int, columns: int) -> tuple[int, int]:
    """Return the shape of the panels of a right operand that is packed as pairs."""
    multiple = TERMS_MULTIPLE[PAIR]
    return -(-columns // TILE_COLUMNS), -(-terms // multiple) * multiple * TILE_COLUMNS


def exact_chunk(b: IntArray) -> int:
    """Return how many quads of ``b`` [K, N] 16 bits hold with any left bytes, as an even number.

    A lane adds products of two terms in each quad, of one sign at worst.
    """
    if b.dtype != np.int8 or not b.size:
        return 0
    if max(int(b.max()), -int(b.min())) > CODE_RANGE // (QUAD * CODE_LIMIT):
        return 0  # one code alone leaves room for less than 4 quads
    pairs = np.zeros(((len(b) + 1) // 2 * 2, b.shape[1]), np.int64)
    pairs[: len(b)] = b
    in_twos = pairs.reshape(-1, 2, b.shape[1])
    above, below = np.maximum(in_twos, 0).sum(axis=1), np.minimum(in_twos, 0).sum(axis=1)
    largest = max(int(above.max()), -int(below.min()))
    quads = CODE_RANGE // (CODE_LIMIT * max(largest, 1))
    return min(quads, 64) // 2 * 2


def pack(b: IntArray, panels_multiple: int = 1, form: Form | None = None) -> Packed:
    """Pack codes of at most 8 bits [K, N], in the fastest form, or in one that is exact for them.

    :attr:`Form.QUADS` is exact where :func:`exact_chunk` is not 0, :attr:`Form.VNNI` for signed
    codes.
    """
    form = form or form_of(b)
    chunk = exact_chunk(b) if form is Form.QUADS else 0
    per_step = PAIR if form is Form.PAIRS else QUAD
    terms, columns = b.shape
    multiple = TERMS_MULTIPLE[per_step]
    padded = -(-terms // multiple) * multiple
    multiple = panels_multiple * TILE_COLUMNS
    panels = -(-columns // multiple) * panels_multiple
    dtype = np.int8 if per_step == QUAD else np.int16
    out: IntArray = np.empty((panels, padded * TILE_COLUMNS), dtype)
    if per_step == PAIR:
        pack_pairs(np.ascontiguousarray(b), out)
    else:
        pack_columns(np.ascontiguousarray(b.T), per_step, out)
    sums = padded_columns(b.sum(axis=0, dtype=np.int32), panels * TILE_COLUMNS)
    return Packed(
        out.view(form.value) if form is Form.VNNI else out, terms, columns, per_step, chunk, sums
    )


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
def pack_pairs_of_columns(columns, signed, out):
    """As :func:`pack_pairs`, of contiguous ``columns`` [N, K] of bytes with an even K.

    Two neighbouring bytes are read at once, and written at once as two 16-bit numbers.
    """
    count, terms = columns.shape
    twos = columns.view(np.uint16)
    sign = np.int32(128 if signed else 0)  # flipped and taken off, it extends the sign
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
    """``codes[:count] = a[start : start + count] + shifted``; padding stays as it is."""
    for i in range(count):
        row = a[start + i]
        for k in range(a.shape[1]):
            codes[i, k] = np.int16(row[k]) + np.int16(shifted)


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
    width = codes.shape[1]
    flat_codes = codes.reshape(-1)
    flat_panels = panels.reshape(-1)
    flat_sums = sums.reshape(-1)
    step = STEP_BYTES * TILE_COLUMNS // panels.itemsize  # elements of a panel
    for term in range(first, last, BLOCK_TERMS):
        steps = min(BLOCK_TERMS, last - term) // per_step
        for panel in range(panels.shape[0]):
            for i in range(0, count, TILE_ROWS):
                multiply_tile(
                    flat_codes,
                    i * width + term,
                    width,
                    flat_panels,
                    panel * panels.shape[1] + term // per_step * step,
                    steps,
                    chunk,
                    flat_sums,
                    i * sums.shape[1] + panel * TILE_COLUMNS,
                    sums.shape[1],
                )


@kernel
def start_sums(initial, count, sums):
    """``sums[:count] = initial``, int32 [columns]."""
    for i in range(count):
        for j in range(sums.shape[1]):
            sums[i, j] = initial[j]
