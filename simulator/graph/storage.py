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
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from simulator.errors import InputError
from simulator.files import replace_file, write_text
from simulator.graph.graph import FORMAT, IntGraph, Role, Tensor
from simulator.graph.ops import OP_TYPES, Op
from simulator.graph.verify import verify
from simulator.numerics.integer_type import IntArray, IntType

JSON_NAME = "graph.json"
TENSORS_NAME = "graph.safetensors"


def _plain(value: Any) -> Any:
    """Turn frozen dataclasses, enums and tuples into what JSON knows."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _dump(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(", ", ": "))


def _content_hash(codes: IntArray) -> str:
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
    with replace_file(folder / TENSORS_NAME) as temporary:
        save_file(
            {name: np.ascontiguousarray(graph.constants[name]) for name in sorted(graph.constants)},
            temporary,
        )
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
        text = json_path.read_text(encoding="utf-8")
        constants: dict[str, IntArray] = load_file(tensors_path)
        graph = _decode(json.loads(text), constants)
    except FileNotFoundError as error:
        raise InputError(
            f"{error.filename or tensors_path}: not found; a graph is the two files {JSON_NAME} and "
            f"{TENSORS_NAME}, as `aocq lower` and `aocq verify` write them"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{json_path}: not a graph ({error}); write it again") from error
    except SafetensorError as error:
        raise InputError(f"{tensors_path}: damaged ({error}); write the graph again") from error
    except (KeyError, TypeError, ValueError) as error:
        reason = _first_problem(error)
        raise InputError(f"{json_path}: not a valid graph: {reason}; write it again") from error
    if canonical_json(graph) != text:
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


def _decode(plain: Mapping[str, Any], constants: Mapping[str, IntArray]) -> IntGraph:
    if plain["format"] != FORMAT:
        raise ValueError(f"format {plain['format']}: this version reads format {FORMAT}")
    tensors = {
        entry["name"]: Tensor(
            name=entry["name"],
            shape=tuple(entry["shape"]),
            type=IntType.parse(entry["type"]),
            role=Role(entry["role"]),
            zero_point=entry["zero_point"],
            scale=tuple(entry["scale"]),
        )
        for entry in plain["tensors"]
    }
    return IntGraph(
        name=plain["name"],
        profile=plain["profile"],
        inputs=tuple(plain["inputs"]),
        outputs=tuple(plain["outputs"]),
        tensors=MappingProxyType(tensors),
        ops=tuple(_decode_op(entry) for entry in plain["ops"]),
        constants=MappingProxyType(dict(constants)),
        meta=MappingProxyType(dict(plain["meta"])),
    )


_ADAPTERS: Mapping[str, TypeAdapter[Op]] = MappingProxyType(
    {name: TypeAdapter(kind) for name, kind in OP_TYPES.items()}
)


def _decode_op(entry: Mapping[str, Any]) -> Op:
    entry = dict(entry)
    kind = entry.pop("op")
    if kind not in OP_TYPES:
        raise ValueError(f"op {kind!r}: unknown")
    return _ADAPTERS[kind].validate_python(entry)
