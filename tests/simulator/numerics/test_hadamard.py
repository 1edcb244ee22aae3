# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from simulator.numerics.hadamard import (
    additions,
    factors,
    hadamard_matrix,
    subtracted_pairs,
)
from simulator.numerics.hadamard_orders import LARGEST_ORDER

ORDERS = (
    1,
    2,
    4,
    8,
    12,
    16,
    20,
    24,
    40,
    48,
    64,
    80,
    96,
    128,
    160,
    192,
    256,
    320,
    384,
    512,
    640,
    768,
)


@pytest.mark.parametrize("order", ORDERS)
def test_the_matrix_is_symmetric_and_its_own_inverse(order):
    matrix = hadamard_matrix(order).astype(np.int64)
    assert matrix.shape == (order, order)
    assert set(matrix.ravel().tolist()) <= {-1, 1}
    assert (matrix == matrix.T).all()
    assert (matrix @ matrix == order * np.eye(order, dtype=np.int64)).all()


def test_known_matrices():
    assert hadamard_matrix(4).tolist() == [
        [1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]
    ]  # fmt: skip
    # x and x + 1, x + 4 of GF(5) differ by squares, x + 2 and x + 3 do not.
    pairs = hadamard_matrix(12)[2::2, 2::2]
    assert pairs[0].tolist() == [1, 1, -1, -1, 1]
    assert (
        hadamard_matrix(24)[:12, :12].tolist()
        == np.kron(hadamard_matrix(12), hadamard_matrix(2))[:12, :12].tolist()
    )


def test_the_matrix_is_shared_and_cannot_be_changed():
    assert hadamard_matrix(12) is hadamard_matrix(12)
    with pytest.raises(ValueError, match="read-only"):
        hadamard_matrix(12)[0, 0] = -1


@pytest.mark.parametrize("order", [0, -4, 3, 6, 28, 36, 100, 2 * LARGEST_ORDER, 12 * 1024])
def test_other_orders_are_refused(order):
    with pytest.raises(ValueError, match=rf"Hadamard order {order}: must be 2\^k"):
        hadamard_matrix(order)


class Counted:
    """A number whose additions and subtractions are counted."""

    count = 0

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        Counted.count += 1
        return Counted(self.value + other.value)

    def __sub__(self, other):
        Counted.count += 1
        return Counted(self.value - other.value)

    def doubled(self):
        """Return twice the number: a shift, no addition."""
        return Counted(2 * self.value)


def total(values):
    first, *others = values
    for other in others:
        first = first + other
    return first


def by_pairs(values, paley):
    """The product with Paley's factor by the formulas of ``subtracted_pairs``."""
    a, b = values[::2], values[1::2]
    p, q = (
        [one(x, y) for x, y in zip(a, b, strict=True)] for one in (Counted.__add__, Counted.__sub__)
    )
    all_p, all_q = total(p[1:]), total(q[1:])
    with_p, with_q = all_p + p[0], all_q + q[0]
    found = [all_p + q[0], all_q - p[0]]
    for i, row in enumerate(subtracted_pairs(paley).tolist(), start=1):
        found.append(with_p - (total([p[j + 1] for j in row]) + b[i]).doubled())
        found.append(with_q - (total([q[j + 1] for j in row]) + a[i]).doubled())
    return found


def by_steps(values, paley):
    """The product with H: Paley's factor across, then butterflies along Sylvester's."""
    sylvester = len(values) // paley
    if paley > 1:
        columns = [by_pairs(values[c::sylvester], paley) for c in range(sylvester)]
        values = [columns[c][i] for i in range(paley) for c in range(sylvester)]
    stride = 1
    while stride < sylvester:
        for i in range(len(values)):
            if not i & stride:
                j = i + stride
                values[i], values[j] = values[i] + values[j], values[i] - values[j]
        stride *= 2
    return values


@pytest.mark.parametrize("order", [1, 2, 8, 12, 20, 24, 64, 80, 96])
def test_additions_are_those_that_it_takes(order):
    numbers = np.random.default_rng(order).integers(-128, 128, order)
    Counted.count = 0
    found = by_steps([Counted(int(number)) for number in numbers], factors(order)[0])
    assert [number.value for number in found] == (hadamard_matrix(order) @ numbers).tolist()
    assert additions(order) == Counted.count


def test_additions_of_each_element():
    assert [additions(order) / order for order in (16, 64, 12, 192, 768, 20)] == [
        4, 6, 4.5, 8.5, 10.5, 6.5
    ]  # fmt: skip
