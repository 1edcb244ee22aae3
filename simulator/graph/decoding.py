# SPDX-License-Identifier: Apache-2.0
"""From the text of ``graph.json`` to an IntGraph: every value by a type, every message a place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from simulator.graph.canonical import impossible_numbers
from simulator.graph.graph import FORMAT, IntGraph, Tensor
from simulator.graph.names import printable, quoted
from simulator.graph.ops import OP_TYPES, Op
from simulator.numerics.float_type import Array, parse_type


class _File(BaseModel):
    """The top level of ``graph.json``, before its tensors and ops are looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    inputs: list[str]
    meta: dict[str, str]
    name: str
    ops: list[dict[str, Any]]
    outputs: list[str]
    profile: str
    tensors: list[dict[str, Any]]


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads a kind of entry, made when the first such entry is read."""
    return TypeAdapter(kind)


def decode(text: str, constants: Mapping[str, Array]) -> IntGraph:
    """Return the graph that a text and its constants make; its rules are yet to be verified.

    Raises
    ------
    ValueError
        If the text is not JSON, or a value is not what its place wants.
    """
    plain = _parsed(text)
    if plain.get("format", FORMAT) != FORMAT:
        raise ValueError(f"format {quoted(plain['format'])}: this version reads format {FORMAT}")
    file: _File = _validated(_adapter(_File), plain, "graph")
    tensors = [_tensor(entry) for entry in file.tensors]
    return IntGraph(
        name=file.name,
        profile=file.profile,
        inputs=tuple(file.inputs),
        outputs=tuple(file.outputs),
        tensors=MappingProxyType({tensor.name: tensor for tensor in tensors}),
        ops=tuple(decode_op(entry) for entry in file.ops),
        constants=MappingProxyType(dict(constants)),
        meta=MappingProxyType(file.meta),
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({printable(str(error))})") from error
    if not isinstance(plain, dict):
        raise ValueError(f"is {quoted(plain)}, wanted an object")
    return plain


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    place = f"tensor {quoted(entry.get('name'))}"
    kind = entry.get("type")
    try:
        parsed = parse_type(kind) if isinstance(kind, str) else None
    except ValueError:
        parsed = None
    if parsed is None:
        raise ValueError(f"{place}: type {quoted(kind)}: wanted s1 to s64, u1 to u63, f32 or f64")
    tensor: Tensor = _validated(_adapter(Tensor), {**entry, "type": parsed}, place)
    return tensor


def decode_op(entry: Mapping[str, Any]) -> Op:
    """Return the op of an entry of ``graph.json``; ``op`` is its type, the other keys its fields.

    Raises
    ------
    ValueError
        If there is no such op, or a field is missing or not what its place wants.
    """
    place = f"op {quoted(entry.get('name'))}"
    kind = entry.get("op")
    if not isinstance(kind, str) or kind not in OP_TYPES:
        raise ValueError(f"{place}: op {quoted(kind)}: unknown")
    parameters = {key: value for key, value in entry.items() if key != "op"}
    adapter = _adapter(OP_TYPES[kind])  # type: ignore[arg-type]  # Op says that it is no Hashable
    op: Op = _validated(adapter, parameters, place)
    return op


def _validated(adapter: TypeAdapter[Any], entry: Mapping[str, Any], place: str) -> Any:
    try:
        problem = next(impossible_numbers(entry), None) if adapter is not _adapter(_File) else None
        if problem is None:
            return adapter.validate_python(entry)
    except RecursionError:
        problem = "is nested too deeply"
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(quoted(part) for part in first["loc"])
        problem = f"{where}: {printable(first['msg'])}"
    raise ValueError(f"{place}: {problem}")
