# SPDX-License-Identifier: Apache-2.0
"""NpuProfile: a hardware profile, read from TOML and checked strictly.

Every key is known, every value in range, and all mistakes are reported at once, each with its path
in the file. The keys are documented in ``docs/profiles.md``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
    model_validator,
)

import hw_profiles
from simulator.errors import InputError
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel, BiasStage
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import Rounding


class _Section(BaseModel):
    """A table of the TOML file: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _lax(kind: type) -> Any:
    """Accept an enum's text in strict mode, where TOML can only hold text."""
    return Annotated[kind, Field(strict=False)]


class ActivationSection(_Section):
    """Activations: every tensor between two ops."""

    bits: Annotated[int, Field(ge=3, le=8)]
    residual_bits: Annotated[int, Field(ge=8, le=16)]
    zero_point: Literal["symmetric", "asymmetric"]


class WeightSection(_Section):
    """Weights of matrix products."""

    bits: Annotated[list[Annotated[int, Field(ge=2, le=8)]], Field(min_length=1)]
    granularity: Literal["per_tensor", "per_channel"]


def _products_in_group(value: object) -> object:
    """Read a group size; the graph writes "all" as 0."""
    if value == "all":
        return 0
    if not isinstance(value, int) or value < 1:
        raise ValueError('must be "all" or a whole number of at least 1')
    return value


class LevelSection(_Section):
    """One level of partial sums, innermost first: ``group`` products, a register of ``bits``."""

    group: Annotated[int, BeforeValidator(_products_in_group)]
    bits: Annotated[int, Field(ge=8, le=64)]
    overflow: Literal["wrap", "saturate"]

    @field_serializer("group")
    def _as_written(self, group: int) -> int | str:
        return group or "all"

    def level(self) -> AccumulatorLevel:
        """Return the level as the graph holds it."""
        return AccumulatorLevel(group=self.group, bits=self.bits, overflow=Overflow(self.overflow))


class AccumulatorSection(_Section):
    """How products are summed up."""

    levels: Annotated[list[LevelSection], Field(min_length=1)]
    bias: _lax(BiasStage)  # type: ignore[valid-type]
    bias_bits: Annotated[int, Field(ge=8, le=32)]

    @model_validator(mode="after")
    def _levels_nest(self) -> AccumulatorSection:
        problems = self.accumulator().problems()
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def accumulator(self) -> Accumulator:
        """Return the accumulator as the graph holds it."""
        return Accumulator(
            levels=tuple(level.level() for level in self.levels), bias=BiasStage(self.bias)
        )


class RescaleSection(_Section):
    """How an accumulator becomes a code: multiply, shift right with rounding, fit."""

    multiplier_bits: Annotated[int, Field(ge=8, le=31)]
    rounding: _lax(Rounding)  # type: ignore[valid-type]
    overflow: _lax(Overflow)  # type: ignore[valid-type]


class ResidualSection(_Section):
    """How a branch joins the residual stream.

    With ``fused_add``, the sums of the layer that ends it are requantized onto the stream, with one
    rounding; without, its codes are stored, and an Add follows.
    """

    fused_add: bool


class SoftmaxSection(_Section):
    """Softmax by a table of exponentials and one reciprocal per row."""

    algorithm: Literal["exp_table"]
    table_bits: Annotated[int, Field(ge=8, le=31)]
    reciprocal_bits: Annotated[int, Field(ge=16, le=60)]
    output_bits: Annotated[int, Field(ge=3, le=8)]

    @model_validator(mode="after")
    def _reciprocal_resolves_table(self) -> SoftmaxSection:
        if self.reciprocal_bits < self.table_bits + self.output_bits:
            raise ValueError(
                f"reciprocal_bits = {self.reciprocal_bits}: must be at least table_bits + "
                f"output_bits = {self.table_bits + self.output_bits}"
            )
        return self


class GeluSection(_Section):
    """GELU by a table with one entry per code."""

    algorithm: Literal["table_256"]


class LayerNormSection(_Section):
    """LayerNorm by exact statistics, an exact integer square root and one reciprocal per row.

    ``channel_factor`` is what each channel's codes can be multiplied with before the statistics:
    nothing, ``2^k`` with k of ``channel_factor_bits`` bits, or a whole number of so many bits.

    The fraction bits are at most these: where the statistics of wide tensors leave less room in 64
    bits, the lowering takes as many as fit.
    """

    algorithm: Literal["isqrt_exact"]
    sqrt_fraction_bits: Annotated[int, Field(ge=0, le=24)]
    reciprocal_bits: Annotated[int, Field(ge=24, le=60)]
    normalized_fraction_bits: Annotated[int, Field(ge=8, le=32)]
    channel_factor: Literal["none", "shift", "multiplier"]
    channel_factor_bits: Annotated[int, Field(ge=2, le=16)]


class SystolicEngine(_Section):
    """A systolic array of ``rows`` x ``columns`` multipliers."""

    kind: Literal["systolic"]
    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    dataflow: Literal["output_stationary", "weight_stationary", "input_stationary"]
    overlap: Literal["none", "fold"]


