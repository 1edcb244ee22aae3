# SPDX-License-Identifier: Apache-2.0
"""Values of one file of a dump: ``.npy``, hex text, raw binary, or a signal of a waveform."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.codes_file import mapped_array
from simulator.errors import InputError
from simulator.golden.check.difference import bits_of
from simulator.golden.dump.hex_words import NotHexError, elements_of, parse_hex
from simulator.golden.dump.mapping import Format, MappedArray
from simulator.golden.dump.waves import Sampling, Wave
from simulator.golden.manifest import ArrayFile
from simulator.numerics.float_type import Array, FloatType
from simulator.numerics.integer_type import IntType
from simulator.reading import read_bytes

_LARGEST = 1 << 34  # bytes
_STORED = (1, 2, 4, 8)  # bytes of a value


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpedArray:
    """Values of a dump, as 64-bit integers; floats by their bits.

    Attributes
    ----------
    place
        file, and signal
    values
        [images, ...] where their number is the expected one, else of one dimension
    shape_problem
        what is wrong with a type or shape that the file states itself; None where nothing is
    itemsize
        bytes of a value in the file, or in numpy's type where it has none
    notes
        what else was noticed
    unknown
        index in ``values``, flat, to what was read and where, of unknown bits and of words with
        bits that are in no element
    """

    place: str
    values: NDArray[np.int64]
    shape_problem: str | None = None
    itemsize: int
    notes: tuple[str, ...] = ()
    unknown: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flat:
    """What a reader finds: values in the order of the file."""

    values: NDArray[np.int64]
    shape_problem: str | None = None
    itemsize: int | None = None
    notes: tuple[str, ...] = ()
    unknown: Mapping[int, str] = field(default_factory=dict)


def code_type(file: ArrayFile) -> IntType:
    """Return the integer type of an array's values; of floats, that of their bits."""
    kind = file.type
    if isinstance(kind, FloatType):
        return IntType(bits=kind.bits, signed=kind.bits == 64)
    return kind


def as_integers(array: Array) -> NDArray[np.int64]:
    """Return an array's values as int64, floats by their bits."""
    return np.asarray(bits_of(np.asarray(array))).astype(np.int64)


def read_dumped(path: Path, source: MappedArray, file: ArrayFile) -> DumpedArray:
    """Return the values of a file.

    Parameters
    ----------
    source
        how it is read
    file
        the golden array that it should be

    Raises
    ------
    InputError
        If it is missing, damaged, or no file of its format.
    """
    form = source.form or Format.RAW
    if not path.is_file():
        raise InputError(f"{path}: not found; the dump should have it")
    found = _READERS[form](path, source, file)
    values, unknown = found.values, found.unknown
    if values.size == prod(file.shape):
        values, unknown = _ordered(values, unknown, source, file, path)
    place = str(path) if source.signal is None else f"{path}: {source.signal}"
    return DumpedArray(
        place=place,
        values=values,
        shape_problem=found.shape_problem,
        itemsize=found.itemsize or np.dtype(file.dtype).itemsize,
        notes=found.notes,
        unknown=unknown,
    )


def _ordered(
    values: NDArray[np.int64],
    unknown: Mapping[int, str],
    source: MappedArray,
    file: ArrayFile,
    path: Path,
) -> tuple[NDArray[np.int64], Mapping[int, str]]:
    """Bring the values of a file into the order of the golden array."""
    if source.order is None:
        return values.reshape(file.shape), unknown
    if sorted(source.order) != [*range(len(file.shape))]:
        raise InputError(
            f"{path}: order {[*source.order]} does not have the dimensions 0 to "
            f"{len(file.shape) - 1} of shape {[*file.shape]}, each once"
        )
    stored = [file.shape[axis] for axis in source.order]
    back = np.argsort(source.order)
    places = np.arange(values.size).reshape(stored).transpose(back).ravel()
    moved = {int(old): new for new, old in enumerate(places)} if unknown else {}
    ordered = values.reshape(stored).transpose(back)
    return ordered, {moved[place]: text for place, text in unknown.items()}


def _npy(path: Path, _: MappedArray, file: ArrayFile) -> _Flat:
    array = mapped_array(path)
    problems = []
    found = str(array.dtype.newbyteorder("="))
    if found != file.dtype:
        problems.append(f"type is {found}, wanted {file.dtype}")
    if array.shape != file.shape:
        problems.append(f"shape is {[*array.shape]}, wanted {[*file.shape]}")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{path}: holds {array.dtype}, wanted integers of type {file.dtype}")
    if array.dtype.kind == "f" and not file.dtype.startswith("float"):
        raise InputError(f"{path}: holds {array.dtype}, wanted codes of type {file.dtype}")
    return _Flat(
        values=as_integers(np.array(array, array.dtype.newbyteorder("="), order="C")).ravel(),
        shape_problem="; ".join(problems) or None,
        itemsize=array.dtype.itemsize,
    )


