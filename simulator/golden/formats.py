# SPDX-License-Identifier: Apache-2.0
"""Other forms of golden arrays: words for ``$readmemh``, raw bytes, headers for C.

Each is made from a ``.npy`` file, which is the truth, block by block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from simulator.files import cannot_be_written
from simulator.golden.files import digest, load_array
from simulator.golden.manifest import ArrayFile, DerivedFile
from simulator.numerics.float_type import Array

Format = Literal["hex", "raw", "c"]
FORMATS: tuple[Format, ...] = ("hex", "raw", "c")
_ENDINGS: Mapping[Format, str] = MappingProxyType({"hex": "hex", "raw": "bin", "c": "h"})
_ELEMENTS_AT_ONCE = 1 << 18
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_PER_LINE = 16  # elements in a line of a C header


def write_formats(
    folder: Path,
    files: Mapping[str, ArrayFile],
    formats: Collection[Format],
    word_bits: int | None,
    on_progress: Callable[[int], None] = lambda steps: None,
) -> dict[str, DerivedFile]:
    """Write every array in other formats too; return what the manifest says of them.

    Parameters
    ----------
    folder
        of the arrays; the files lie below ``hex``, ``raw`` and ``c`` in it
    word_bits
        width of a memory word in ``hex``, see :func:`lanes_of`
    on_progress
        called with 1 after every file

    Raises
    ------
    InputError
        If a file cannot be read or written.
    """
    names = _c_names(files)
    found: dict[str, DerivedFile] = {}
    for which in (name for name in FORMATS if name in formats):
        for path, file in files.items():
            target = f"{which}/{path.removesuffix('.npy')}.{_ENDINGS[which]}"
            array = load_array(folder, path, file)
            place = folder / target
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("wb") as stream:
                    if which == "hex":
                        write_hex(array, file.bits, word_bits, stream)
                    elif which == "raw":
                        write_raw(array, stream)
                    else:
                        write_c(array, file, names[path], stream)
            except OSError as error:
                raise cannot_be_written(place, error) from error
            found[target] = _derived(place, path, file, which, word_bits)
            on_progress(1)
    return found


def _derived(
    place: Path, source: str, file: ArrayFile, which: Format, word_bits: int | None
) -> DerivedFile:
    if which != "hex":
        return DerivedFile(sha256=digest(place), source=source, format=which)
    lanes, width = lanes_of(file.bits, word_bits)
    return DerivedFile(
        sha256=digest(place),
        source=source,
        format=which,
        words=-(-int(np.prod(file.shape)) // lanes),
        word_bits=width,
        lanes=lanes,
    )


def lanes_of(bits: int, word_bits: int | None) -> tuple[int, int]:
    """Return how many elements of ``bits`` bits are in a word, and the bits of the word.

    As many as fit; one in a word of its own width where the memory's is narrower or not stated.
    """
    if word_bits is None or word_bits < bits:
        return 1, bits
    return word_bits // bits, word_bits


def write_hex(array: Array, bits: int, word_bits: int | None, stream: BinaryIO) -> None:
    """Write words as ``$readmemh`` reads them, one a line, elements in row-major order.

    An element is two's complement in ``bits`` bits. The first one of a word is in its lowest bits;
    what is left of a word, and of the last one, is 0.
    """
    lanes, width = lanes_of(bits, word_bits)
    at_once = max(_ELEMENTS_AT_ONCE // lanes, 1) * lanes
    flat = array.reshape(-1)
    for start in range(0, flat.size, at_once):
        stream.write(_hex_lines(_as_integers(flat[start : start + at_once]), bits, lanes, width))


def _as_integers(values: Array) -> NDArray[np.int64]:
    """Return the values as integers, those of a float type by their bits."""
    if values.dtype.kind == "f":
        return values.view(f"i{values.dtype.itemsize}").astype(np.int64)
    return values.astype(np.int64)


def _hex_lines(values: NDArray[np.int64], bits: int, lanes: int, width: int) -> bytes:
    padding = -len(values) % lanes
    padded = np.concatenate([values, np.zeros(padding, np.int64)])
    # Bit i of an element is column i: a word is its elements' columns, one after the other.
    each = ((padded[:, None] >> np.arange(bits)) & 1).astype(np.uint8)
    words = each.reshape(-1, lanes * bits)
    digits = -(-width // 4)
    words = np.pad(words, ((0, 0), (0, 4 * digits - lanes * bits)))
    nibbles = words.reshape(len(words), digits, 4) @ np.array([1, 2, 4, 8], np.uint8)
    lines = np.full((len(words), digits + 1), ord("\n"), np.uint8)
    lines[:, :digits] = _DIGITS[nibbles[:, ::-1]]
    return lines.tobytes()


def write_raw(array: Array, stream: BinaryIO) -> None:
    """Write the elements in row-major order, little-endian, as wide as in the ``.npy`` file."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _ELEMENTS_AT_ONCE):
        part = flat[start : start + _ELEMENTS_AT_ONCE]
        stream.write(part.astype(part.dtype.newbyteorder("<")).tobytes())


def write_c(array: Array, file: ArrayFile, name: str, stream: BinaryIO) -> None:
    """Write a header for C99: one array, its number of elements, and its shape in a comment."""
    guard = f"AOCQ_GOLDEN_{name.upper()}_H"
    kind = {"float32": "float", "float64": "double"}.get(file.dtype, f"{file.dtype}_t")
    shape = " x ".join(map(str, file.shape))
    head = (
        f"/* {shape}, {file.layout.value}; {file.type}, zero point {file.zero_point} */\n"
        f"#ifndef {guard}\n#define {guard}\n\n#include <stdint.h>\n\n"
        f"#define {name.upper()}_ELEMENTS {array.size}\n\n"
        f"static const {kind} {name}[{name.upper()}_ELEMENTS] = {{\n"
    )
    stream.write(head.encode())
    flat = array.reshape(-1)
    for start in range(0, flat.size, _ELEMENTS_AT_ONCE):
        stream.write(
            "".join(_c_lines(flat[start : start + _ELEMENTS_AT_ONCE], file.dtype)).encode()
        )
    stream.write(f"}};\n\n#endif /* {guard} */\n".encode())


def _c_lines(values: Array, dtype: str) -> Iterator[str]:
    """Yield lines of literals; the lowest number of 64 bits has none in C."""
    if values.dtype.kind == "f":
        suffix = "f" if dtype == "float32" else ""
        literals = [f"{value.hex()}{suffix}" for value in values.astype(np.float64).tolist()]
    elif dtype == "int64":
        literals = [
            "INT64_MIN" if value == -(1 << 63) else f"INT64_C({value})" for value in values.tolist()
        ]
    elif dtype == "uint64":
        literals = [f"UINT64_C({value})" for value in values.tolist()]
    else:
        literals = [str(value) for value in values.tolist()]
    for start in range(0, len(literals), _PER_LINE):
        yield "    " + ", ".join(literals[start : start + _PER_LINE]) + ",\n"


def _c_names(files: Collection[str]) -> dict[str, str]:
    """Return an identifier for every array, no two alike even in capitals."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for path in sorted(files):
        plain = re.sub(r"[^A-Za-z0-9_]", "_", path.removesuffix(".npy"))
        name, number = plain, 1
        while name.upper() in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name.upper())
        found[path] = name
    return found
