# SPDX-License-Identifier: Apache-2.0
"""Schema of quantizers in ``quantized.json``: keys, types and ranges."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    model_validator,
)

from aocq.methods.logarithmic_rows import LogarithmicQuantizer
from aocq.methods.quantizers import (
    ActivationQuantizer,
    DynamicQuantizer,
    LevelQuantizer,
    Quantizer,
    step_numerator,
)
from simulator.numerics.integer_type import IntType
from simulator.numerics.softmax_constants import LEVEL_BITS

LARGEST_GROUP = 1 << 28  # elements of a tensor
LARGEST_TRIM = 7
WIDEST = 16  # bits of a code, and of a level: operands of a product have no more
# Of scales, and of ratios of scales: all that float32 values can ask for in 16 bits; products of a
# few of them are still numbers that float64 holds.
SMALLEST, LARGEST = 2.0**-166, 2.0**128


def _code_type(text: str) -> str:
    if not 1 <= IntType.parse(text).bits <= WIDEST:
        raise ValueError(f"wanted a type of 1 to {WIDEST} bits")
    return text


Scale = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
Level = Annotated[int, Field(ge=-(1 << (WIDEST - 1)), lt=1 << WIDEST)]


class Entry(BaseModel):
    """A part of ``quantized.json``: known keys only, strict types, finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class UniformEntry(Entry):
    """An :class:`ActivationQuantizer`."""

    type: Annotated[str, AfterValidator(_code_type)]
    scale: Scale
    zero_point: int
    alpha: list[Scale]
    axis: Annotated[int, Field(ge=-16, le=-1)]
    table_scale: Annotated[float, Field(ge=0, le=LARGEST)]

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        int_type = IntType.parse(self.type)
        if not int_type.low <= self.zero_point <= int_type.high:
            raise ValueError(
                f"zero_point {self.zero_point}: {int_type} has {int_type.low} to {int_type.high}"
            )
        if 0 < self.table_scale < SMALLEST:
            raise ValueError(f"table_scale: wanted 0, or {SMALLEST:g} or more")
        return self

    def quantizer(self) -> ActivationQuantizer:
        """Return the quantizer of the entry."""
        return ActivationQuantizer(
            type=IntType.parse(self.type),
            scale=self.scale,
            zero_point=self.zero_point,
            alpha=tuple(self.alpha),
            axis=self.axis,
            table_scale=self.table_scale,
        )


class LevelEntry(Entry):
    """A :class:`LevelQuantizer`."""

    levels: Annotated[list[Level], Field(min_length=1, max_length=1 << WIDEST)]
    thresholds: list[float]
    scale: Scale
    bits: Annotated[int, Field(ge=1, le=WIDEST)]

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if len(self.levels) > 1 << self.bits:
            raise ValueError(f"{len(self.levels)} levels: {self.bits} bits tell fewer apart")
        if len(self.thresholds) != len(self.levels) - 1:
            raise ValueError("thresholds: wanted one fewer than levels")
        for name, numbers in (("levels", self.levels), ("thresholds", self.thresholds)):
            if any(a >= b for a, b in pairwise(numbers)):
                raise ValueError(f"{name}: must ascend")
        if self.levels[0] < 0 and self.levels[-1] >= 1 << (WIDEST - 1):
            raise ValueError(f"levels: span more than {WIDEST} bits")
        return self

    def quantizer(self) -> LevelQuantizer:
        """Return the quantizer of the entry."""
        return LevelQuantizer(
            levels=tuple(self.levels),
            thresholds=tuple(self.thresholds),
            scale=self.scale,
            bits=self.bits,
        )


