# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import EnvironmentProblem
from simulator.gemm import (
    BACKENDS,
    BlasGemm,
    NumbaGemm,
    backend,
    is_exact,
    limit_threads_of_this_thread,
    one_thread_per_worker,
    selection,
)
from simulator.numerics.jit import has_avx2

LEFT, RIGHT = {"u8": np.uint8, "s8": np.int8}, {"u8": np.uint8, "s8": np.int8}
EXTREMES = {np.uint8: (0, 255, 254, 1), np.int8: (-128, 127, -127, 0)}
USABLE = [name for name in BACKENDS if name != "avx2" or has_avx2()]
every_backend = pytest.mark.parametrize("name", USABLE)


def exact(a, b):
    return a.astype(np.int64) @ b.astype(np.int64)


def matrices(left, right, terms, rows=3, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    a = rng.choice(np.array(EXTREMES[left]), (rows, terms)).astype(left)
    b = rng.choice(np.array(EXTREMES[right]), (terms, columns)).astype(right)
    return a, b


def assert_exact(gemm, a, b):
    product = gemm.prepare(b)(a)
    assert np.issubdtype(product.dtype, np.integer)
    assert np.array_equal(product, exact(a, b))


@every_backend
@pytest.mark.parametrize("left", [np.uint8, np.int8])
@pytest.mark.parametrize("right", [np.uint8, np.int8])
def test_the_largest_products_are_exact_for_any_length(name, left, right):
    gemm = backend(name)
    for terms in (1, 2, 3, 16, 255, 258, 259, 513, 514, 515, 1029, 2000):
        for a_code in EXTREMES[left][:2]:
            for b_code in EXTREMES[right][:2]:
                a = np.full((2, terms), a_code, left)
                b = np.full((terms, 3), b_code, right)
                a[1, 0], b[0, 2] = EXTREMES[left][3], EXTREMES[right][3]
                assert_exact(gemm, a, b)


@every_backend
@pytest.mark.parametrize(("right", "code"), [(np.int8, -128), (np.uint8, 255)])
def test_sums_beyond_32_bits_are_exact(name, right, code):
    for terms in (33000, 33100, 66100):
        a, b = np.full((1, terms), 255, np.uint8), np.full((terms, 1), code, right)
        assert backend(name).prepare(b)(a).tolist() == [[terms * 255 * code]]


@every_backend
@pytest.mark.parametrize("left", [np.uint8, np.int8])
@pytest.mark.parametrize("right", [np.uint8, np.int8])
def test_extreme_codes_in_any_order_are_exact(name, left, right):
    for seed, terms in enumerate((1, 7, 64, 600, 2000)):
        a, b = matrices(left, right, terms, seed=seed)
        assert_exact(backend(name), a, b)


@every_backend
@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 9), st.integers(0, 10**6))
def test_any_shape_is_exact(name, rows, terms, columns, seed):
    rng = np.random.default_rng(seed)
    left, right = rng.choice([np.uint8, np.int8], 2)
    a, b = (
        rng.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
        for kind, shape in ((left, (rows, terms)), (right, (terms, columns)))
    )
    assert_exact(backend(name), a, b)


@every_backend
@pytest.mark.parametrize("left", [np.uint8, np.int8])
def test_views_are_exact(name, left):
    a, b = matrices(left, np.int8, 40, rows=8, columns=12)
    gemm = backend(name)
    assert_exact(gemm, a[::2], b)
    assert_exact(gemm, a[:, ::2], b[1::2])
    assert_exact(gemm, a[:, ::-1], b[::-1, ::3])
    assert_exact(gemm, np.asfortranarray(a), np.asfortranarray(b))
    assert_exact(gemm, np.ascontiguousarray(a.T).T, np.ascontiguousarray(b.T).T)
    assert_exact(gemm, np.broadcast_to(a[0], (4, 40)), b)


@every_backend
def test_operands_are_left_as_they_were(name):
    a, b = matrices(np.uint8, np.int8, 600)
    before = a.copy(), b.copy()
    product = backend(name).prepare(b)
    first = product(a).copy()
    assert np.array_equal(product(a), first)
    assert np.array_equal(a, before[0])
    assert np.array_equal(b, before[1])


