# SPDX-License-Identifier: Apache-2.0
"""Requantization in 32-bit lanes: the same codes as :mod:`simulator.numerics.requantization`.

A product of two 32-bit numbers has 64 bits, but where it is shifted right by more than 32 only its
upper word matters once ``R`` is added: ``(p + R) >> s == ((p + R) >> 32) >> (s - 32)``, all floor.
What follows fits 32 bits, of which a vector register holds twice as many.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from simulator.numerics.integer_type import Overflow, limits
from simulator.numerics.requantization import Requantizer
from simulator.numerics.vector_ir import (
    DOUBLES,
    INT32,
    INT64,
    WORDS,
    Values,
    address_of,
    constant,
    element,
    fill,
    larger,
    load,
    loop,
    smaller,
    splat,
    store,
)

WORD_BITS = 32
LANES: int = WORDS.count
EVEN_UPPER = [1, 9, 3, 11, 5, 13, 7, 15]  # the upper words of even and odd products, in turns


@dataclass(frozen=True, slots=True)
class WordRequantizer:
    """The constants of a :class:`Requantizer` as the kernel below takes them, padded to 8 channels.

    Attributes
    ----------
    multiplier, shift
        int32 [channels]; the shift of the upper word
    inside, always, negative, odd
        int64 [channels / 8, 2, 4], of even and of odd channels: what belongs to the product (the
        zero point where it is rounded too), and the parts of ``R``
    distance
        int64, the same shape: the whole shift
    plain
        whether only what is always added is ever added; it has ``inside`` in it then
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]
    inside: NDArray[np.int64]
    always: NDArray[np.int64]
    negative: NDArray[np.int64]
    odd: NDArray[np.int64]
    distance: NDArray[np.int64]
    plain: bool
    zero_point: int
    low: int
    high: int

    @property
    def arguments(self) -> tuple[object, ...]:
        """Return what the kernels take behind sums and result."""
        return (
            self.multiplier, self.shift, self.inside.reshape(-1), self.always.reshape(-1),
            self.negative.reshape(-1), self.odd.reshape(-1), self.distance.reshape(-1),
            self.zero_point, self.low, self.high,
        )  # fmt: skip


def words_of(requantizer: Requantizer, padded: int) -> WordRequantizer | None:
    """Return the 32-bit form of a requantizer, or none where it has no such form.

    ``padded`` is the number of channels with padding, a multiple of 8. Padding yields the zero
    point, and must not be counted: it has to be a code that may be.
    """
    shift, multiplier = requantizer.shift, requantizer.multiplier
    word = np.iinfo(np.int32)
    low, high = limits(requantizer.kind, requantizer.overflow)
    if padded > len(multiplier) and not low <= requantizer.zero_point <= high:
        return None
    if (
        requantizer.left is not None
        or requantizer.overflow is Overflow.WRAP
        or requantizer.kind.bits > 16
        or (shift <= WORD_BITS).any()
        or (multiplier < word.min).any()
        or (multiplier > word.max).any()
    ):
        return None
    always, negative, odd = requantizer.offset
    plain = not (negative.any() or odd.any())

    def halves(vector: NDArray[np.int64], filling: int = 0) -> NDArray[np.int64]:
        return even_and_odd(_padded(vector, padded, filling))

    return WordRequantizer(
        multiplier=_padded(multiplier, padded, 0).astype(np.int32),
        shift=_padded(shift - WORD_BITS, padded, 1).astype(np.int32),
        inside=halves(requantizer.inside),
        always=halves(always + requantizer.inside if plain else always),
        negative=halves(negative),
        odd=halves(odd),
        distance=halves(shift, WORD_BITS + 1),
        plain=plain,
        zero_point=requantizer.zero_point,
        low=low,
        high=high,
    )


