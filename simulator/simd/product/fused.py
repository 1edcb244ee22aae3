# SPDX-License-Identifier: Apache-2.0
"""A product and its requantization in one pass: sums stay in the second cache."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.numerics.jit import kernel
from simulator.simd.lanes.requantize_row import requantize_row
from simulator.simd.product.forms import PAIR, QUAD, Form
from simulator.simd.product.packing import (
    STRIP_ROWS,
    multiply_from,
    pack_pairs,
    pack_pairs_of_columns,
    take_rows,
    transpose_codes,
)
from simulator.simd.product.quads import pack_quads, pack_quads_of_columns, sum_columns
from simulator.simd.product.tile import TILE_COLUMNS


@kernel
def multiply_and_requantize(
    a, shifted, panels, per_step, chunk, initial, codes, sums, requantizer, extremes, out, out_at,
    columns,
):  # fmt: skip
    """Requantize ``initial + a @ b`` [M, N] into ``out`` from ``out_at`` on; count what saturates.

    Parameters
    ----------
    a
        codes [M, K]
    shifted
        what is added to left codes, to make them unsigned
    panels, per_step, chunk
        see :class:`simulator.simd.product.packing.Packed`
    initial
        int32 [panels * 16]: what the sums start with
    codes, sums
        scratch: int16 or uint8 [48, padded K], int32 [48, panels * 16]
    requantizer
        of :func:`simulator.simd.lanes.requantize_row.requantize_row`, padded as the panels
    extremes
        int32 [16]: least and largest sums, lane by lane
    out
        flat codes, with room behind the last row (:mod:`simulator.simd.lanes.padded_codes`):
        padding is written, and overwritten
    """
    saturated = 0
    for start in range(0, a.shape[0], STRIP_ROWS):
        count = min(STRIP_ROWS, a.shape[0] - start)
        take_rows(a, start, count, shifted, codes)
        multiply_from(
            initial, codes, count, 0, codes.shape[1], panels, per_step, chunk, sums.reshape(-1), 0,
            sums.shape[1],
        )  # fmt: skip
        place = out_at + start * columns
        saturated += requantize_strip(sums, count, requantizer, extremes, out, place, columns)
    return saturated


@kernel
def requantize_strip(sums, count, requantizer, extremes, out, out_at, columns):
    """Requantize ``count`` rows of sums into ``out`` from ``out_at`` on; count what saturates."""
    saturated = 0
    width = sums.shape[1]
    flat = sums.reshape(-1)
    for i in range(count):
        place = out_at + i * columns
        saturated += requantize_row(flat, i * width, out, place, requantizer, extremes)
    return saturated


def _multiply_activations_by(pack_right: Any) -> Any:
    """Return the kernel of products of activations whose right operands are packed in one way."""

    @kernel
    def multiply_activations(
        lefts, rights, transposed, shifted, panels, per_step, initial, codes, sums, requantizer,
        extremes, out,
    ):  # fmt: skip
        """Requantize ``lefts[i] @ rights[i]`` for every i into ``out``, flat; count what saturates.

        ``rights`` is [B, K, N], or [B, N, K] where ``transposed``. The rest as above;
        ``initial`` is scratch.
        """
        columns = rights.shape[1] if transposed else rights.shape[2]
        turned = np.empty((rights.shape[2], rights.shape[1]), rights.dtype)
        saturated = 0
        for i in range(lefts.shape[0]):
            pack_right(rights[i], transposed, turned, shifted, panels, initial)
            saturated += multiply_and_requantize(
                lefts[i], shifted, panels, per_step, 0, initial, codes, sums, requantizer, extremes,
                out, i * lefts.shape[1] * columns, columns,
            )  # fmt: skip
        return saturated

    return multiply_activations


@kernel
def pack_right_pairs(b, transposed, turned, shifted, panels, initial):
    """Pack [K, N], or [N, K], as pairs; ``turned`` is scratch for the other order."""
    initial[:] = 0
    if transposed and b.shape[1] % PAIR == 0:
        pack_pairs_of_columns(b, panels)
    elif transposed:
        transpose_codes(b, turned)
        pack_pairs(turned, panels)
    else:
        pack_pairs(b, panels)


@kernel
def pack_right_quads(b, transposed, turned, shifted, panels, initial):
    """Pack signed bytes for VNNI; set what sums start with where left codes are ``shifted``."""
    if transposed and b.shape[1] % QUAD == 0:
        pack_quads_of_columns(b, panels)
    elif transposed:
        transpose_codes(b, turned)
        pack_quads(turned, panels)
    else:
        pack_quads(b, panels)
    if shifted:
        sum_columns(panels, 0, panels.shape[1] // TILE_COLUMNS * QUAD, -shifted, initial)
    else:
        initial[:] = 0


MULTIPLY_ACTIVATIONS: Mapping[Form, Any] = MappingProxyType(
    {
        Form.PAIRS: _multiply_activations_by(pack_right_pairs),
        Form.VNNI: _multiply_activations_by(pack_right_quads),
    }
)
