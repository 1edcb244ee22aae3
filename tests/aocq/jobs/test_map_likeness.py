# SPDX-License-Identifier: Apache-2.0
"""Correlation and overlap of two maps: known values, and maps without any."""

from __future__ import annotations

import numpy as np
import pytest

from aocq.jobs.map_likeness import correlation, overlap_of_tops


def test_correlation_is_pearsons():
    random = np.random.default_rng(5)
    a, b = random.random((2, 4, 5))
    assert correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-12)
    assert correlation(a, 3 * a + 1) == pytest.approx(1)
    assert correlation(a, 1 - a) == pytest.approx(-1)


def test_a_map_that_is_the_same_everywhere_has_no_correlation():
    assert correlation(np.zeros((2, 2)), np.eye(2)) is None
    even = np.full((7, 7), 0.1)
    assert (even != even.mean()).all()  # the mean is rounded
    assert correlation(even, np.eye(7)) is None


def test_overlap_is_of_the_largest_fifth():
    a = np.zeros((2, 5))
    b = np.zeros((2, 5))
    a[0] = [5, 4, 3, 2, 1]
    b[0] = [1, 5, 4, 3, 2]
    assert overlap_of_tops(a, a) == 1
    assert overlap_of_tops(a, b) == 1 / 3  # places 0, 1 and 1, 2
    b[0] = [1, 2, 3, 4, 5]
    assert overlap_of_tops(a, b) == 0


def test_patches_of_nothing_are_never_at_the_top():
    few, many = np.zeros((5, 5)), np.arange(25.0).reshape(5, 5)
    few[4, 4] = 1
    assert overlap_of_tops(few, many) == 1 / 5
    assert overlap_of_tops(np.zeros((5, 5)), many) == 0
    assert overlap_of_tops(np.zeros((5, 5)), np.zeros((5, 5))) is None


def test_one_patch_at_least_is_at_the_top():
    assert overlap_of_tops(np.eye(2), np.eye(2)) == 1