class DotEngine(_Section):
    """A dot-product engine: per step, ``m`` x ``n`` outputs of ``k`` products each."""

    kind: Literal["dot"]
    m: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)]
    cycles_per_step: Annotated[int, Field(ge=1)]
    pipeline_depth: Annotated[int, Field(ge=0)]


_Rate = Annotated[float, Field(gt=0)]  # a field below bears the name of the builtin
_RateOrZero = Annotated[float, Field(ge=0)]


class CyclesPerElement(_Section):
    """Cycles that one lane of the vector unit takes for one element of each op.

    ``float`` is the rate of every op that is not integer arithmetic.
    """

    softmax: _Rate
    layernorm: _Rate
    lookup: _Rate
    add: _Rate
    rescale: _Rate
    mean: _Rate
    layout: _RateOrZero
    float: _Rate


class VectorSection(_Section):
    """The vector unit that computes everything but matrix products."""

    lanes: Annotated[int, Field(ge=1)]
    cycles_per_element: CyclesPerElement


class ComputeSection(_Section):
    """What computes, and how fast it ticks."""

    clock_mhz: Annotated[float, Field(gt=0)]
    engine: Annotated[SystolicEngine | DotEngine, Field(discriminator="kind")]
    vector: VectorSection


class MemorySection(_Section):
    """Memory sizes in bytes, bandwidths in bytes per cycle of the compute clock."""

    sram_bytes: Annotated[int, Field(ge=1)]
    dram_bytes_per_cycle: Annotated[float, Field(gt=0)]


class NpuProfile(_Section):
    """A hardware profile: everything about a chip that changes its integers or its cost."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    title: Annotated[str, Field(min_length=1)]
    format: Literal[1]
    activation: ActivationSection
    weight: WeightSection
    accumulator: AccumulatorSection
    rescale: RescaleSection
    residual: ResidualSection
    softmax: SoftmaxSection
    gelu: GeluSection
    layernorm: LayerNormSection
    compute: ComputeSection
    memory: MemorySection
    source: dict[str, str]

    @model_validator(mode="after")
    def _sources_name_values(self) -> NpuProfile:
        """Every key of [source] must be "default" or the dotted path of a value."""
        known = flat_values(self)
        unknown = [
            key
            for key in self.source
            if key != "default" and not any(p == key or p.startswith(f"{key}.") for p in known)
        ]
        if "default" not in self.source:
            raise ValueError("source.default: missing; say where unlisted values come from")
        if unknown:
            raise ValueError(f"source: no such value: {', '.join(sorted(unknown))}")
        return self

    def sha256(self) -> str:
        """Return the identity of the values (comments and layout of the file do not count)."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def source_of(self, path: str) -> str:
        """Return where the value at a dotted path comes from."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            prefix = ".".join(parts[:length])
            if prefix in self.source:
                return self.source[prefix]
        return self.source["default"]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        flat |= _flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def flat_values(profile: NpuProfile) -> dict[str, Any]:
    """Return every value of a profile by its dotted path, the sources left out."""
    return _flatten(profile.model_dump(mode="json", exclude={"source"}))


def profile_paths() -> dict[str, Path]:
    """Return the shipped profiles by name."""
    return {path.stem: path for path in sorted(hw_profiles.FOLDER.glob("*.toml"))}


def load_profile(name_or_path: str) -> NpuProfile:
    """Read a shipped profile by name, or any profile by the path of its TOML file.

    Raises
    ------
    InputError
        If there is no such profile or file, it is not TOML, or values are unknown, missing, of the
        wrong type or out of range: all of them in one message, each with its path.
    """
    shipped = profile_paths()
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.is_file():
        near = difflib.get_close_matches(name_or_path, shipped, n=3, cutoff=0.3) or list(shipped)
        raise InputError(
            f"profile {name_or_path}: neither a shipped profile nor a file; nearest: "
            f"{', '.join(near)} (`aocq profiles list` shows all)"
        )
    try:
        return NpuProfile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        problems = "\n".join(f"  {_problem(item)}" for item in error.errors())
        raise InputError(f"{path}: {error.error_count()} problem(s):\n{problems}") from error


_KNOWN_KEYS = frozenset(
    key for section in _Section.__subclasses__() for key in section.model_fields
)


def _problem(item: Any) -> str:
    """Turn one validation error into ``path = value: what must hold``."""
    location = [part for part in item["loc"] if part not in {"systolic", "dot"}]
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), _KNOWN_KEYS, n=1)
        return f"{path}: unknown key" + (f" (did you mean {near[0]}?)" if near else "")
    if item["type"] == "missing":
        return f"{path}: missing"
    message = item["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message.startswith("Input") else message
    value = item["input"]
    shown = f" = {value!r}" if path and not isinstance(value, (dict, list)) else ""
    return f"{path}{shown}: {message}" if path else message