class DynamicEntry(Entry):
    """A :class:`DynamicQuantizer`."""

    base: UniformEntry
    bits: Annotated[int, Field(ge=2, le=8)]
    group: Annotated[int, Field(ge=1, le=LARGEST_GROUP)]
    form: Literal["multiplier", "power_of_two"]
    numerator: Annotated[int, Field(ge=0)]
    trim: Annotated[int, Field(ge=0, le=LARGEST_TRIM)]

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        base = self.base.quantizer()
        if base.zero_point or base.alpha or base.table_scale or base.axis != -1:
            raise ValueError("base: has one scale, and neither zero_point nor alpha nor axis")
        if not base.type.signed or base.type.bits < self.bits:
            raise ValueError(f"base: wanted signed codes of {self.bits} bits or more")
        if self.form == "power_of_two":
            if self.numerator:
                raise ValueError("numerator: wanted 0, powers of two have none")
            return self
        if self.trim:
            raise ValueError("trim: wanted 0, only powers of two have one")
        least = step_numerator(base.type, self.bits)
        if not least <= self.numerator <= 2 * least:
            raise ValueError(f"numerator: wanted {least} to {2 * least}")
        return self

    def quantizer(self) -> DynamicQuantizer:
        """Return the quantizer of the entry."""
        return DynamicQuantizer(
            base=self.base.quantizer(),
            bits=self.bits,
            group=self.group,
            form=self.form,
            numerator=self.numerator,
            trim=self.trim,
        )


class LogarithmicEntry(Entry):
    """A :class:`LogarithmicQuantizer`."""

    levels: Annotated[list[Level], Field(min_length=8, max_length=256)]
    levels_per_octave: Literal[1, 2]

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        levels = self.levels
        if len(levels) & (len(levels) - 1):
            raise ValueError(f"{len(levels)} levels: wanted a power of two, one for each code")
        if not 0 < levels[0] < 1 << LEVEL_BITS or levels[-1] < 0:
            raise ValueError(f"levels: wanted 1 to {(1 << LEVEL_BITS) - 1} first, none below 0")
        if any(a < b for a, b in pairwise(levels)):
            raise ValueError("levels: must not ascend")
        return self

    def quantizer(self) -> LogarithmicQuantizer:
        """Return the quantizer of the entry."""
        return LogarithmicQuantizer(
            levels=tuple(self.levels), levels_per_octave=self.levels_per_octave
        )


UNIFORM, LEVELS, LOGARITHMIC = "uniform quantizer", "levels", "logarithms"
DYNAMIC = "dynamic quantizer"


def _kind(entry: Any) -> str:
    """Return which kind an entry is, by a key that the others do not have."""
    keys = entry if isinstance(entry, dict) else getattr(type(entry), "model_fields", ())
    if "levels_per_octave" in keys:
        return LOGARITHMIC
    if "base" in keys:
        return DYNAMIC
    return LEVELS if "levels" in keys else UNIFORM


QuantizerEntry = Annotated[
    Annotated[UniformEntry, Tag(UNIFORM)]
    | Annotated[LevelEntry, Tag(LEVELS)]
    | Annotated[LogarithmicEntry, Tag(LOGARITHMIC)]
    | Annotated[DynamicEntry, Tag(DYNAMIC)],
    Discriminator(_kind),
]


_ENTRY: TypeAdapter[UniformEntry | LevelEntry | LogarithmicEntry | DynamicEntry] = TypeAdapter(
    QuantizerEntry
)


def quantizer_to_plain(quantizer: Quantizer) -> dict[str, Any]:
    """Return a quantizer as JSON holds it."""
    if isinstance(quantizer, LevelQuantizer):
        return {
            "levels": list(quantizer.levels),
            "thresholds": list(quantizer.thresholds),
            "scale": quantizer.scale,
            "bits": quantizer.bits,
        }
    if isinstance(quantizer, LogarithmicQuantizer):
        return {
            "levels": list(quantizer.levels),
            "levels_per_octave": quantizer.levels_per_octave,
        }
    if isinstance(quantizer, DynamicQuantizer):
        return {
            "base": quantizer_to_plain(quantizer.base),
            "bits": quantizer.bits,
            "group": quantizer.group,
            "form": quantizer.form,
            "numerator": quantizer.numerator,
            "trim": quantizer.trim,
        }
    return {
        "type": str(quantizer.type),
        "scale": quantizer.scale,
        "zero_point": quantizer.zero_point,
        "alpha": list(quantizer.alpha),
        "axis": quantizer.axis,
        "table_scale": quantizer.table_scale,
    }


def quantizer_from_plain(plain: Any) -> Quantizer:
    """Return the quantizer that :func:`quantizer_to_plain` wrote; ValueError if it is none."""
    return _ENTRY.validate_python(plain).quantizer()
