# SPDX-License-Identifier: Apache-2.0
"""The one canonical text of a graph, whose sha256 is the graph's identity."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import numpy as np

from simulator.graph.graph import FORMAT, IntGraph, Role, Tensor
from simulator.graph.names import quoted
from simulator.numerics.added_field import is_left_out
from simulator.numerics.float_type import Array

# Of every number in a file: the emulator computes in 64 bits, and Python's own have no end.
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


def plain(value: Any) -> Any:
    """Turn frozen dataclasses, enums and tuples into what JSON knows."""
    if is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name))
            for field in fields(value)
            if not is_left_out(field, getattr(value, field.name))
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def impossible_numbers(value: Any, place: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield numbers that files do not hold: infinite, none at all, or wider than 64 bits."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{'.'.join(place)}: {value} is not a finite number"
    elif isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        yield f"{'.'.join(place)}: has a number that signed 64 bits do not hold"
    for key, item in items:
        yield from impossible_numbers(item, (*place, quoted(key)))


def _dump(value: Any) -> str:
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(", ", ": ")
    )


def _content_hash(codes: Array) -> str:
    little_endian = np.ascontiguousarray(codes, dtype=codes.dtype.newbyteorder("<"))
    return hashlib.sha256(little_endian.tobytes()).hexdigest()


def _tensor_line(tensor: Tensor, graph: IntGraph) -> str:
    entry = {
        "name": tensor.name,
        "role": tensor.role.value,
        "scale": list(tensor.scale),
        "shape": list(tensor.shape),
        "type": str(tensor.type),
        "zero_point": tensor.zero_point,
    }
    if tensor.role is Role.CONSTANT:
        entry["sha256"] = _content_hash(graph.constants[tensor.name])
    return _dump(entry)


def canonical_json(graph: IntGraph) -> str:
    """Return the graph's one canonical text: sorted keys, one tensor and one op per line."""
    entries = {
        "format": str(FORMAT),
        "inputs": _dump(list(graph.inputs)),
        "meta": _dump(dict(graph.meta)),
        "name": _dump(graph.name),
        "ops": _lines(_dump({"op": type(op).__name__, **plain(op)}) for op in graph.ops),
        "outputs": _dump(list(graph.outputs)),
        "profile": _dump(graph.profile),
        "tensors": _lines(
            _tensor_line(graph.tensors[name], graph) for name in sorted(graph.tensors)
        ),
    }
    return "{\n" + ",\n".join(f'"{key}": {text}' for key, text in entries.items()) + "\n}\n"


def _lines(items: Iterable[str]) -> str:
    return "[\n" + ",\n".join(items) + "\n]"


def sha256(graph: IntGraph) -> str:
    """Return the identity of a graph: structure, every numeric choice, and every constant."""
    return hashlib.sha256(canonical_json(graph).encode()).hexdigest()
