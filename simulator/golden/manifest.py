# SPDX-License-Identifier: Apache-2.0
"""The manifest of a golden folder (``manifest.json``): which arrays there are, and of which op.

Paths are relative to the folder, with ``/``. An entry of an op together with its files is enough to
rebuild the op and to run it again (:mod:`simulator.golden.one_op`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.graph.canonical import plain
from simulator.graph.decoding import decode_op
from simulator.graph.graph import IntGraph
from simulator.graph.names import printable, quoted
from simulator.graph.op import Op, TensorId
from simulator.graph.storage import sha256
from simulator.numerics.float_type import FloatType, TensorType
from simulator.numerics.integer_type import IntType
from simulator.reading import read_text

MANIFEST_NAME = "manifest.json"
FORMAT: Literal[1] = 1
RESULT = "result"
_OF_A_RUN = "run.json"  # no golden folder has one
# Of folders and files below the golden folder: no way leads out of it.
_PART = r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*"
FilePath = Annotated[str, StringConstraints(pattern=rf"^{_PART}(/{_PART})*$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_STRICT = ConfigDict(extra="forbid", strict=True)


class Kind(StrEnum):
    """Origin of a golden folder's operands."""

    NETWORK = "network"  # a network that ran on inputs
    STIMULUS = "stimulus"  # one op that ran on operands of somebody's own
    DIRECTED = "directed"  # made to tell implementations apart


class ArrayRole(StrEnum):
    """Meaning of an array for the ops of the folder."""

    OPERAND = "operand"  # an activation that none of the folder's ops computes
    CONSTANT = "constant"  # weights, bias, multipliers, shifts, tables
    INNER = "inner"  # a value inside an op
    RESULT = "result"  # the result of an op, which other ops may read


class Layout(StrEnum):
    """Order of an array's elements in its file."""

    IMAGES_FIRST = "row-major, images first"
    ROW_MAJOR = "row-major"  # of constants, which are the same for all images


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ArrayFile:
    """One ``.npy`` file.

    Attributes
    ----------
    sha256
        of the file
    shape, dtype
        of the array, as numpy has them: ``(4, 197, 192)``, ``int8``
    bits, signed
        the type of the values on the chip, in the lowest bits of ``dtype``
    zero_point, scale
        what codes are worth: ``real = scale * (code - zero_point)``; scale is empty where no real
        number is meant
    """

    sha256: Digest
    shape: tuple[int, ...]
    dtype: str
    bits: Annotated[int, Field(ge=1, le=64)]
    signed: bool
    role: ArrayRole
    zero_point: int
    scale: tuple[float, ...]
    layout: Layout

    @property
    def type(self) -> TensorType:
        """The type of its values on the chip."""
        if self.dtype.startswith("float"):
            return FloatType(self.bits)
        return IntType(bits=self.bits, signed=self.signed)


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class OpEntry:
    """One op and the files of all that it reads, computes on the way, and writes.

    Attributes
    ----------
    name, op, fields
        name, type and other fields, as in ``graph.json``
    arrays
        path by the name of a field (``a``, ``bias``, ``multiplier``; ``inputs.0`` where a field
        names several), by that of an intermediate (``accumulator``), and of the ``result``
    counts
        what happened in all images, as ``docs/ir.md`` counts it: ``saturated`` and, of ops with an
        accumulator, ``persistent``, ``transient`` and ``changed``; or nothing
    about
        a sentence for people
    stands_for
        of a directed unit of a graph: the names of the graph's ops that it is made for
    """

    name: str
    op: str
    fields: dict[str, Any]
    arrays: dict[str, FilePath]
    counts: dict[str, int] | None = None
    about: str = ""
    stands_for: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        op: Op,
        arrays: Mapping[str, str],
        counts: Mapping[str, int] | None = None,
        about: str = "",
        stands_for: tuple[str, ...] = (),
    ) -> OpEntry:
        """Return the entry of an op."""
        fields = {key: value for key, value in plain(op).items() if key != "name"}
        return cls(
            name=op.name,
            op=type(op).__name__,
            fields=fields,
            arrays=dict(arrays),
            counts=None if counts is None else dict(counts),
            about=about,
            stands_for=stands_for,
        )

    def decoded(self) -> Op:
        """Return the op.

        Raises
        ------
        ValueError
            If the fields are not those of an op.
        """
        op = decode_op({**self.fields, "op": self.op, "name": self.name})
        extra = self.fields.keys() - plain(op).keys()
        if extra:
            raise ValueError(f"op {quoted(self.name)}: {quoted(min(extra))}: no field of {self.op}")
        return op


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class GraphIdentity:
    """The graph that the ops belong to, and its hash, which covers all constants."""

    name: str
    profile: str
    sha256: Digest

    @classmethod
    def of(cls, graph: IntGraph) -> GraphIdentity:
        """Return the identity of a graph."""
        return cls(name=graph.name, profile=graph.profile, sha256=sha256(graph))


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class DerivedFile:
    """One file that was made from a ``.npy`` file, see :mod:`simulator.golden.formats`.

    Attributes
    ----------
    source
        path of the ``.npy`` file
    format
        ``hex``, ``raw`` or ``c``
    words, word_bits, lanes
        of ``hex``: number of words, bits of one, elements in one; otherwise none
    """

    sha256: Digest
    source: FilePath
    format: Literal["hex", "raw", "c"]
    words: int | None = None
    word_bits: int | None = None
    lanes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Manifest:
    """All of a golden folder.

    Attributes
    ----------
    graph
        the graph that the ops are of; none where each is a unit of its own
    images
        number of images of every array that has any; none where ops differ in it
    word_bits
        width of a memory word, by which ``hex`` files pack elements; none: one element per word
    files
        every ``.npy`` file by its path
    ops
        in order of execution
    derived
        every file in another format by its path
    source
        a sentence: what the operands are of
    """

    format: Literal[1] = FORMAT
    kind: Kind
    graph: GraphIdentity | None
    images: int | None
    word_bits: int | None
    files: dict[FilePath, ArrayFile]
    ops: tuple[OpEntry, ...]
    derived: dict[FilePath, DerivedFile] | None = None
    source: str = ""

    def entry(self, name: str) -> OpEntry:
        """Return the entry of an op.

        Raises
        ------
        InputError
            If there is none.
        """
        for entry in self.ops:
            if entry.name == name:
                return entry
        some = ", ".join(entry.name for entry in self.ops[:3])
        raise InputError(f"op {quoted(name)}: not in the golden folder, which has {some} …")


