# SPDX-License-Identifier: Apache-2.0
"""A graph as two files: canonical ``graph.json`` (one op per line) and ``graph.safetensors``.

The JSON holds a sha256 of every constant's codes, so the sha256 of the JSON identifies both files.
Metadata stays out of the safetensors file: with several keys its bytes are not reproducible
(safetensors issue 584).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.graph.graph import FORMAT, IntGraph, Role, Tensor
from simulator.graph.ops import OP_TYPES, Op
from simulator.graph.verify import verify
from simulator.numerics.added_field import is_left_out
from simulator.numerics.float_type import Array, parse_type

JSON_NAME = "graph.json"
TENSORS_NAME = "graph.safetensors"


def _plain(value: Any) -> Any:
    """Turn frozen dataclasses, enums and tuples into what JSON knows."""
    if is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in fields(value)
            if not is_left_out(field, getattr(value, field.name))
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))


def _content_hash(codes: Array) -> str:
    little_endian = np.ascontiguousarray(codes, dtype=codes.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()


def _tensor_line(tensor: Tensor, graph: IntGraph) -> str:
    plain = {
        "name": tensor.name,
        "role": tensor.role.value,
        "scale": list(tensor.scale),
        "shape": list(tensor.shape),
        "type": str(tensor.type),
        "zero_point": tensor.zero_point,
    }
    if tensor.role is Role.CONSTANT:
        plain["sha256"] = _content_hash(graph.constants[tensor.name])
    return _dump(plain)


def canonical_json(graph: IntGraph) -> str:
    """Return the graph's one canonical text: sorted keys, one tensor and one op per line."""
    entries = {
        "format": str(FORMAT),
        "inputs": _dump(list(graph.inputs)),
        "meta": _dump(dict(graph.meta)),
        "name": _dump(graph.name),
        "ops": _lines(_dump({"op": type(op).__name__, **_plain(op)}) for op in graph.ops),
        "outputs": _dump(list(graph.outputs)),
        "profile": _dump(graph.profile),
        "tensors": _lines(
            _tensor_line(graph.tensors[name], graph) for name in sorted(graph.tensors)
        ),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in entries.items()) + "\n}\n"


def _lines(items: Any) -> str:
    return "[\n" + ",\n".join(items) + "\n]"


def sha256(graph: IntGraph) -> str:
    """Return the identity of a graph: structure, every numeric choice, and every constant."""
    return hashlib.sha256(canonical_json(graph).encode()).hexdigest()


def save(graph: IntGraph, folder: Path) -> str:
    """Write ``graph.json`` and ``graph.safetensors`` into ``folder``; return the sha256.

    Each file is written under a temporary name and renamed, the tensors first: a killed save
    leaves no pair that loads and is wrong, because the JSON names the hash of every constant.
    """
    tensors = {name: np.ascontiguousarray(graph.constants[name]) for name in graph.constants}
    with replace_file(folder / TENSORS_NAME) as temporary:
        temporary.write_bytes(serialize(tensors))
    text = canonical_json(graph)
    write_text(folder / JSON_NAME, text)
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> IntGraph:
    """Read and verify a graph from its folder or its ``graph.json``.

    Raises
    ------
    InputError
        If a file is missing, truncated, altered, of another format, or the graph is not valid.
    """
    json_path = path / JSON_NAME if path.is_dir() else path
    tensors_path = json_path.with_name(TENSORS_NAME)
    try:
        text = json_path.read_bytes().decode()  # as it is: read_text() would change line ends
        constants: dict[str, Array] = load_file(tensors_path)
        graph = _decode(json.loads(text), constants)
        canonical = canonical_json(graph)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or tensors_path}: not found; a graph is the two files {JSON_NAME} "
            f"and {TENSORS_NAME}, as `aocq lower` and `aocq verify` write them"
        ) from error
    except OSError as error:
        raise InputError(
            f"{error.filename or tensors_path}: cannot be read ({error.strerror or error}); name "
            "a graph's folder"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{json_path}: not a graph ({error}); write it again") from error
    except SafetensorError as error:
        raise InputError(f"{tensors_path}: damaged ({error}); write the graph again") from error
    except (KeyError, TypeError, ValueError) as error:
        reason = _first_problem(error)
        raise InputError(f"{json_path}: not a valid graph: {reason}; write it again") from error
    if canonical != text:
        raise InputError(
            f"{json_path}: differs from the canonical form of its own content (edited by hand, or "
            f"{TENSORS_NAME} belongs to another graph); write the graph again"
        )
    problems = verify(graph)
    if problems:
        raise InputError(f"{json_path}: not a valid graph: " + "; ".join(problems))
    return graph


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"{type(error).__name__}: {error}"


class _File(BaseModel):
    """What ``graph.json`` holds, before its tensors and ops are looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    inputs: list[str]
    meta: dict[str, str]
    name: str
    ops: list[dict[str, Any]]
    outputs: list[str]
    profile: str
    tensors: list[dict[str, Any]]


def _decode(plain: Mapping[str, Any], constants: Mapping[str, Array]) -> IntGraph:
    if plain["format"] != FORMAT:
        raise ValueError(f"format {plain['format']}: this version reads format {FORMAT}")
    file = _File.model_validate(plain)
    tensors = {entry["name"]: _decode_tensor(entry) for entry in file.tensors}
    declared = {name for name, tensor in tensors.items() if tensor.role is Role.CONSTANT}
    if not declared <= constants.keys():
        names = ", ".join(sorted(declared - constants.keys()))
        raise ValueError(f"{TENSORS_NAME} has no codes of {names}")
    return IntGraph(
        name=file.name,
        profile=file.profile,
        inputs=tuple(file.inputs),
        outputs=tuple(file.outputs),
        tensors=MappingProxyType(tensors),
        ops=tuple(_decode_op(entry) for entry in file.ops),
        constants=MappingProxyType(dict(constants)),
        meta=MappingProxyType(file.meta),
    )


_TENSOR = TypeAdapter(Tensor)


def _decode_tensor(entry: Mapping[str, Any]) -> Tensor:
    return _TENSOR.validate_python({**entry, "type": parse_type(entry["type"])})


_ADAPTERS: Mapping[str, TypeAdapter[Op]] = MappingProxyType(
    {name: TypeAdapter(kind) for name, kind in OP_TYPES.items()}
)


def _decode_op(entry: Mapping[str, Any]) -> Op:
    entry = dict(entry)
    kind = entry.pop("op")
    if kind not in OP_TYPES:
        raise ValueError(f"op {kind!r}: unknown")
    return _ADAPTERS[kind].validate_python(entry)
