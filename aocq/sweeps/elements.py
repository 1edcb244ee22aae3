# SPDX-License-Identifier: Apache-2.0
"""The elements of a recipe for narrow operands: each alone, each left out, each in another form.

Some are options of the recipe, others of the chip: these are profiles varied from the one that is
asked for, which are kept as files beside the runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from aocq.jobs.request import VerifyRequest
from aocq.recipes.recipe import Recipe
from aocq.sweeps.cells import cell
from aocq.sweeps.chips import PROFILES, ProfileVariant
from aocq.sweeps.designs import Design
from simulator.profile import DeferredLog2Softmax, NpuProfile
from simulator.profile.variation import varied

# bare: no element; full: all that are the recipe's; alone: bare with one; without: full less one;
# instead: full with one that stands in another's place, or is added.
Role = Literal["full", "bare", "without", "alone", "instead"]
END_BITS = 8  # of the convention of published rows, where the command line has no other


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an element is set to: options of the method, fields of the recipe, values of the chip.

    ``chip_name`` is what the name of a profile with these values ends in.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    chip: Mapping[str, Any] = field(default_factory=dict)
    chip_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element, and the place of the recipe that it takes.

    Attributes
    ----------
    present
        the place with the element
    absent
        the place without it
    role
        ``recipe``: part of the full recipe; ``other``: another that could be in its place, or be
        added; ``convention``: part of every recipe but the one that it is left out of
    """

    key: str
    title: str
    place: str
    present: Setting
    absent: Setting = field(default_factory=Setting)
    role: Literal["recipe", "other", "convention"] = "recipe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variation:
    """A row of the ablation: its element (None: of bare and full recipe) and all places' settings.

    ``against`` is the role of the row that it is compared with.
    """

    role: Role
    element: Element | None
    settings: Mapping[str, Setting]

    @property
    def against(self) -> Role | None:
        """The role of the row that this one is compared with."""
        if self.element is None:
            return None
        return "bare" if self.role == "alone" else "full"

    def labels(self) -> dict[str, str]:
        """Return what sets the row apart, by column; the values also name its folder."""
        return {"row": self.role, "element": self.element.key if self.element else "all"}


def elements_of(profile: NpuProfile, end_bits: int = END_BITS) -> list[Element]:
    """Return the elements that a chip has, those of most weight first."""
    return [
        *_softmaxes(profile),
        *_rotations(profile),
        *_steps(profile),
        *_scales(),
        *_widths(profile, end_bits),
    ]


def variations(elements: Sequence[Element]) -> list[Variation]:
    """Return the rows: full and bare recipe, each element left out, alone, in another's place."""
    full, bare = _all(elements, "full"), _all(elements, "bare")
    rows = [
        Variation(role="full", element=None, settings=full),
        Variation(role="bare", element=None, settings=bare),
    ]
    for each in elements:
        absent, present = {each.place: each.absent}, {each.place: each.present}
        if each.role != "other":
            rows.append(Variation(role="without", element=each, settings=full | absent))
        else:
            rows.append(Variation(role="instead", element=each, settings=full | present))
        if each.role != "convention":
            rows.append(Variation(role="alone", element=each, settings=bare | present))
    return sorted(rows, key=lambda row: row.element is not None and row.element.key in _LAST)


def cells_of(
    template: VerifyRequest, profile: NpuProfile, rows: Sequence[Variation]
) -> list[Design]:
    """Return the designs of the rows; profiles that they vary have their place in ``template.out``.

    What no element sets is as the template's recipe has it.
    """
    return [
        cell(
            template,
            _recipe(template.calibration.recipe, row),
            row.labels(),
            _chip(template, profile, row),
        )
        for row in rows
    ]


_LAST = frozenset({"reconstruct"})  # takes many times as long as the others


def _all(elements: Sequence[Element], which: Literal["full", "bare"]) -> dict[str, Setting]:
    """Return the settings of all places in the full or in the bare recipe."""
    found = {each.place: each.absent for each in elements if each.role == "other"}
    for each in elements:
        if each.role == "recipe":
            found[each.place] = each.present if which == "full" else each.absent
        elif each.role == "convention":
            found[each.place] = each.present
    return found


def _recipe(asked: Recipe, row: Variation) -> Recipe:
    """Return what a row asks of the method."""
    settings = row.settings.values()
    options = {name: value for each in settings for name, value in each.options.items()}
    fields = {name: value for each in settings for name, value in each.recipe.items()}
    return replace(asked, aocq=replace(asked.aocq, **options), **fields)


def _chip(template: VerifyRequest, profile: NpuProfile, row: Variation) -> ProfileVariant:
    """Return the chip of a row: the profile, or one that is varied from it."""
    settings = row.settings.values()
    changes = {path: value for each in settings for path, value in each.chip.items()}
    plain = ProfileVariant(base=profile.name, settings={}, profile=profile, path=template.profile)
    if not changes:
        return plain
    name = "_".join([profile.name, *(each.chip_name for each in settings if each.chip)])
    return replace(
        plain,
        settings={path: str(value) for path, value in changes.items()},
        profile=varied(profile, name, changes),
        path=str(template.out / PROFILES / f"{name}.toml"),
    )


