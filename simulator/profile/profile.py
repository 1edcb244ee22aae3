# SPDX-License-Identifier: Apache-2.0
"""NpuProfile: everything about a chip that changes its integers or its cost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from simulator.numerics.integer_type import IntType
from simulator.profile.algorithms import (
    AddSection,
    GeluSection,
    LayerNormSection,
    MeanSection,
    PlainAdd,
    SoftmaxSection,
)
from simulator.profile.aliases import normalised
from simulator.profile.arithmetic import (
    AccumulatorSection,
    ActivationSection,
    DynamicSection,
    HadamardSection,
    RescaleSection,
    WeightSection,
)
from simulator.profile.chip_tables import table_uses
from simulator.profile.cost import ComputeSection, MemorySection
from simulator.profile.effects import SUMMING, keys_read
from simulator.profile.energy import CaveatSection, EnergySection
from simulator.profile.problems import named, problems, shortened
from simulator.profile.registers import Registers, widths
from simulator.profile.section import Section

Table = TypeVar("Table", bound=Section)

# How far a value can be trusted: the first word of its source.
CONFIDENCE = ("measured", "source", "doc", "assumed")
# Kinds of ops that may differ from the chip's general arithmetic; matmul: of two activations.
OpKind = Literal[
    "linear", "matmul", "add", "mul", "mean", "rescale", "layernorm", "softmax", "gelu"
]
_PRODUCTS: tuple[OpKind, ...] = ("linear", "matmul")
_POWERS = ("power_of_two", "power_of_two")


class ResidualSection(Section):
    """Addition of a branch to the residual stream.

    With ``fused_add``, the sums of the layer that ends it are requantized onto the stream, with one
    rounding; without, its codes are stored, and an Add follows.
    """

    fused_add: bool


class OverrideSection(Section):
    """Keys of ``[rescale]`` and ``[accumulator]`` that are other for one kind of op."""

    rescale: Annotated[dict[str, Any], BeforeValidator(normalised), Field(default_factory=dict)]
    accumulator: Annotated[dict[str, Any], Field(default_factory=dict)]


def _one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


class NpuProfile(Section):
    """A hardware profile: everything about a chip that changes its integers or its cost."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$", max_length=100)]
    title: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
    format: Literal[1]
    activation: ActivationSection
    weight: WeightSection
    dynamic: DynamicSection | None = None
    hadamard: HadamardSection | None = None
    accumulator: AccumulatorSection
    rescale: RescaleSection
    residual: ResidualSection
    add: AddSection = PlainAdd(algorithm="common_shift")
    mean: MeanSection = MeanSection()
    softmax: SoftmaxSection
    gelu: GeluSection
    layernorm: LayerNormSection
    registers: Registers
    ops: Annotated[dict[OpKind, OverrideSection], Field(default_factory=dict)]
    compute: ComputeSection
    memory: MemorySection
    energy: EnergySection | None = None
    caveats: Annotated[tuple[CaveatSection, ...], Field(default=(), strict=False)]
    source: dict[str, str]
    # By table and kind of op: the general table, its changes, and both together.
    _exceptions: dict[tuple[str, str], tuple[Section, Mapping[str, Any], Section]] = PrivateAttr(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _overrides_are_possible(self) -> Self:
        """Every override together with the general table must be a possible table."""
        found: list[str] = []
        for kind in self.ops:
            for table, of in (("rescale", self.rescale_of), ("accumulator", self.accumulator_of)):
                try:
                    of(kind)
                except ValidationError as error:
                    found += problems(error, place=f"ops.{kind}.{table}")
            found += self._without_effect(kind)
        if found:
            raise ValueError("\n".join(found))
        return self

    def _without_effect(self, kind: OpKind) -> list[str]:
        """Name the keys of an override that nothing reads."""
        override = self.ops[kind]
        algorithms = {
            "add": self.add.algorithm,
            "mean": self.mean.algorithm,
            "softmax": self.softmax.algorithm,
            "gelu": self.gelu.algorithm,
            "layernorm": self.layernorm.algorithm,
            "mul": self.layernorm.algorithm,
        }
        algorithm = algorithms.get(kind, "")
        read = keys_read(kind, algorithm)
        named = f' with algorithm = "{algorithm}"' if algorithm else ""
        found = [
            f"ops.{kind}.rescale.{key}: has no effect, "
            + f"nothing reads it in ops of this kind{named}; remove it"
            for key in override.rescale
            if key not in read and key in RescaleSection.model_fields
        ]
        if override.accumulator and kind not in SUMMING:
            found.append(f"ops.{kind}.accumulator: has no effect, such ops have no accumulator")
        return found

    @model_validator(mode="after")
    def _sums_onto_the_stream_are_in_fixed_point(self) -> Self:
        found = self.rescale_of("linear")
        plain = (found.kind, found.zero_point_stage, found.left_shift)
        if self.residual.fused_add and plain != ("fixed_point", "after_round", "widen"):
            raise ValueError(
                "residual.fused_add = true: needs layers that are rescaled in fixed point, with "
                "the zero point after rounding and wide left shifts"
            )
        return self

    @model_validator(mode="after")
    def _layout_on_the_dma_takes_time(self) -> Self:
        placement, passes = self.compute.placement, self.compute.passes
        on_dma = placement is not None and placement.layout == "dma"
        described = passes is not None and passes.layout is not None
        if on_dma and not described and self.memory.sram_port is None:
            raise ValueError(
                'compute.placement.layout = "dma": takes the time of the ports alone, and the '
                "SRAM's has no limit; state memory.sram_port or [compute.passes.layout]"
            )
        return self

    @model_validator(mode="after")
    def _shifts_alone_need_scales_that_are_powers_of_two(self) -> Self:
        """Factors of products are quotients of scales; other kinds of op can do without."""
        shifting = [k for k in _PRODUCTS if self.rescale_of(k).kind == "power_of_two"]
        if shifting and (self.activation.scale, self.weight.scale) != _POWERS:
            raise ValueError(
                f'rescale.kind = "power_of_two" (of {" and ".join(shifting)}): needs '
                'activation.scale = "power_of_two" and weight.scale = "power_of_two"'
            )
        return self

    @model_validator(mode="after")
    def _tables_have_their_entries(self) -> Self:
        """Check what files gave; a profile whose files are not read yet has no entries."""
        found = [line for use in table_uses(self) if use.table.entries for line in use.problems()]
        if found:
            raise ValueError("\n".join(found))
        return self

    @model_validator(mode="after")
    def _sources_name_values(self) -> Self:
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
            raise ValueError(f"source: no such value: {', '.join(map(named, sorted(unknown)))}")
        for key, text in self.source.items():
            if not text.replace("\n", "").replace("\t", "").isprintable():
                raise ValueError(f"source.{key} = {shortened(repr(text))}: must be printable text")
            if text.split(":")[0].strip() not in CONFIDENCE:
                raise ValueError(
                    f"source.{key} = {shortened(repr(text))}: must begin with one of "
                    f"{', '.join(CONFIDENCE)}"
                )
        return self

    def rescale_of(self, kind: OpKind) -> RescaleSection:
        """Return how one kind of op rescales."""
        return self._overridden("rescale", kind, self.rescale)

    def accumulator_of(self, kind: OpKind) -> AccumulatorSection:
        """Return how one kind of op sums up."""
        return self._overridden("accumulator", kind, self.accumulator)

    @property
    def float32_scales(self) -> bool:
        """True if an op's factors come from scales in float32: then every tensor has such a one."""
        tables = (self.rescale, *(self.rescale_of(kind) for kind in self.ops))
        return any(table.scale_type != "float64" for table in tables)

    def _overridden(self, name: str, kind: OpKind, table: Table) -> Table:
        """Return a table with the changes of one kind of op, validated once for all calls."""
        override = self.ops.get(kind)
        changes = getattr(override, name) if override is not None else {}
        if not changes:
            return table
        known = self._exceptions.get((name, kind))
        # A copy of a profile may have other tables: the memory of them is the original's.
        if known is None or known[0] is not table or known[1] is not changes:
            found = type(table).model_validate({**table.model_dump(mode="json"), **changes})
            known = self._exceptions[name, kind] = (table, changes, found)
        return cast("Table", known[2])

    def sha256(self) -> str:
        """Return the identity of the values (comments and layout of the file do not count).

        Of a chip's tables the entries count, not the file's name; what came later than the first
        profiles (their tables of inner registers, a memory's words, tables in files) is left out
        where it is not there, so that profiles from before have the same one.
        """
        values = self.model_dump(mode="json", exclude_none=True)
        values["registers"] = {kind: kept for kind, kept in values["registers"].items() if kept}
        for table in ("registers", "caveats"):
            if not values[table]:
                del values[table]
        for use in table_uses(self):
            section, key = use.path
            del values[section][key]["file"]
        canonical = json.dumps(values, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    @property
    def register_widths(self) -> dict[str, dict[str, IntType]]:
        """Types of registers inside ops, by kind of op and value; those that the profile states."""
        return widths(self.registers)

    def source_of(self, path: str) -> str:
        """Return where the value at a dotted path comes from."""
        parts = path.split(".")
        for length in range(len(parts), 0, -1):
            prefix = ".".join(parts[:length])
            if prefix in self.source:
                return self.source[prefix]
        return self.source["default"]

    def confidence_of(self, path: str) -> str:
        """Return how far the value at a dotted path can be trusted: one of :data:`CONFIDENCE`."""
        return self.source_of(path).split(":")[0].strip()


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        flat |= _flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat


def flat_values(profile: NpuProfile) -> dict[str, Any]:
    """Return every value of a profile by its dotted path, the sources left out.

    Of a chip's table, its file, and in place of the entries how many there are and their sha256.
    """
    values = profile.model_dump(mode="json", exclude={"source"}, exclude_none=True)
    for use in table_uses(profile):
        section, key = use.path
        entries = values[section][key].pop("entries")
        values[section][key]["contents"] = _told(entries)
    return _flatten(values)


def _told(entries: list[int]) -> str:
    digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    return f"{len(entries)} entries, sha256 {digest[:16]}"