@every_backend
def test_operands_may_be_read_only(name):
    a, b = matrices(np.int8, np.int8, 40)
    columns = np.ascontiguousarray(b.T)
    a.flags.writeable = columns.flags.writeable = False
    assert_exact(backend(name), a, columns.T)


@every_backend
@pytest.mark.parametrize(
    ("left", "right"),
    [(np.int16, np.int8), (np.int16, np.int16), (np.uint8, np.int16), (np.uint16, np.uint16)],
)
def test_wider_operands_are_exact(name, left, right):
    rng = np.random.default_rng(1)
    a, b = (
        rng.choice([np.iinfo(kind).min, np.iinfo(kind).max], shape).astype(kind)
        for kind, shape in ((left, (3, 70)), (right, (70, 4)))
    )
    assert_exact(backend(name), a, b)


class Saturating:
    """A product whose pairs of terms pass a 16-bit register, as AVX2's vpmaddubsw."""

    name = "saturating"

    def prepare(self, b):
        def product(a):
            pairs = []
            for k in range(0, a.shape[1], 2):
                part = exact(a[:, k : k + 2], b[k : k + 2])
                pairs.append(np.clip(part, -(1 << 15), (1 << 15) - 1))
            return np.sum(pairs, axis=0)

        return product


class OneBlock(BlasGemm):
    """Float32 sums of any length: inexact beyond 2^24."""

    name = "one block"

    def prepare(self, b):
        return lambda a: (a.astype(np.float32) @ b.astype(np.float32)).astype(np.int64)


class Unsigned(NumbaGemm):
    """Takes the bytes of a signed operand for unsigned ones."""

    def prepare(self, b):
        return lambda a: super(Unsigned, self).prepare(b)(a.view(np.uint8))


@every_backend
def test_every_backend_passes_the_trial(name):
    assert is_exact(BACKENDS[name]())


@pytest.mark.parametrize("broken", [Saturating(), OneBlock(), Unsigned()])
def test_a_broken_backend_fails_the_trial(broken):
    assert not is_exact(broken)


def test_a_backend_that_is_not_exact_here_is_refused(monkeypatch):
    monkeypatch.setattr(selection, "BACKENDS", {"broken": Saturating, "numba": NumbaGemm})
    with pytest.raises(EnvironmentProblem, match="'broken': not exact on this CPU"):
        backend.__wrapped__("broken")


def test_a_backend_that_cannot_be_imported_is_refused(monkeypatch):
    def missing():
        raise ImportError("no such library")

    monkeypatch.setattr(selection, "BACKENDS", {"missing": missing, "numba": NumbaGemm})
    with pytest.raises(EnvironmentProblem, match="'missing': cannot be imported"):
        backend.__wrapped__("missing")


def test_an_unknown_backend_is_an_error_that_names_the_known_ones():
    with pytest.raises(
        EnvironmentProblem, match="'nonsense': choose auto, avx2, torch, blas, numba"
    ):
        backend("nonsense")


def test_a_backend_is_made_once():
    assert backend("numba") is backend("numba")


def test_products_stay_exact_with_one_thread():
    a, b = matrices(np.uint8, np.int8, 300, rows=40, columns=20)

    def multiply(name):
        limit_threads_of_this_thread(backend(name))
        return backend(name).prepare(b)(a)

    usable = [backend(name) for name in USABLE]
    with one_thread_per_worker(*usable), ThreadPoolExecutor(1) as worker:
        for product in worker.map(multiply, USABLE):
            assert np.array_equal(product, exact(a, b))


@every_backend
def test_16_bit_codes_signed_or_not(name):
    rng = np.random.default_rng(4)
    for kind in (np.int16, np.uint16):
        limits = np.iinfo(kind)
        for right in (np.int8, np.uint8):
            a = rng.integers(limits.min, limits.max, (5, 700), kind, endpoint=True)
            a[0] = limits.max
            b = rng.choice(np.array(EXTREMES[right]), (700, 3)).astype(right)
            assert_exact(backend(name), a, b)