def _softmaxes(profile: NpuProfile) -> Iterator[Element]:
    if not isinstance(profile.softmax, DeferredLog2Softmax):
        return
    plain = Setting(chip={"softmax": _plain_softmax(4)}, chip_name="softmax4")
    yield Element(
        key="softmax",
        title="softmax divided after the product with the values",
        place="softmax",
        present=Setting(),
        absent=plain,
    )
    yield Element(
        key="probabilities8",
        title="plain softmax, probabilities of 8 bits in two passes",
        place="softmax",
        present=Setting(chip={"softmax": _plain_softmax(8)}, chip_name="softmax8"),
        role="other",
    )


def _plain_softmax(bits: int) -> dict[str, Any]:
    return {
        "algorithm": "exp_table",
        "table_bits": 30,
        "reciprocal_bits": 60,
        "output_bits": bits,
    }


def _rotations(profile: NpuProfile) -> Iterator[Element]:
    yield _option("heads", "queries, keys, values rotated offline", "rotate_heads", True, False)
    if profile.hadamard is not None:
        yield Element(
            key="hadamard",
            title="all layers' inputs rotated by additions",
            place="hadamard",
            present=Setting(options={"hadamard": "all"}),
            absent=Setting(options={"hadamard": "none"}),
        )
        yield Element(
            key="hadamard_fc2",
            title="only fc2's input rotated by additions",
            place="hadamard",
            present=Setting(options={"hadamard": "fc2"}),
            role="other",
        )
    yield replace(
        _option("stream", "residual stream rotated offline", "rotate_stream", "always", "never"),
        role="other",
    )


def _steps(profile: NpuProfile) -> Iterator[Element]:
    if profile.dynamic is None:
        return
    if profile.dynamic.block:
        yield _option("block_steps", "steps of blocks of fc2's input", "block_steps", True, False)
    if profile.dynamic.row_scale is not None:
        title = "steps of rows of all layers' inputs, queries, keys"
        yield _option("row_steps", title, "row_steps", "all", "none")
        yield Element(
            key="row_steps_attention",
            title="steps of rows of queries, keys, proj's input only",
            place="row_steps",
            present=Setting(options={"row_steps": "attention"}),
            role="other",
        )
    clipping = _clipping(profile.dynamic.row_scale, profile.dynamic.block_trim)
    if clipping.present != clipping.absent:
        yield clipping


def _clipping(row_scale: str | None, trim: int) -> Element:
    """Clipped steps; by the recipe where they are multipliers, by the chip if powers of two."""
    absent = Setting(options={"row_clipping": 1.0} if row_scale == "multiplier" else {})
    if trim:
        absent = replace(absent, chip={"dynamic.block_trim": 0}, chip_name="trim0")
    return Element(
        key="clipping",
        title="largest values clipped by steps found at run time",
        place="clipping",
        present=Setting(),
        absent=absent,
        role="convention",
    )


def _scales() -> Iterator[Element]:
    yield _option("alpha", "α on the residual stream", "alpha", "free", "none")
    yield _option("inputs", "balanced inputs of layers", "balance_inputs", True, False)
    yield _option("gptq", "GPTQ instead of nearest", "rounding", "gptq", "nearest")
    yield Element(
        key="reconstruct",
        title="reconstruction instead of GPTQ or nearest",
        place="rounding",
        present=Setting(options={"rounding": "reconstruct"}),
        role="other",
    )


def _option(key: str, title: str, name: str, present: Any, absent: Any) -> Element:
    """Return an element that is one option of the method."""
    return Element(
        key=key,
        title=title,
        place="rounding" if name == "rounding" else key,
        present=Setting(options={name: present}),
        absent=Setting(options={name: absent}),
    )


def _widths(profile: NpuProfile, end_bits: int) -> Iterator[Element]:
    activation = profile.activation
    if activation.residual_bits < 16:
        yield Element(
            key="stream16",
            title="residual stream of 16 bits",
            place="stream16",
            present=Setting(chip={"activation.residual_bits": 16}, chip_name="stream16"),
            role="other",
        )
    if end_bits in profile.weight.bits:
        yield Element(
            key="ends",
            title=f"image, first layer, classifier of {end_bits} bits",
            place="ends",
            present=Setting(recipe={"end_bits": end_bits}),
            absent=Setting(recipe={"end_bits": None}),
            role="convention",
        )
    if activation.operand_width < activation.bits:
        narrow = activation.operand_width
        yield Element(
            key="vector",
            title=f"vector unit of {activation.bits} bits instead of {narrow}",
            place="vector",
            present=Setting(),
            absent=Setting(chip={"activation.bits": narrow}, chip_name=f"vector{narrow}"),
            role="convention",
        )