def _hex(path: Path, source: MappedArray, file: ArrayFile) -> _Flat:
    try:
        found = parse_hex(read_bytes(path, _LARGEST).decode("ascii"))
    except (NotHexError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no text of $readmemh: {error}") from error
    lanes = source.lanes
    if lanes > 1 and len(found.words) == prod(file.shape):
        lanes = 1  # a word for each value after all
    kind = _element(source.bits or code_type(file).bits, file)
    values, unknown = _from_words(found.words, [4 * digits for digits in found.digits], kind, lanes)
    for word, (line, text) in found.unknown.items():
        unknown |= dict.fromkeys(range(word * lanes, (word + 1) * lanes), f"{text} (line {line})")
    return _trimmed(values, unknown, lanes, file)


def _element(bits: int, file: ArrayFile) -> IntType:
    """Return the type of an element of a word; unsigned ones have at most 63 bits."""
    signed = code_type(file).signed
    return IntType(bits=bits if signed else min(bits, 63), signed=signed)


def _from_words(
    words: list[int], widths: list[int], kind: IntType, lanes: int
) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return the elements of words of ``widths`` bits, and text of those that cannot be read.

    A word of one element may be wider than it, its upper bits 0 or copies of the sign; where they
    are neither, the word is no such element, and its whole value is returned. Bits above the lanes
    of a word of several elements are 0; where they are not, none of its elements is known.
    """
    size = kind.bits * lanes
    packed = [word & ((1 << size) - 1) for word in words]
    values = elements_of(packed, kind, lanes).astype(np.int64)
    unknown: dict[int, str] = {}
    for index, (word, width) in enumerate(zip(words, widths, strict=True)):
        above = word >> size
        if not above:
            continue
        if lanes == 1:
            ones = (1 << (width - size)) - 1
            if kind.signed and above == ones and values[index] < 0:
                continue
            whole = word - (word >> (width - 1) << width) if kind.signed else word
            if -(1 << 63) <= whole < 1 << 63:
                values[index] = whole
                continue
        text = f"{word:#x} (word {index}: bits above its {size} are not 0)"
        unknown |= dict.fromkeys(range(index * lanes, (index + 1) * lanes), text)
    return values, unknown


def _trimmed(
    values: NDArray[np.int64], unknown: Mapping[int, str], lanes: int, file: ArrayFile
) -> _Flat:
    """Leave out the lanes of the last word that hold nothing: zeros."""
    extra = values.size - prod(file.shape)
    if 0 < extra < lanes and not values[-extra:].any():
        return _Flat(
            values=values[:-extra],
            unknown={place: text for place, text in unknown.items() if place < values.size - extra},
        )
    return _Flat(values=values, unknown=unknown)


def _raw(path: Path, source: MappedArray, file: ArrayFile) -> _Flat:
    content = read_bytes(path, _LARGEST)
    wanted, number = np.dtype(file.dtype).itemsize, prod(file.shape)
    if source.bits is not None:
        wanted = next(size for size in _STORED if source.bits <= 8 * size)
    item, notes = wanted, tuple[str, ...]()
    if len(content) != number * wanted:
        fitting = [size for size in _STORED if len(content) == number * size]
        if fitting:
            item = fitting[0]
            notes = (f"the file has {item} bytes for each value, wanted {wanted}",)
    rest = len(content) % item
    if rest:
        notes = (*notes, f"{rest} bytes stand behind the last whole value")
    kind = code_type(file)
    order = "<" if source.byte_order == "little" else ">"
    stored = np.frombuffer(content[: len(content) - rest], f"{order}{'iu'[not kind.signed]}{item}")
    return _Flat(values=stored.astype(np.int64), itemsize=item, notes=notes)


def _wave(path: Path, source: MappedArray, file: ArrayFile) -> _Flat:
    assert source.signal is not None
    assert source.clock is not None
    wave, lanes = Wave(path), source.lanes
    sampling = Sampling(
        signal=source.signal, clock=source.clock, when=source.when, edge=source.edge
    )
    width = wave.bits(source.signal)
    bits = source.bits or width // lanes
    if bits * lanes > width or not 1 <= bits <= 64:
        raise InputError(
            f"{path}: signal {source.signal} has {width} bits, not {lanes} lanes of {bits}"
        )
    words: list[int] = []
    undefined: dict[int, str] = {}
    for sample in wave.samples(sampling):
        if isinstance(sample.value, str):
            for lane in range(lanes):
                undefined[len(words) * lanes + lane] = f"{sample.value} (at time {sample.time})"
        words.append(sample.value if isinstance(sample.value, int) else 0)
    kind = _element(bits, file)
    values, unknown = _from_words(words, [width] * len(words), kind, lanes)
    return _trimmed(values, unknown | undefined, lanes, file)


_READERS: Mapping[Format, Callable[[Path, MappedArray, ArrayFile], _Flat]] = {
    Format.NPY: _npy,
    Format.HEX: _hex,
    Format.RAW: _raw,
    Format.WAVE: _wave,
}
