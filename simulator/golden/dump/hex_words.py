# SPDX-License-Identifier: Apache-2.0
r"""Text of ``$readmemh`` and ``$writememh``: words in hex, comments, addresses; unknown digits.

IEEE 1800-2017, 21.4: words are separated by white space; ``//`` and ``/* */`` are comments,
``_`` stands between digits, ``@`` before the hex address of the next word; ``x`` and ``z`` are
digits of unknown bits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from simulator.numerics.integer_type import IntArray, IntType

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", flags=re.DOTALL)
_DIGITS = re.compile(r"[0-9a-fA-F_xXzZ?]+")
_UNKNOWN = re.compile(r"[xXzZ?]")


class NotHexError(ValueError):
    """Text that is not of ``$readmemh``; the message says where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HexWords:
    """The words of a file in the order of their addresses.

    Attributes
    ----------
    words
        unsigned; those with unknown digits with 0 in their place
    digits
        how many hex digits each word has
    unknown
        of words with unknown digits: index to line and text
    """

    words: list[int]
    digits: list[int]
    unknown: dict[int, tuple[int, str]]


def parse_hex(text: str) -> HexWords:
    """Return the words of a text.

    Raises
    ------
    NotHexError
        If there is anything else in it, an address leaves a gap, or comes twice.
    """
    plain = _COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)
    tokens = plain.split()
    try:  # nothing but digits, as most files are: ten times as fast
        if "_" in plain or _UNKNOWN.search(plain):  # int() takes 0x as a prefix
            raise ValueError
        words = [int(token, 16) for token in tokens]
        negative = min(words, default=0) < 0
        if not negative and "+" not in plain:
            return HexWords(words=words, digits=[*map(len, tokens)], unknown={})
    except ValueError:
        pass
    return _parsed(plain)


def _parsed(plain: str) -> HexWords:
    found: dict[int, int] = {}
    unknown: dict[int, tuple[int, str]] = {}
    digits: dict[int, int] = {}
    address = 0
    for line, token in _tokens(plain):
        if token.startswith("@"):
            address = _address(token, line)
            continue
        if not _DIGITS.fullmatch(token):
            raise NotHexError(f"line {line}: {token[:40]!r} is no hex word")
        if address in found:
            raise NotHexError(f"line {line}: address {address:x} comes twice")
        word = token.replace("_", "")
        if _UNKNOWN.search(word):
            unknown[address] = (line, token)
        found[address] = int(_UNKNOWN.sub("0", word) or "0", 16)
        digits[address] = len(word)
        address += 1
    missing = next((i for i in range(len(found)) if i not in found), None)
    if missing is not None:
        raise NotHexError(f"address {missing:x} has no word, later ones have")
    order = range(len(found))
    return HexWords(
        words=[found[i] for i in order], digits=[digits[i] for i in order], unknown=unknown
    )


def _tokens(plain: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(plain.split("\n"), 1):
        for token in line.split():
            yield number, token


def _address(token: str, line: int) -> int:
    try:
        return int(token[1:].replace("_", ""), 16)
    except ValueError as error:
        raise NotHexError(f"line {line}: {token[:40]!r} is no address") from error


def elements_of(words: list[int], kind: IntType, lanes: int) -> IntArray:
    """Return the elements in words, lowest lane first, int64 [words * lanes].

    Parameters
    ----------
    words
        unsigned, of ``lanes`` elements of ``kind`` each, packed without gaps
    kind
        type of an element, of at most 64 bits
    """
    if kind.bits * lanes <= 63:
        packed = np.array(words, np.int64).reshape(-1, 1)
        codes = packed >> (kind.bits * np.arange(lanes)) & ((1 << kind.bits) - 1)
    else:
        mask = (1 << kind.bits) - 1
        wide = np.array(
            [[word >> (kind.bits * lane) & mask for lane in range(lanes)] for word in words],
            np.uint64,
        ).reshape(-1, lanes)
        if kind.bits == 64:
            return wide.view(np.int64).ravel()
        codes = wide.astype(np.int64)
    if kind.signed:
        codes = codes - ((codes >> (kind.bits - 1)) << kind.bits)
    return codes.ravel()
