# SPDX-License-Identifier: Apache-2.0
"""What can happen to an array on its way out of a device: order, width, bits, missing parts.

Each candidate is computed from the expected values and named only where it makes the values of the
dump, all of them. None of these knows the op (:mod:`simulator.golden.variants.all_of` does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.golden.check.orders import orders
from simulator.numerics.integer_type import IntType

Values = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A candidate that makes exactly the values of a dump.

    Attributes
    ----------
    kind
        what kind of fault it is: ``byte order``, ``rounding mode``
    sentence
        what was done instead
    """

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Expected values and those of a dump.

    Attributes
    ----------
    expected
        int64 [images, ...]
    got
        int64, of the expected shape or, where their number differs, of one dimension
    kind
        type of a value on the chip
    itemsize
        bytes of a value in its file
    """

    expected: Values
    got: Values
    kind: IntType
    itemsize: int


def patterns(compared: Compared) -> Iterator[Finding]:
    """Yield the candidates that make the values of a dump."""
    if compared.got.size != compared.expected.size:
        yield from _lengths(compared)
        return
    for source in (_bits, _widths, _offsets, _byte_order, _unwritten):
        yield from source(compared)
    flat = compared.got.reshape(compared.expected.shape)
    for kind, sentence in orders(compared.expected, flat, compared.kind.bits):
        yield Finding(kind=kind, sentence=sentence)


def _lengths(compared: Compared) -> Iterator[Finding]:
    expected, got = compared.expected.ravel(), compared.got.ravel()
    missing = expected.size - got.size
    if got.size == 0:
        yield Finding(kind="unwritten", sentence="there are no values: nothing was written")
        return
    if missing > 0:
        if np.array_equal(got, expected[: got.size]):
            yield Finding(
                kind="truncated",
                sentence=f"the file ends early: the last {missing} of {expected.size} values are "
                "missing, those before are right",
            )
        if np.array_equal(got, expected[missing:]):
            yield Finding(
                kind="truncated",
                sentence=f"the file begins late: the first {missing} of {expected.size} values are "
                "missing, those after are right",
            )
        return
    for start, where in ((0, "behind"), (-missing, "before")):
        if np.array_equal(got[start : start + expected.size], expected):
            yield Finding(
                kind="too long",
                sentence=f"{-missing} further values stand {where} the {expected.size} right ones",
            )


def _unsigned(values: Values, bits: int) -> Values:
    return values & ((1 << bits) - 1) if bits < 64 else values


def _read(values: Values, kind: IntType) -> Values:
    """Return the low bits of values, read as codes of a type."""
    if kind.bits == 64:
        return values
    codes = _unsigned(values, kind.bits)
    return codes - ((codes >> (kind.bits - 1)) << kind.bits) if kind.signed else codes


def _bits(compared: Compared) -> Iterator[Finding]:
    """One bit of one value, or a bit of all of them."""
    kind, expected, got = compared.kind, compared.expected.ravel(), compared.got.ravel()
    changed = _unsigned(expected ^ got, kind.bits)
    if not np.array_equal(_read(got, kind), got):
        return  # not a code of the type: no change of its bits makes it
    places = np.flatnonzero(changed)
    if len(places) == 1 and int(changed[places[0]]).bit_count() == 1:
        index = [int(i) for i in np.unravel_index(places[0], compared.expected.shape)]
        bit = int(changed[places[0]]).bit_length() - 1
        yield Finding(
            kind="flipped bit", sentence=f"bit {bit} of the value at {index} alone is inverted"
        )
        return
    mask = int(np.bitwise_or.reduce(changed, initial=0)) & ((1 << 64) - 1)
    if mask.bit_count() == 1:
        yield from _one_bit_of_all(changed, _unsigned(got, kind.bits), mask)
    elif (changed == changed[0]).all() and changed.size > 1:
        yield Finding(kind="inverted bits", sentence=f"all values are inverted in bits {mask:#x}")


def _one_bit_of_all(changed: Values, got: Values, mask: int) -> Iterator[Finding]:
    bit = mask.bit_length() - 1
    if changed.size > 1 and changed.all():
        yield Finding(kind="inverted bits", sentence=f"bit {bit} of all values is inverted")
        return
    signed_mask = np.int64(mask - (1 << 64) if mask >> 63 else mask)
    values = np.unique(got & signed_mask)
    if len(values) == 1:
        yield Finding(
            kind="stuck bit", sentence=f"bit {bit} of all values is {int(values[0] != 0)}: stuck"
        )


def _widths(compared: Compared) -> Iterator[Finding]:
    """Sign and width of the values as they were stored or read."""
    kind, expected, got = compared.kind, compared.expected, compared.got.reshape(-1)
    flat = expected.reshape(-1)
    other = IntType(bits=min(kind.bits, 63), signed=not kind.signed)
    if kind.bits < 64 and np.array_equal(_read(flat, other), got):
        read = "unsigned" if kind.signed else "signed"
        yield Finding(
            kind="sign extension",
            sentence=f"{kind} values are read as {read}: the sign bit "
            + ("is not extended" if kind.signed else "of the word is extended"),
        )
    for bits in range(kind.bits - 1, 0, -1):
        narrow = IntType(bits=bits, signed=kind.signed)
        if np.array_equal(_read(flat, narrow), got):
            yield Finding(
                kind="width", sentence=f"only the low {bits} of {kind.bits} bits are kept"
            )
        elif kind.signed and np.array_equal(_unsigned(flat, bits), got):
            yield Finding(
                kind="sign extension",
                sentence=f"the low {bits} of {kind.bits} bits are kept and read as unsigned",
            )
        elif np.array_equal(np.clip(flat, narrow.low, narrow.high), got):
            yield Finding(kind="width", sentence=f"values saturate at {bits} of {kind.bits} bits")
        elif np.array_equal(flat >> (kind.bits - bits), got):
            yield Finding(
                kind="width", sentence=f"only the high {bits} of {kind.bits} bits are kept"
            )
        else:
            continue
        return


def _offsets(compared: Compared) -> Iterator[Finding]:
    """The same change of all values, which then wrap or saturate."""
    kind = compared.kind
    expected, got = compared.expected.reshape(-1), compared.got.reshape(-1)
    inside = (got > kind.low) & (got < kind.high)
    steps = np.unique((got - expected)[inside])
    if len(steps) == 1 and steps[0] and _fits(expected + steps[0], got, kind):
        step = int(steps[0])
        yield Finding(
            kind="offset",
            sentence=f"all values are {abs(step)} too {'large' if step > 0 else 'small'}: a zero "
            "point or a bias",
        )
    changes: tuple[tuple[str, str, Callable[[], Values]], ...] = (
        ("sign", "all values are negated", lambda: -expected),
        ("sign", "all bits are inverted: negated without the added 1", lambda: ~expected),
        ("shift", "all values are doubled: shifted one place too little", lambda: expected << 1),
        ("shift", "all values are halved, rounded down", lambda: expected >> 1),
    )
    for name, sentence, change in changes:
        if _fits(change(), got, kind):
            yield Finding(kind=name, sentence=sentence)


def _fits(values: Values, got: Values, kind: IntType) -> bool:
    """Tell whether values make the dump's, as they are, saturated or wrapped."""
    return (
        np.array_equal(values, got)
        or np.array_equal(np.clip(values, kind.low, kind.high), got)
        or np.array_equal(_read(values, kind), got)
    )


def _byte_order(compared: Compared) -> Iterator[Finding]:
    """Bytes of a value in the other order."""
    size = compared.itemsize
    if size == 1:
        return
    stored = compared.expected.astype(f"<i{size}").view(f">i{size}").astype(np.int64)
    if not compared.kind.signed and size < 8:
        stored &= (1 << 8 * size) - 1
    if np.array_equal(stored.reshape(-1), compared.got.reshape(-1)):
        yield Finding(kind="byte order", sentence=f"the {size} bytes of each value are reversed")


def _unwritten(compared: Compared) -> Iterator[Finding]:
    """Right values up to a place, and from there on one that a memory has before it is written."""
    expected, got = compared.expected.reshape(-1), compared.got.reshape(-1)
    first = int(np.argmax(expected != got))
    rest = np.unique(got[first:])
    if len(rest) > 1 or expected.size < 2:
        return
    value = int(rest[0])
    if (got == value).all():
        yield Finding(kind="unwritten", sentence=f"every value is {value}: nothing was written")
    elif expected.size - first > 1:
        yield Finding(
            kind="truncated",
            sentence=f"the last {expected.size - first} of {expected.size} values are all {value}: "
            "writing stopped early",
        )
