# SPDX-License-Identifier: Apache-2.0
"""A graph's description of its network beside the integers: class count, preprocessing, arguments.

Graphs that were made by hand have none of it. Others carry text under fixed keys, because front
ends need it to turn images into codes; execution never reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator import strict_json
from simulator.errors import InputError
from simulator.graph.graph import IntGraph
from simulator.graph.names import printable, quoted
from simulator.preprocessing import preprocessing_problems

LONGEST = 1 << 16  # characters of each text


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphMeta:
    """The parsed ``meta`` of a graph.

    Attributes
    ----------
    classes
        how many the network tells apart: the last dimension of its first output
    preprocessing
        a complete configuration of :mod:`simulator.preprocessing`
    model_arguments
        of the network's constructor, where they are not those of its name
    """

    classes: int
    preprocessing: Mapping[str, Any]
    model_arguments: Mapping[str, Any]


class _Meta(BaseModel):
    """The texts of ``meta``, before those that are JSON are read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    classes: str = Field(pattern=r"^[1-9][0-9]{0,8}$")
    preprocessing: str = Field(max_length=LONGEST)
    model_arguments: str = Field(default="{}", max_length=LONGEST)


def read_meta(meta: Mapping[str, str]) -> GraphMeta:
    """Read the texts of a ``meta`` that is not empty.

    Raises
    ------
    ValueError
        If a key is missing or unknown, or a text does not mean what its key says.
    """
    try:
        texts = _Meta.model_validate(dict(meta))
    except ValidationError as error:
        raise ValueError("; ".join(map(_sentence, error.errors()))) from error
    preprocessing = _object("preprocessing", texts.preprocessing)
    problems = [printable(problem) for problem in preprocessing_problems(preprocessing)]
    if problems:
        raise ValueError(f"preprocessing: {'; '.join(problems)}")
    return GraphMeta(
        classes=int(texts.classes),
        preprocessing=preprocessing,
        model_arguments=_object("model_arguments", texts.model_arguments),
    )


def meta_of(meta: Mapping[str, str], place: str) -> GraphMeta | None:
    """Return what the ``meta`` of a graph or of a quantized model means; None where it is empty.

    Raises
    ------
    InputError
        If it does not mean anything: ``place`` is then named.
    """
    try:
        return read_meta(meta) if meta else None
    except ValueError as error:
        raise InputError(f"{place}: meta: {error}") from error


def graph_meta(graph: IntGraph) -> GraphMeta | None:
    """Return what a graph's ``meta`` means; see :func:`meta_of`."""
    return meta_of(graph.meta, f"graph {quoted(graph.name)}")


def meta_fits(graph: IntGraph) -> Iterator[str]:
    """Yield what is wrong with ``meta`` by itself and beside the graph's two ends."""
    if not graph.meta:
        return
    try:
        found = read_meta(graph.meta)
    except ValueError as error:
        yield f"meta: {error}"
        return
    source, target = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    if target.shape[-1] != found.classes:
        yield (
            f"meta: classes {found.classes}, and output {target.name} has shape {target.shape}: "
            "its last dimension must have one element for each class"
        )
    size = tuple(found.preprocessing["input_size"])
    if size != source.shape:
        yield f"meta: preprocessing: input_size {size}, and input {source.name} is {source.shape}"
    for tensor in (source, *(graph.tensors[name] for name in graph.outputs)):
        if not (tensor.is_float or tensor.scale):
            yield (
                f"tensor {tensor.name}: has no scale, and meta has preprocessing: what its codes "
                "are worth must be known"
            )


def _sentence(error: Any) -> str:
    place = ".".join(quoted(part) for part in error["loc"])
    return f"{place}: {error['msg']}"


def _object(key: str, text: str) -> dict[str, Any]:
    """Read one JSON object, strictly: standard numbers only, every key once."""
    try:
        value = strict_json.loads(text)
    except ValueError as error:
        raise ValueError(f"{key}: not JSON ({printable(str(error))})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key}: must be a JSON object")
    return value
