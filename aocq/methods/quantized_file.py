# SPDX-License-Identifier: Apache-2.0
"""Schema of ``quantized.json``: strict JSON, every value by type and range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from aocq.capture import FloatNode, FloatOp
from aocq.capture.attributes import MOST_DIMENSIONS
from aocq.methods.quantized_model import Sources
from aocq.methods.quantizer_entries import (
    DYNAMIC,
    LEVELS,
    UNIFORM,
    Entry,
    QuantizerEntry,
    Scale,
    UniformEntry,
)
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator import strict_json
from simulator.graph.meta import read_meta
from simulator.graph.names import LONGEST_NAME, is_name, printable

FORMAT = 3
MOST_IMAGES = 1 << 40
_TAGS = frozenset({UNIFORM, LEVELS, DYNAMIC})


def _plain_name(text: str) -> str:
    if not is_name(text):
        raise ValueError("wanted a name of letters, digits, _, -, and single dots between them")
    return text


def _known_operation(text: str) -> str:
    if text not in set(FloatOp):
        raise ValueError("is no operation of a network")
    return text


def _list(value: Any) -> Any:
    """Return a list of JSON as the tuple that it is in a graph."""
    return tuple(value) if isinstance(value, list) else value


_RECIPE, _LIMITS = TypeAdapter(Recipe), TypeAdapter(ChipLimits)


def _recipe(value: Any) -> Recipe:
    # As text: of Python's values pydantic takes none but instances strictly.
    return _RECIPE.validate_json(strict_json.dumps(value))


def _limits(value: Any) -> ChipLimits:
    return _LIMITS.validate_json(strict_json.dumps(value))


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
        """Return the node of the entry."""
        attributes = {key: _list(value) for key, value in self.attributes.items()}
        return FloatNode(
            name=self.name,
            op=FloatOp(self.op),
            inputs=tuple(self.inputs),
            attributes=MappingProxyType(attributes),
            shape=self.shape,
        )


class WeightEntry(Entry):
    """Bits and column factors of a weight; its tensors are in the other file."""

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
    """A line of the log of decisions, for people; figures read those of scale refinement."""

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


def _meta_means_something(meta: dict[str, str]) -> dict[str, str]:
    if meta:
        read_meta(meta)
    return meta


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SourcesEntry(Entry):
    """Digests of what a network was quantized from."""

    checkpoint_sha256: Sha256
    calibration_sha256: Sha256

    def sources(self) -> Sources:
        """Return the sources of the entry."""
        return Sources(**self.model_dump())


class QuantizedFile(Entry):
    """The content of ``quantized.json``."""

    format: Literal[3]
    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
    method: Name
    recipe: Annotated[Recipe, BeforeValidator(_recipe)]
    limits: Annotated[ChipLimits, BeforeValidator(_limits)]
    calibration_images: Annotated[int, Field(ge=1, le=MOST_IMAGES)]
    nodes: list[NodeEntry]
    activations: dict[Name, QuantizerEntry]
    weights: dict[Name, WeightEntry]
    parts: dict[Name, UniformEntry] = Field(default_factory=dict)
    log: list[LogEntry]
    meta: Annotated[dict[str, str], AfterValidator(_meta_means_something)]
    sources: SourcesEntry | None = None  # older files have none
    tensors_sha256: Sha256

    @field_validator("name")
    @classmethod
    def _is_printable(cls, text: str) -> str:
        if not text.isprintable():
            raise ValueError("has characters that cannot be printed")
        return text


def _is_format_2(plain: Any) -> bool:
    return isinstance(plain, dict) and plain.get("format") == 2


def _of_this_format(plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a file of format 2, whose recipe held the chip's limits too, as one of format 3."""
    if "limits" in plain:
        raise ValueError("limits: in a file of format 2 they are part of the recipe")
    recipe = plain.get("recipe")
    if not isinstance(recipe, dict):  # refused as what it is, or as missing
        return {**plain, "format": FORMAT, "limits": {}}
    names = {field.name for field in fields(ChipLimits)}
    return {
        **plain,
        "format": FORMAT,
        "recipe": {name: value for name, value in recipe.items() if name not in names},
        "limits": {name: value for name, value in recipe.items() if name in names},
    }


def checked(plain: Any) -> QuantizedFile:
    """Return parsed JSON as a checked file.

    Raises
    ------
    ValueError
        At the first value that is not what its place wants, which the message names.
    """
    old = _is_format_2(plain)
    try:
        return QuantizedFile.model_validate(_of_this_format(plain) if old else plain)
    except ValidationError as error:
        first = error.errors()[0]
        parts = [part for part in first["loc"] if part not in _TAGS]
        if old and parts[0] == "limits":
            parts[0] = "recipe"  # where this file has them
        message = printable(first["msg"].removeprefix("Value error, "))
        raise ValueError(": ".join(filter(None, (place(parts), message)))) from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def place(parts: Any) -> str:
    """Return the path of a value, dotted: ``activations.head.scale``."""
    return ".".join(printable(str(part)) for part in parts)


def written(plain: Mapping[str, Any]) -> str:
    """Return the text of a file."""
    return strict_json.dumps(plain, indent=1, sort_keys=True) + "\n"
