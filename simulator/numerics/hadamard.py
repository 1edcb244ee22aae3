# SPDX-License-Identifier: Apache-2.0
"""Symmetric Hadamard matrices, and how few additions a product with one takes.

H has entries ±1, ``H = Hᵀ`` and ``H H = n I``: divided by √n it is orthogonal and its own inverse.
The orders are ``2^k``, ``12 · 2^k`` and ``20 · 2^k``: H is the Kronecker product of a matrix of
order 1, 12 or 20 by Paley's second construction and a Sylvester matrix ``[[1, 1], [1, -1]] ⊗ …``.

Source: R. E. A. C. Paley, On orthogonal matrices, Journal of Mathematics and Physics 12 (1933). Of
a prime power q = 4 j + 1, with the symmetric conference matrix C of order q + 1, whose entries
beside the border of ones are the quadratic character of the difference of two elements of GF(q)::

    H = C ⊗ [[1, 1], [1, -1]] + I ⊗ [[1, -1], [-1, -1]]              of order 2 (q + 1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from simulator.numerics.hadamard_orders import LARGEST_ORDER

_SYLVESTER = np.array([[1, 1], [1, -1]], np.int8)
# Elements of GF(5), and of GF(9) as a + b i with i² = -1, over GF(3): tuples of their digits.
_FIELDS: Mapping[int, tuple[int, Sequence[tuple[int, ...]]]] = MappingProxyType(
    {
        12: (5, tuple((a,) for a in range(5))),
        20: (3, tuple((a, b) for a in range(3) for b in range(3))),
    }
)


def factors(order: int) -> tuple[int, int]:
    """Return the order of Paley's factor, 1, 12 or 20, and that of Sylvester's, a power of two.

    Raises
    ------
    ValueError
        If there is no matrix of this order here.
    """
    for paley in (1, 12, 20):
        sylvester, rest = divmod(order, paley)
        power_of_two = not rest and sylvester > 0 and not sylvester & (sylvester - 1)
        if power_of_two and order <= LARGEST_ORDER:
            return paley, sylvester
    raise ValueError(
        f"Hadamard order {order}: must be 2^k, 12 · 2^k or 20 · 2^k, at most {LARGEST_ORDER}"
    )


@cache
def hadamard_matrix(order: int) -> NDArray[np.int8]:
    """Return H [order, order], read-only.

    Raises
    ------
    ValueError
        If there is no matrix of this order here.
    """
    paley, sylvester = factors(order)
    matrix = _paley_matrix(paley) if paley > 1 else np.ones((1, 1), np.int8)
    while sylvester > 1:
        matrix = np.kron(matrix, _SYLVESTER)
        sylvester //= 2
    matrix.flags.writeable = False
    return matrix


def additions(order: int) -> int:
    """Return how many additions and subtractions of two numbers a product of H with a vector takes.

    ``log2`` of Sylvester's factor for each element; of Paley's factor see :func:`subtracted_pairs`.
    """
    paley, sylvester = factors(order)
    count = order * (sylvester.bit_length() - 1)
    if paley > 1:
        elements = paley // 2 - 1  # q
        # Twice: q - 1 for the sum of the elements and one with the first pair, one for the first
        # result; then for each other result its (q - 1) / 2 terms with the opposite, and the
        # difference.
        half = elements + 1 + elements * ((elements - 1) // 2 + 1)
        count += sylvester * (paley + 2 * half)
    return count


@cache
def subtracted_pairs(paley: int) -> NDArray[np.int64]:
    """Return which pairs enter each result of Paley's factor negatively, [q, (q - 1) / 2].

    With x as pairs (a_0, b_0), …, (a_q, b_q), p = a + b, q = a - b, P and Q their sums over all but
    the first pair, and the sums over these pairs j + 1 of row i - 1::

        y_0   = P + q_0                          Q - p_0
        y_i   = P + p_0 - 2 (Σ p_j + b_i)        Q + q_0 - 2 (Σ q_j + a_i)

    Row i of C is one less twice these entries, but for its diagonal, which H's second term fills.
    A factor of order 1 has none: [0, 0].
    """
    if paley == 1:
        return np.zeros((0, 0), np.int64)
    character = _conference(paley)[1:, 1:]
    return np.array([np.flatnonzero(row < 0) for row in character], np.int64)


def _paley_matrix(paley: int) -> NDArray[np.int8]:
    conference = _conference(paley)
    identity = np.eye(len(conference), dtype=np.int8)
    diagonal = np.array([[1, -1], [-1, -1]], np.int8)
    return np.kron(conference, _SYLVESTER) + np.kron(identity, diagonal)


def _conference(paley: int) -> NDArray[np.int8]:
    """Return C [q + 1, q + 1]: zeros on the diagonal, else ±1, symmetric, C C = q I."""
    prime, elements = _FIELDS[paley]
    squares = {_square(element, prime) for element in elements if any(element)}
    matrix = np.ones((len(elements) + 1,) * 2, np.int8)
    matrix[0, 0] = 0
    for i, a in enumerate(elements):
        for j, b in enumerate(elements):
            difference = tuple((x - y) % prime for x, y in zip(a, b, strict=True))
            character = (1 if difference in squares else -1) if any(difference) else 0
            matrix[1 + i, 1 + j] = character
    return matrix


def _square(element: tuple[int, ...], prime: int) -> tuple[int, ...]:
    """Return the square of an element of GF(p), or of GF(p²) with i² = -1."""
    if len(element) == 1:
        return (element[0] ** 2 % prime,)
    a, b = element
    return (a * a - b * b) % prime, 2 * a * b % prime
