# SPDX-License-Identifier: Apache-2.0
"""Right values in a wrong order: dimensions, lanes of a word, rows, images, clock cycles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int64]
Found = tuple[str, str]  # kind, sentence

_LANES = (2, 4, 8, 16)
_MOST_DIMENSIONS = 5  # whose orders are all tried
_MOST_LATE = 64  # values by which a stream may be late
_LISTED = 8


def orders(expected: Values, got: Values, bits: int) -> Iterator[Found]:
    """Yield the orders of the expected values that make the dump's.

    Parameters
    ----------
    expected, got
        [images, ...] of one shape
    bits
        of a value, for words of several lanes
    """
    yield from _dimensions(expected, got)
    yield from _lanes(expected, got, bits)
    yield from _slices(expected, got)
    yield from _late(expected, got)


def _dimensions(expected: Values, got: Values) -> Iterator[Found]:
    """Dimensions written in another order, the shape being that of the file or the right one."""
    flat = got.reshape(-1)
    kept = [axis for axis, extent in enumerate(expected.shape) if extent > 1]
    if not 2 <= len(kept) <= _MOST_DIMENSIONS:
        return
    squeezed = expected.reshape([expected.shape[axis] for axis in kept])
    for order in permutations(range(len(kept))):
        if order == tuple(range(len(kept))):
            continue
        if np.array_equal(squeezed.transpose(order).reshape(-1), flat):
            names = [str(kept[axis]) for axis in order]
            yield (
                "transposition",
                f"dimensions are in the order {', '.join(names)}, slowest first: transposed",
            )
            return


def _lanes(expected: Values, got: Values, bits: int) -> Iterator[Found]:
    """A fixed exchange of the elements of each word, the smallest word that explains it."""
    for lanes in _LANES:
        whole = expected.size // lanes * lanes
        if whole < 2 * lanes:
            return
        words, found = (array.reshape(-1)[:whole].reshape(-1, lanes) for array in (expected, got))
        if not np.array_equal(expected.reshape(-1)[whole:], got.reshape(-1)[whole:]):
            continue
        order = _order_of(words.T, found.T)
        if order is None:
            continue
        if order == [*reversed(range(lanes))]:
            yield (
                "byte order" if lanes * bits in {16, 32, 64} and bits <= 8 else "lanes",
                f"the {lanes} lanes of each word of {lanes * bits} bits are in reverse order",
            )
        else:
            yield "lanes", f"in each group of {lanes} elements {_told(order, 'lane')}"
        return


def _slices(expected: Values, got: Values) -> Iterator[Found]:
    """Images, rows or columns exchanged, repeated or late."""
    for axis, extent in enumerate(expected.shape):
        if extent < 2:
            continue
        name = _axis_name(axis, expected.ndim)
        first, second = (np.moveaxis(array, axis, 0) for array in (expected, got))
        found = [*_exchanged(first, second, name)]
        yield from found
        if found:
            return
    if expected.ndim > 2:  # rows of one image or of one head alone
        first, second = (array.reshape(-1, expected.shape[-1]) for array in (expected, got))
        yield from _exchanged(first, second, "row")


def _axis_name(axis: int, dimensions: int) -> str:
    """Return what is at one place of a dimension: images first, channels last, rows before them."""
    names = {0: "image", dimensions - 1: "channel", dimensions - 2: "row"}
    return "image" if axis == 0 else names.get(axis, f"slice of dimension {axis}")


def _exchanged(expected: Values, got: Values, name: str) -> Iterator[Found]:
    """Slices along the first dimension in another order, or taken from another place."""
    order = _order_of(expected, got)
    if order is not None:
        yield "rows" if name != "image" else "images", _told(order, name)
        return
    unequal = [i for i in range(len(got)) if not np.array_equal(expected[i], got[i])]
    if len(unequal) == len(got) - 1 and np.array_equal(got[1:], expected[:-1]):
        yield "stale", f"each {name} has the values of the {name} before it: stale by one"
        return
    known = _places(expected)
    sources = [known.get(got[i].tobytes()) for i in unequal]
    if None in sources:
        return
    pairs = [f"{i} has those of {j}" for i, j in zip(unequal, sources, strict=True)]
    yield "stale", f"values of another {name}: {name} {_listed(pairs)}: stale"


def _late(expected: Values, got: Values) -> Iterator[Found]:
    """A stream that is some values late or early."""
    first, second = expected.reshape(-1), got.reshape(-1)
    for late in range(1, min(_MOST_LATE, first.size // 2) + 1):
        if np.array_equal(second[late:], first[:-late]):
            yield "late", f"every value stands {late} places late"
            return
        if np.array_equal(second[:-late], first[late:]):
            yield "late", f"every value stands {late} places early"
            return


def _places(slices: Values) -> dict[bytes, int]:
    """Return the first place of each slice by its content."""
    found: dict[bytes, int] = {}
    for place, values in enumerate(slices):
        found.setdefault(values.tobytes(), place)
    return found


def _order_of(expected: Values, got: Values) -> list[int] | None:
    """Return the places in ``expected`` of the slices of ``got``, if each is used once.

    None where it is no such order, or the order is the right one. Slices that are right where they
    stand stay there, equal ones being many.
    """
    right = [np.array_equal(a, b) for a, b in zip(expected, got, strict=True)]
    if all(right):
        return None
    free: dict[bytes, list[int]] = {}
    for place in range(len(expected) - 1, -1, -1):
        if not right[place]:
            free.setdefault(expected[place].tobytes(), []).append(place)
    order = []
    for place, values in enumerate(got):
        if right[place]:
            order.append(place)
            continue
        places = free.get(values.tobytes())
        if not places:
            return None
        order.append(places.pop())
    return order


def _told(order: Sequence[int], name: str) -> str:
    """Return what an order does: two exchanged, all reversed, or which went where."""
    moved = [place for place, source in enumerate(order) if place != source]
    if len(moved) == 2:
        return f"{_many(name)} {moved[0]} and {moved[1]} are swapped"
    if list(order) == [*reversed(range(len(order)))]:
        return f"{_many(name)} are in reverse order"
    return f"{name} {_listed([f'{place} has those of {order[place]}' for place in moved])}"


def _many(name: str) -> str:
    """Return the plural: slices of dimension 1."""
    first, *others = name.split(" ")
    return " ".join([f"{first}s", *others])


def _listed(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - _LISTED} more" if len(parts) > _LISTED else ""
    return ", ".join(parts[:_LISTED]) + more
