# SPDX-License-Identifier: Apache-2.0
"""What ``quantized.json`` holds, as a schema: strict JSON, every value by type and range."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NoReturn, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from aocq.capture import FloatNode, FloatOp
from aocq.capture.attributes import MOST_DIMENSIONS
from aocq.methods.quantized_model import Recipe
from aocq.methods.quantizer_entries import (
    LEVELS,
    UNIFORM,
    Entry,
    QuantizerEntry,
    Scale,
    UniformEntry,
)
from simulator.preprocessing import preprocessing_problems

FORMAT = 2
MOST_IMAGES = 1 << 40
LONGEST_TEXT = 1 << 16  # characters of a text in ``meta``

# Names become file names and lines of terminals: plain ones, as graphs have them.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_LONGEST_NAME = 200
_TAGS = frozenset({UNIFORM, LEVELS})


def _plain_name(text: str) -> str:
    if len(text) > _LONGEST_NAME or not _NAME.fullmatch(text):
        raise ValueError("wanted a name of letters, digits, _, -, and single dots between them")
    return text


def _known_operation(text: str) -> str:
    if text not in set(FloatOp):
        raise ValueError("is no operation of a network")
    return text


def _list(value: Any) -> Any:
    """Return a list of JSON as the tuple that it is in a graph."""
    return tuple(value) if isinstance(value, list) else value


def _strict_recipe(value: Any) -> Recipe:
    return Recipe.model_validate(value, strict=True)


Name = Annotated[str, AfterValidator(_plain_name)]
Extent = Annotated[int, Field(ge=1, le=1 << 40)]
Shape = Annotated[
    tuple[Extent, ...],
    Field(min_length=1, max_length=MOST_DIMENSIONS),
    BeforeValidator(_list),
]


class NodeEntry(Entry):
    """A :class:`FloatNode`; whether the attributes are those of its operation is verified later."""

    name: Name
    op: Annotated[str, AfterValidator(_known_operation)]
    inputs: list[Name]
    attributes: dict[str, Any]
    shape: Shape

    def node(self) -> FloatNode:
        """Return what the entry stands for."""
        attributes = {key: _list(value) for key, value in self.attributes.items()}
        return FloatNode(
            name=self.name,
            op=FloatOp(self.op),
            inputs=tuple(self.inputs),
            attributes=MappingProxyType(attributes),
            shape=self.shape,
        )


class WeightEntry(Entry):
    """What is said of a weight beside its tensors."""

    bits: Annotated[int, Field(ge=2, le=8)]
    alpha: list[Scale]


def _is_plain(value: Any, depth: int = 4) -> bool:
    """Whether a value of a log is one of JSON, not nested deeper than people read."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, (str, int))


class LogEntry(Entry):
    """How a decision was found, for people; figures read those of scale refinement."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Any]

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        entry = self.__pydantic_extra__
        for key, value in entry.items():
            if not _is_plain(value):
                raise ValueError(f"{key}: wanted text, finite numbers, or lists of them")
        if entry.get("stage") == "scales":
            _PassEntry.model_validate(entry)
        return self


class _PassEntry(Entry):
    """The loss of a block after a pass of scale refinement."""

    stage: str
    block: str
    number: Annotated[int, Field(ge=0, alias="pass")]
    loss: float


class MetaEntry(Entry):
    """Class count and preprocessing of the network, as graphs carry them; or nothing at all."""

    classes: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")] | None = None
    preprocessing: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None
    model_arguments: Annotated[str, Field(max_length=LONGEST_TEXT)] | None = None

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if (self.classes is None) != (self.preprocessing is None):
            raise ValueError("classes and preprocessing go together")
        if self.preprocessing is not None:
            problem = next(preprocessing_problems(_object(self.preprocessing)), None)
            if problem:
                raise ValueError(f"preprocessing: {printable(problem)}")
        if self.model_arguments is not None:
            _object(self.model_arguments)
        return self


def _object(text: str) -> dict[str, Any]:
    value = parse(text)
    if not isinstance(value, dict):
        raise ValueError("wanted a JSON object")
    return value


class QuantizedFile(Entry):
    """All of ``quantized.json``."""

    format: Literal[2]
    name: Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)]
    method: Name
    recipe: Annotated[Recipe, BeforeValidator(_strict_recipe)]
    calibration_images: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    nodes: list[NodeEntry]
    activations: dict[Name, QuantizerEntry]
    weights: dict[Name, WeightEntry]
    parts: dict[Name, UniformEntry] = Field(default_factory=dict)
    log: list[LogEntry]
    meta: MetaEntry
    tensors_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("name")
    @classmethod
    def _is_printable(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("has characters that cannot be printed")
        return text


def checked(plain: Any) -> QuantizedFile:
    """Return parsed JSON as the file that it is.

    Raises
    ------
    ValueError
        At the first value that is not what its place wants, which the message names.
    """
    try:
        return QuantizedFile.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [part for part in first["loc"] if part not in _TAGS]
        message = printable(first["msg"].removeprefix("Value error, "))
        raise ValueError(": ".join(filter(None, (place(parts), message)))) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def place(parts: Any) -> str:
    """Return where a value is, dotted: ``activations.head.scale``."""
    return ".".join(printable(str(part)) for part in parts)


def printable(text: str) -> str:
    """Return ``text``, cut to the length of names, with what no terminal should get escaped."""
    return "".join(
        mark if mark.isprintable() else mark.encode("unicode_escape").decode()
        for mark in text[:_LONGEST_NAME]
    )


def parse(text: str) -> Any:
    """Return what a text of JSON says: finite numbers, every key once.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    try:
        return json.loads(
            text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_unique
        )
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number that float64 holds")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number(text[:_LONGEST_NAME])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {printable(key)} is there twice")
        found[key] = value
    return found


def written(plain: Mapping[str, Any]) -> str:
    """Return the text of a file."""
    return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"
