# SPDX-License-Identifier: Apache-2.0
"""The forms of a right operand, which of them is exact for it, and what each asks of left codes."""

from __future__ import annotations

from enum import Enum

import numpy as np

from simulator.numerics.integer_type import IntArray
from simulator.numerics.jit import has_avx2, has_vnni
from simulator.simd.product.dot import multiplies_signed_bytes

PAIR, QUAD = 2, 4
CODE_RANGE = (1 << 15) - 1  # what 16 bits hold
CODE_LIMIT = 255  # the largest magnitude of an 8-bit code, as unsigned
SIGN = 128  # makes signed bytes unsigned


class Form(Enum):
    """How a right operand is packed, by the type of its panels; see the tile."""

    PAIRS = np.dtype(np.int16)
    QUADS = np.dtype(np.int8)
    VNNI = np.dtype(np.int32)


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


def form_of_activations(dtype: np.dtype) -> Form:
    """Return the fastest form of right operands that are packed for every image."""
    return Form.VNNI if has_vnni() and dtype == np.int8 else Form.PAIRS


def terms_per_step(form: Form) -> int:
    """Return how many terms of a column lie side by side: pairs, or quads."""
    return PAIR if form is Form.PAIRS else QUAD


def left_codes(form: Form, dtype: np.dtype) -> tuple[type[np.integer], int]:
    """Return the type of left codes that the tile reads, and what is added to make them so."""
    if form is Form.PAIRS:
        return np.int16, 0
    if dtype != np.int8:
        return np.uint8, 0
    if form is Form.VNNI and multiplies_signed_bytes():
        return np.int8, 0
    return np.uint8, SIGN


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
