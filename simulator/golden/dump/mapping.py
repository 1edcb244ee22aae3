# SPDX-License-Identifier: Apache-2.0
"""Mapping files: which array of a golden folder a file or a signal of a dump holds.

::

    [[array]]
    op = "blocks.0.attn.qkv"       # of the golden folder's manifest
    array = "result"               # or an intermediate, as "accumulator"; default: result
    file = "qkv.hex"               # relative to the dump
    format = "hex"                 # npy, hex, raw, wave; default: by the file's ending
    lanes = 4                      # of hex and waves: elements in a word, lowest first; default 1
    bits = 8                       # of an element in the file; default: its type's; raw: 8 to 64
    byte_order = "little"          # of raw; or "big"
    order = [0, 2, 1]              # dimensions as the file runs through them, slowest first
    signal = "tb.unit.out"         # wave: the value right before each edge of the clock …
    clock = "tb.clk"
    edge = "rising"
    when = ["tb.unit.out_valid"]   # … at which all of these are 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.errors import InputError
from simulator.graph.names import printable, quoted
from simulator.reading import read_text


class Format(StrEnum):
    """Form of a file of a dump."""

    NPY = "npy"
    HEX = "hex"  # $readmemh
    RAW = "raw"  # binary, no header
    WAVE = "wave"  # VCD or FST


ENDINGS = {
    ".npy": Format.NPY,
    ".hex": Format.HEX,
    ".mem": Format.HEX,
    ".raw": Format.RAW,
    ".bin": Format.RAW,
    ".vcd": Format.WAVE,
    ".fst": Format.WAVE,
}


class MappedArray(BaseModel):
    """One entry of a mapping file; see the module for what its keys mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    op: str
    array: str = "result"
    file: str
    format: Format | None = None
    lanes: Annotated[int, Field(ge=1, le=1024)] = 1
    bits: Annotated[int, Field(ge=1, le=64)] | None = None
    byte_order: Literal["little", "big"] = "little"
    order: tuple[int, ...] | None = None
    signal: str | None = None
    clock: str | None = None
    edge: Literal["rising", "falling"] = "rising"
    when: tuple[str, ...] = ()

    @property
    def form(self) -> Format | None:
        """The file's format: as stated, or by its ending."""
        return self.format or ENDINGS.get(Path(self.file).suffix.lower())


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    array: list[MappedArray]


def read_mapping(path: Path) -> tuple[MappedArray, ...]:
    """Read a mapping file.

    Raises
    ------
    InputError
        If it is missing, no TOML, or says what cannot be.
    """
    try:
        plain = tomllib.loads(read_text(path))
        found = tuple(_File.model_validate(plain).array)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; name a mapping file with --map") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(quoted(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {printable(first['msg'])}") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not a mapping file ({printable(str(error))}); docs/golden_check.md has one"
        ) from error
    problem = next(_problems(found), None)
    if problem is not None:
        raise InputError(f"{path}: {problem}")
    return found


def _problems(arrays: tuple[MappedArray, ...]) -> Iterator[str]:
    """Yield what does not go together."""
    seen = set()
    for entry in arrays:
        place = f"array {quoted(entry.array)} of op {quoted(entry.op)}"
        if (entry.op, entry.array) in seen:
            yield f"{place}: twice"
        seen.add((entry.op, entry.array))
        if entry.form is None:
            yield f'{place}: format of {quoted(entry.file)} is unknown; give format = "hex"'
        wave = entry.form is Format.WAVE
        if wave and (entry.signal is None or entry.clock is None):
            yield f"{place}: a waveform needs signal and clock"
        if not wave and {"signal", "clock", "edge", "when"} & entry.model_fields_set:
            yield (
                f"{place}: signal, clock, edge and when are of waveforms, {quoted(entry.file)} is "
                "none"
            )
        if entry.form is Format.NPY and (entry.lanes != 1 or entry.bits is not None):
            yield f"{place}: lanes and bits are of hex, raw and waves; .npy has a type of its own"
        if entry.form is not Format.RAW and "byte_order" in entry.model_fields_set:
            yield f"{place}: byte_order is of raw files, {quoted(entry.file)} is none"
        if entry.form is Format.RAW and entry.lanes != 1:
            yield f"{place}: lanes are of hex and waves; raw has its values one after the other"
        if entry.form is Format.RAW and entry.bits not in {None, 8, 16, 32, 64}:
            yield f"{place}: raw values have 8, 16, 32 or 64 bits, not {entry.bits}"