def even_and_odd(vector: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [channels / 8, 2, 4]: of each 8 channels the even ones, then the odd ones."""
    return np.ascontiguousarray(vector.reshape(-1, LANES // 2, 2).transpose(0, 2, 1))


def _padded(vector: NDArray[np.int64], length: int, filling: int) -> NDArray[np.int64]:
    return np.concatenate([vector, np.full(length - len(vector), filling, np.int64)])


def _row_kernel(*, plain: bool) -> Any:
    """Return the kernel of one row, with or without what depends on the product."""

    @intrinsic
    def requantize_words(  # type: ignore[no-untyped-def]
        typing, sums, sums_at, out, out_at, multiplier, shift, inside, always, negative, odd,
        distance, zero_point, low, high, extremes,
    ):  # fmt: skip
        """Requantize int32 ``sums`` from ``sums_at`` on into ``out`` from ``out_at`` on.

        As many as there are multipliers, a multiple of 8; returns how many codes did not fit.
        ``extremes``, int32 [16], holds lane by lane the least and the largest sum so far.
        """
        index = types.intp
        signature = types.int64(
            sums, index, out, index, multiplier, shift, inside, always, negative, odd, distance,
            index, index, index, extremes,
        )  # fmt: skip

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return _generate(context, builder, signature, arguments, plain)

        return signature, generate

    return requantize_words


requantize_plain_words = _row_kernel(plain=True)
requantize_any_words = _row_kernel(plain=False)


def _generate(context: Any, builder: Any, signature: Any, arguments: Any, plain: bool) -> Any:
    kinds = signature.args

    def place(position: int, lane: Any, start: Any = None) -> Any:
        address = address_of(context, builder, kinds[position], arguments[position], lane)
        return address if start is None else element(builder, address, (start, 1))

    code = ir.IntType(kinds[2].dtype.bitwidth)
    sums, out = place(0, INT32, arguments[1]), place(2, code, arguments[3])
    multipliers, shifts = place(4, INT32), place(5, INT32)
    halves = [place(position, INT64) for position in range(6, 11)]
    extremes = place(14, INT32)
    count = context.make_array(kinds[4])(context, builder, arguments[4]).nitems
    ends = words_filled(builder, arguments[11:14])

    def eight(first: Any, carried: Values) -> list[Any]:
        misfits, least, most = carried
        values = load(builder, element(builder, sums, (first, 1)), WORDS)
        factors = load(builder, element(builder, multipliers, (first, 1)), WORDS)
        words = []
        for odd in (False, True):
            offset = constant(LANES // 2 if odd else 0)
            constants = [
                load(builder, element(builder, half, (first, 1), (offset, 1)), DOUBLES)
                for half in (halves[1:2] if plain else halves)
            ]
            product = builder.mul(widened(builder, values, odd), widened(builder, factors, odd))
            total = rounded(builder, product, constants)
            words.append(builder.bitcast(total, WORDS))
        order = ir.Constant(ir.VectorType(INT32, LANES), EVEN_UPPER)
        upper = builder.shuffle_vector(*words, order)
        distance = load(builder, element(builder, shifts, (first, 1)), WORDS)
        codes = builder.ashr(upper, distance)
        place = element(builder, out, (first, 1))
        return [
            store_fitted(builder, codes, ends, place, misfits),
            smaller(builder, least, values),
            larger(builder, most, values),
        ]

    start = [load(builder, element(builder, extremes, (constant(LANES), i)), WORDS) for i in (0, 1)]
    misfits, *found = loop(builder, constant(0), count, LANES, [splat(WORDS, 0), *start], eight)
    for i, value in enumerate(found):
        store(builder, value, element(builder, extremes, (constant(LANES), i)))
    return sum_of_lanes(builder, misfits)


def words_filled(builder: Any, numbers: Values) -> list[Any]:
    """Return a register per number, which it fills."""
    return [fill(builder, builder.trunc(number, INT32), WORDS) for number in numbers]


def store_fitted(builder: Any, rounded: Any, ends: Values, place: Any, misfits: Any) -> Any:
    """Store 8 rounded values as codes; return ``misfits`` with one more in lanes that did not fit.

    ``ends`` holds zero point, lowest and highest code.
    """
    zero, low, high = ends
    codes = builder.add(rounded, zero)
    fitted = smaller(builder, larger(builder, codes, low), high)
    changed = builder.sext(builder.icmp_signed("!=", codes, fitted), WORDS)
    store(builder, builder.trunc(fitted, ir.VectorType(place.type.pointee, LANES)), place)
    return builder.sub(misfits, changed)


def sum_of_lanes(builder: Any, words: Any) -> Any:
    """Return the sum of 8 words in 64 bits."""
    total = constant(0)
    for lane in range(LANES):
        one = builder.extract_element(words, ir.Constant(INT32, lane))
        total = builder.add(total, builder.sext(one, INT64))
    return total


def widened(builder: Any, words: Any, odd: bool) -> Any:
    """Return the even or the odd ones of 8 words as 64-bit numbers."""
    wide = builder.bitcast(words, DOUBLES)
    distance = splat(DOUBLES, WORD_BITS)
    return builder.ashr(wide if odd else builder.shl(wide, distance), distance)


def rounded(builder: Any, product: Any, constants: Values) -> Any:
    """Add ``R``: only what is always added, or everything."""
    if len(constants) == 1:
        return builder.add(product, constants[0])
    inside, always, negative, odd, distance = constants
    product = builder.add(product, inside)
    below = builder.sext(builder.icmp_signed("<", product, splat(DOUBLES, 0)), DOUBLES)
    total = builder.add(builder.add(product, always), builder.and_(below, negative))
    lowest = builder.and_(builder.lshr(product, distance), odd)
    return builder.add(total, lowest)
