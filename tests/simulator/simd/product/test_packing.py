# SPDX-License-Identifier: Apache-2.0
"""Right operands in panels, left rows beside them, and their products, in every form."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.gemm.protocol import LONGEST_INT32_SUM
from simulator.numerics.jit import has_avx2
from simulator.simd.product import dot, forms
from simulator.simd.product.forms import Form, form_of, left_codes, terms_per_step
from simulator.simd.product.fused import pack_right_pairs, pack_right_quads
from simulator.simd.product.packing import (
    STRIP_ROWS,
    empty_panels,
    left_form,
    multiply_from,
    multiply_terms,
    pack,
    padded_terms,
    take_rows,
)
from simulator.simd.product.quads import sum_columns
from simulator.simd.product.tile import TILE_COLUMNS

pytestmark = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
RANDOM = np.random.default_rng(5)
ENDS = {np.int8: (-128, 127), np.uint8: (0, 255)}
SHAPES = [(1, 1), (3, 16), (4, 17), (7, 33), (8, 48), (64, 197), (197, 64), (1030, 5)]


def codes(kind, *shape):
    low, high = ENDS[kind]
    found = RANDOM.integers(low, high, shape, kind, endpoint=True)
    return np.where(RANDOM.random(shape) < 0.5, RANDOM.choice([low, high], shape), found).astype(
        kind
    )


def panels_of(b, form):
    """Pack by the definition, in plain Python."""
    per_step = terms_per_step(form)
    terms, columns = b.shape
    panels = -(-columns // TILE_COLUMNS)
    steps = padded_terms(terms, form) // per_step
    kind = np.int16 if form is Form.PAIRS else np.int8
    out = np.zeros((panels, steps, TILE_COLUMNS, per_step), kind)
    for panel in range(panels):
        for c in range(TILE_COLUMNS):
            column = min(panel * TILE_COLUMNS + c, columns - 1)
            for k in range(terms):
                out[panel, k // per_step, c, k % per_step] = b[k, column]
    return out.reshape(panels, -1).view(form.value)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(("terms", "columns"), SHAPES)
def test_panels_are_what_they_are_defined_to_be(form, terms, columns):
    b = codes(np.int8, terms, columns)
    packed = pack(b, form=form)
    assert packed.panels.dtype == form.value
    assert np.array_equal(packed.panels, panels_of(b, form))
    assert packed.padded_terms == padded_terms(terms, form)
    assert (packed.form, packed.terms, packed.columns) == (form, terms, columns)
    assert np.array_equal(packed.column_sums[:columns], b.sum(axis=0, dtype=np.int32))
    assert (packed.column_sums[columns:] == packed.column_sums[columns - 1]).all()


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("terms", "columns"), SHAPES)
def test_activations_are_packed_alike(kind, transposed, terms, columns):
    b = codes(kind, terms, columns)
    given = np.ascontiguousarray(b.T) if transposed else b
    for form, pack_right in ((Form.PAIRS, pack_right_pairs), (Form.VNNI, pack_right_quads)):
        if form is Form.VNNI and kind != np.int8:
            continue
        panels = empty_panels(terms, columns, form)
        initial = np.full(len(panels) * TILE_COLUMNS, 77, np.int32)
        turned = np.empty_like(b)
        shifted = 128 if form is Form.VNNI else 0
        pack_right(given, transposed, turned, shifted, panels, initial)
        assert np.array_equal(panels, panels_of(b, form))
        expected = -shifted * b.sum(axis=0, dtype=np.int64)
        assert np.array_equal(initial[:columns], expected)
        pack_right(given, transposed, turned, 0, panels, initial)
        assert not initial.any()


def test_sums_of_some_terms():
    b = codes(np.int8, 200, 21)
    packed = pack(b, 2, Form.VNNI)
    sums = np.empty(len(packed.panels) * TILE_COLUMNS, np.int32)
    for first, last in ((0, 8), (96, 192), (192, 200)):
        sum_columns(packed.panels, first, last, -3, sums)
        assert np.array_equal(sums[:21], -3 * b[first:last].sum(axis=0, dtype=np.int32))
        assert (sums[21:] == sums[20]).all()


@pytest.mark.parametrize(("kind", "out"), [(np.int8, np.uint8), (np.uint8, np.uint8),
                                           (np.int8, np.int16), (np.uint8, np.int16)])  # fmt: skip
def test_left_rows_are_shifted_and_their_padding_stays(kind, out):
    shifted = 128 if (kind, out) == (np.int8, np.uint8) else 0
    for terms in (1, 31, 32, 33, 100):
        a = codes(kind, 9, terms)
        taken = np.full((STRIP_ROWS, terms + 4), 99, out)
        take_rows(a, 2, 6, shifted, taken)
        assert np.array_equal(taken[:6, :terms], a[2:8].astype(np.int64) + shifted)
        assert (taken[6:] == 99).all()
        assert (taken[:, terms:] == 99).all()


def products(a, b, form):
    """Multiply at once, and in two parts of the terms onto sums that are there."""
    packed = pack(b, form=form)
    left = left_form(packed, a.dtype)
    taken = np.zeros((STRIP_ROWS, packed.padded_terms), left.dtype)
    take_rows(a, 0, len(a), left.shifted, taken)
    how = packed.panels, packed.per_step, packed.chunk
    width = len(left.initial)
    whole, parts = (np.full((STRIP_ROWS, width), 55, np.int32) for _ in range(2))
    multiply_from(
        left.initial, taken, len(a), 0, packed.padded_terms, *how, whole.reshape(-1), 0, width
    )
    parts[:] = left.initial
    middle = packed.padded_terms // 2 // 8 * 8
    for first, last in ((0, middle), (middle, packed.padded_terms)):
        multiply_terms(taken, len(a), first, last, *how, parts)
    return whole[: len(a), : b.shape[1]], parts[: len(a), : b.shape[1]]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize(("rows", "terms", "columns"), [(1, 1, 1), (6, 64, 16), (7, 1100, 19),
                                                        (48, 30, 33)])  # fmt: skip
def test_products_are_exact_in_every_form(form, kind, rows, terms, columns):
    a = codes(kind, rows, terms)
    b = codes(np.int8, terms, columns)
    if form is Form.QUADS:
        b = (b // 16).astype(np.int8)  # 4 bits: -8 to 7
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for found in products(a, b, form):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize(("form", "codes_of_b"), [(Form.PAIRS, (-128, 127)), (Form.QUADS, (-8, 7)),
                                                  (Form.VNNI, (-128, 127))])  # fmt: skip
@pytest.mark.parametrize("kind", ENDS)
def test_the_longest_sums_are_exact(form, codes_of_b, kind):
    """Near 2^31, beyond it on the way where left codes are shifted."""
    a = np.stack([np.full(LONGEST_INT32_SUM, end) for end in ENDS[kind]]).astype(kind)
    b = np.stack([np.full(LONGEST_INT32_SUM, end) for end in codes_of_b], axis=1).astype(np.int8)
    expected = a.astype(np.int64) @ b.astype(np.int64)
    for found in products(a, b, form):
        assert np.array_equal(found, expected)


CPUS = {  # what a CPU has, and the form of signed bytes and left codes there
    "avx2": ({"avx2"}, Form.PAIRS, (np.int16, 0)),
    "avx512 without vl": ({"avx2", "avx512vnni"}, Form.PAIRS, (np.int16, 0)),
    "avx-vnni": ({"avx2", "avxvnni"}, Form.VNNI, (np.uint8, 128)),
    "avx512-vnni": ({"avx2", "avx512vl", "avx512vnni"}, Form.VNNI, (np.uint8, 128)),
    "avx-vnni-int8": ({"avx2", "avxvnni", "avxvnniint8"}, Form.VNNI, (np.int8, 0)),
    "all": ({"avx2", "avx512vl", "avx512vnni", "avxvnni", "avxvnniint8"}, Form.VNNI,
            (np.uint8, 128)),  # 512 bits, although left codes are shifted
}  # fmt: skip


@pytest.mark.parametrize("cpu", CPUS)
def test_the_form_follows_the_cpu(cpu, monkeypatch):
    has, form, left = CPUS[cpu]
    monkeypatch.setattr("simulator.numerics.jit.cpu_features", lambda: dict.fromkeys(has, True))
    monkeypatch.setattr(dot, "cpu_features", lambda: dict.fromkeys(has, True))
    signed, unsigned = codes(np.int8, 16, 4), codes(np.uint8, 16, 4)
    assert form_of(signed) is forms.form_of_activations(signed.dtype) is form
    assert left_codes(form, np.dtype(np.int8)) == left
    assert form_of(unsigned) is forms.form_of_activations(unsigned.dtype) is Form.PAIRS
    if form is Form.VNNI:
        assert left_codes(form, np.dtype(np.uint8)) == (np.uint8, 0)
        assert dot.instruction_for(signed_left=False) == dot.VPDPBUSD
        taken_as_signed = dot.instruction_for(signed_left=True) == dot.VPDPBSSD
        assert taken_as_signed == (left[0] is np.int8)
    else:
        narrow = (signed // 16).astype(np.int8)
        assert form_of(narrow) is Form.QUADS
        assert left_codes(Form.QUADS, np.dtype(np.int8)) == (np.uint8, 128)
