# SPDX-License-Identifier: Apache-2.0
"""Files with the contents of a ROM: ``$readmemh`` text, or a vector of whole numbers (.npy)."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np

from simulator.errors import InputError
from simulator.numerics.integer_type import IntType
from simulator.reading import read_bytes

LARGEST_FILE = 1 << 24
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_WORD = re.compile(r"[0-9a-fA-F_]+")


def read_entries(path: Path, kind: IntType) -> list[int]:
    """Return the entries of a table file, lowest address first.

    ``.npy`` holds whole numbers, [entries], of any integer type. Any other file is read as
    Verilog's ``$readmemh`` reads it (IEEE 1800, 21.4): hexadecimal words between blanks, comments,
    ``_`` between digits, ``@`` and an address in hexadecimal; words are two's complement at the
    width of ``kind``.

    Raises
    ------
    InputError
        If there is no such file, it holds something else, or a word is wider than ``kind``.
    """
    try:
        content = read_bytes(path, LARGEST_FILE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # a name with a NUL
        raise InputError(f"{str(path)!r}: no name of a file ({error})") from error
    return _of_npy(path, content) if path.suffix == ".npy" else _of_hex(path, content, kind)


def _of_npy(path: Path, content: bytes) -> list[int]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # damaged headers are parsed as Python: no common base class
        raise InputError(f"{path}: not a .npy file") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "iu" or found.ndim != 1:
        shown = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "several"
        raise InputError(f"{path}: holds {shown}, wanted whole numbers [entries]")
    return [int(entry) for entry in found]


def _of_hex(path: Path, content: bytes, kind: IntType) -> list[int]:
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not $readmemh text: not ASCII") from error
    words: dict[int, int] = {}
    address = 0
    for word in _COMMENT.sub(" ", text).split():
        digits = word.removeprefix("@")
        if not _WORD.fullmatch(digits) or not digits.strip("_"):
            raise InputError(f"{path}: entry {address}: {word[:40]!r} is no hexadecimal word")
        value = int(digits.replace("_", ""), 16)
        if word.startswith("@"):
            address = value
            continue
        if address in words:
            raise InputError(f"{path}: entry {address} is given twice")
        if value >> kind.bits:
            raise InputError(
                f"{path}: entry {address} is {word[:40]}, of {value.bit_length()} bits, wanted "
                f"{kind.bits}"
            )
        words[address] = value - (1 << kind.bits) if value > kind.high else value
        address += 1
    missing = next((place for place in range(len(words)) if place not in words), None)
    if missing is not None:
        raise InputError(f"{path}: entry {missing} is missing, and later ones are given")
    return [words[place] for place in range(len(words))]