_MANIFEST: TypeAdapter[Manifest] = TypeAdapter(Manifest)


def array_names(op: Op) -> dict[str, TensorId]:
    """Return the tensors that an op reads and writes by the keys of :attr:`OpEntry.arrays`."""
    found: dict[str, TensorId] = {}
    for field in (*op.operand_fields, *op.constant_fields):
        value = getattr(op, field)
        if isinstance(value, str):
            found[field] = value
        elif value is not None:
            found |= {f"{field}.{index}": name for index, name in enumerate(value)}
    for requantization in op.requantizations:
        found["multiplier"] = requantization.multiplier
        if requantization.shift is not None:
            found["shift"] = requantization.shift
    return {**found, RESULT: op.name}


def manifest_text(manifest: Manifest) -> str:
    """Return the one text of a manifest: sorted keys, optional parts left out where empty."""
    values = _MANIFEST.dump_python(manifest, mode="json", exclude_defaults=True)
    return (
        strict_json.dumps(
            {"format": FORMAT, **values}, sort_keys=True, indent=1, ensure_ascii=False
        )
        + "\n"
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` into ``folder``.

    Raises
    ------
    ValueError
        If :func:`read_manifest` would refuse it: a mistake of who made it.
    InputError
        If the file cannot be written.
    """
    text = manifest_text(manifest)
    parse_manifest(text)
    write_text(folder / MANIFEST_NAME, text)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a golden folder.

    Raises
    ------
    InputError
        If there is none, or it is not one: an unknown key, a value of another type, an op whose
        files are not named. Or if the folder is that of a run.
    """
    path = folder / MANIFEST_NAME
    if (folder / _OF_A_RUN).is_file():
        raise InputError(
            f"{folder}: is a run, not golden vectors; `aocq golden record {folder} --out DIR` "
            "makes them"
        )
    try:
        return parse_manifest(read_text(path))
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: not found; a golden folder is what `aocq golden record` and "
            "`aocq golden directed` write"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not the manifest of a golden folder: {printable(str(error))}; record it again"
        ) from error


def parse_manifest(text: str) -> Manifest:
    """Return the manifest of a text.

    Raises
    ------
    ValueError
        If it is none; see :func:`read_manifest`.
    """
    strict_json.loads(text)
    try:
        manifest = _MANIFEST.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(quoted(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}") from error
    problem = next(_problems(manifest), None)
    if problem is not None:
        raise ValueError(problem)
    return manifest


def _problems(manifest: Manifest) -> Iterator[str]:
    """Yield what does not go together."""
    names = [entry.name for entry in manifest.ops]
    if len({*names}) < len(names):
        yield "ops: two have one name"
    for entry in manifest.ops:
        keys = array_names(entry.decoded()).keys()
        missing = sorted(keys - entry.arrays.keys())
        if missing:
            yield f"op {quoted(entry.name)}: arrays has no {missing[0]}"
        for key, path in entry.arrays.items():
            if path not in manifest.files:
                yield f"op {quoted(entry.name)}: arrays.{quoted(key)}: {path} is not in files"
            elif key not in keys and manifest.files[path].role is not ArrayRole.INNER:
                yield f"op {quoted(entry.name)}: arrays.{quoted(key)}: no field of {entry.op}"
    for path, derived in (manifest.derived or {}).items():
        if derived.source not in manifest.files:
            yield f"derived: {path} is made of {derived.source}, which is not in files"
