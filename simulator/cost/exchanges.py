# SPDX-License-Identifier: Apache-2.0
"""A permutation of axes as a chain of exchanges of two axes, as units make them that move blocks.

Such a unit takes a tensor as a picture of height, width and depth and exchanges two of the three.
Where an axis of a wider tensor is neither first nor last, it is first moved to that end, and back
after the exchange; each of these moves is an exchange of a picture again, and every one of them
reads and writes the whole tensor. A permutation is sorted place by place, from the first axis on.
This is how Arm's compiler Vela 5.2.0 programs Ethos-U (``scheduler_decompose.cpp``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Picture = tuple[int, int, int]
_AXES_OF_A_PICTURE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One pass over the whole tensor: a picture (height, width, depth) and what becomes of it."""

    before: Picture
    after: Picture


def exchanges(shape: Sequence[int], permutation: Sequence[int]) -> tuple[Exchange, ...]:
    """Return the exchanges that make ``permutation`` of a tensor, in order.

    Parameters
    ----------
    shape
        of the operand
    permutation
        the operand's axis for each axis of the result

    Returns
    -------
    tuple of Exchange
        none where only axes of one element change places: no code moves then
    """
    axes = [axis for axis in range(len(shape)) if shape[axis] > 1]
    wanted = [axis for axis in permutation if shape[axis] > 1]
    found: list[Exchange] = []
    for place, axis in enumerate(wanted):
        at = axes.index(axis)
        if at != place:
            found += _exchange([shape[each] for each in axes], place, at)
            axes[place], axes[at] = axes[at], axes[place]
    return tuple(found)


def _exchange(sizes: list[int], a: int, b: int) -> Iterator[Exchange]:
    """Yield the passes that exchange axes ``a`` < ``b`` of a tensor."""
    last = len(sizes) - 1
    if len(sizes) <= _AXES_OF_A_PICTURE:
        first = _AXES_OF_A_PICTURE - len(sizes)
        yield _of_picture((1,) * first + tuple(sizes), first + a, first + b)
    elif (a, b) == (0, 1):
        yield _of_picture((sizes[0], sizes[1], math.prod(sizes[2:])), 0, 1)
    elif (a, b) == (last - 1, last):
        yield _of_picture((math.prod(sizes[:a]), sizes[a], sizes[b]), 1, 2)
    elif a > 0:  # to the front, and back
        yield _of_picture((math.prod(sizes[:a]), sizes[a], math.prod(sizes[a + 1 :])), 0, 1)
        moved = [sizes[a], *sizes[:a], *sizes[a + 1 :]]
        yield from _exchange(moved, 0, b)
        moved[0], moved[b] = moved[b], moved[0]
        yield _of_picture((moved[0], math.prod(moved[1 : a + 1]), math.prod(moved[a + 1 :])), 0, 1)
    elif b < last:  # to the end, and back
        yield _of_picture((math.prod(sizes[:b]), sizes[b], math.prod(sizes[b + 1 :])), 1, 2)
        moved = [*sizes[:b], *sizes[b + 1 :], sizes[b]]
        yield from _exchange(moved, 0, last)
        moved[0], moved[last] = moved[last], moved[0]
        yield _of_picture((math.prod(moved[:b]), math.prod(moved[b:last]), moved[last]), 1, 2)
    else:
        yield _of_picture((sizes[0], math.prod(sizes[1:last]), sizes[last]), 0, 2)


def _of_picture(before: tuple[int, ...], a: int, b: int) -> Exchange:
    after = list(before)
    after[a], after[b] = after[b], after[a]
    return Exchange(before=_picture(before), after=_picture(after))


def _picture(sizes: Sequence[int]) -> Picture:
    height, width, depth = sizes
    return height, width, depth
