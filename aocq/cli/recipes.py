# SPDX-License-Identifier: Apache-2.0
"""Options of the quantization methods, made of the fields of recipes, and the recipe they make."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

import typer

from aocq.cli.groups import OptionGroup
from aocq.cli.options import finite, one_of
from aocq.recipes.aocq_options import PRESETS, USED_WITH, AocqOptions, PresetName
from aocq.recipes.fields import FieldSpec, field_specs
from aocq.recipes.layer_rules import OPERAND_WIDTHS
from aocq.recipes.methods import DEFAULT_METHOD, METHOD_SPECS
from aocq.recipes.recipe import Recipe

_known = one_of(tuple(METHOD_SPECS), "no method {text}; choose one of {names}")
LEFT_OUT = ""  # stands for the default method, see known_method


def known_method(name: str) -> str:
    """Return ``name``, the default for :data:`LEFT_OUT`; a usage error if there is none."""
    return DEFAULT_METHOD if name == LEFT_OUT else _known(name)


def known_activation_width(bits: int | None) -> int | None:
    """Return ``bits``; a usage error if activations cannot have so many."""
    if bits is not None and bits not in OPERAND_WIDTHS:
        raise typer.BadParameter(f"{bits} is not in 3 to 8, and not 16")
    return bits


_CALLBACKS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"activation_bits": known_activation_width}
)
Method = Annotated[
    str,
    typer.Option(
        "--method",
        show_default=False,
        callback=known_method,
        help="quantization method, see docs/methods.md (default: aocq)",
    ),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        metavar="FILE",
        help="recipe file (TOML): any of the options of a recipe, and bits of single layers, see "
        "docs/recipes.md; options that are given here win over it",
    ),
]


def option(
    spec: FieldSpec,
    help_text: str | None = None,
    *,
    panel: str | None = None,
    callback: Callable[[Any], Any] | None = None,
) -> Any:
    """Return typer's option of a recipe's field, or of a method's.

    Parameters
    ----------
    help_text
        replaces what is said of the field
    panel
        of the command's help
    callback
        returns a value of the command line, or raises a usage error
    """
    assert spec.option is not None
    name = option_name(spec)
    if spec.type is bool:
        name = f"{name}/{option_name(spec, value=False)}"
    bounds: Any = spec.option_bounds
    return typer.Option(
        name,
        min=bounds.ge,
        max=bounds.le,
        callback=callback or (finite if spec.type is float else None),
        help=help_text or spec.option.help,
        rich_help_panel=panel,
    )


def option_name(spec: FieldSpec, value: object = None) -> str:
    """Return the option that sets a field to a value."""
    own = spec.option.name if spec.option else ""
    return own or f"--{'no-' if value is False else ''}{spec.name.replace('_', '-')}"


@dataclass(frozen=True)
class RecipeFields(OptionGroup):
    """Fields of a recipe: what was given, by name; the others are a file's, or the defaults."""

    NAMES: ClassVar[tuple[str, ...]] = tuple(
        spec.name for spec in field_specs(Recipe).values() if spec.option is not None
    )

    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parameters(cls) -> dict[str, tuple[Any, Any]]:
        """Return annotation and default by name."""
        described = [field_specs(Recipe)[name] for name in cls.NAMES]
        return {
            spec.name: (
                Annotated[
                    spec.type | None,
                    option(spec, _with_default(spec), callback=_CALLBACKS.get(spec.name)),
                ],
                None,
            )
            for spec in described
        }

    @classmethod
    def made_of(cls, values: Mapping[str, Any]) -> Self:
        """Return the group from its fields' values."""
        return cls({name: value for name, value in values.items() if value is not None})


def _with_default(spec: FieldSpec) -> str | None:
    """Return what is said of a field, with its default where it has one."""
    assert spec.option is not None
    said = spec.option.help
    return said if spec.default is None else f"{said} (default: {spec.default})"


class SweepFields(RecipeFields):
    """Fields that are the same in all cells of a table."""

    NAMES = ("end_bits", "float_ops", "seed")

    def at_widths(self, widths: Sequence[tuple[int, int]], preset: PresetName) -> list[Recipe]:
        """Return a recipe for each pair of (weight bits, activation bits)."""
        return [
            Recipe(
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                aocq=PRESETS[preset].options,
                **self.values,
            )
            for weight_bits, activation_bits in widths
        ]


@dataclass(frozen=True)
class MethodOptions(OptionGroup):
    """What was given of the methods' own options, by method; the others are the preset's."""

    given: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def parameters(cls) -> dict[str, tuple[Any, Any]]:
        """Return annotation and default by name."""
        return {
            spec.name: (Annotated[spec.type | None, option(spec, panel=f"method {method}")], None)
            for method, spec in own_options()
        }

    @classmethod
    def made_of(cls, values: Mapping[str, Any]) -> Self:
        """Return the group from its fields' values."""
        given: dict[str, dict[str, Any]] = {}
        for method, spec in own_options():
            if values[spec.name] is not None:
                given.setdefault(method, {})[spec.name] = values[spec.name]
        return cls(given)


def own_options() -> Iterable[tuple[str, FieldSpec]]:
    """Yield every option that a method has for itself, with the method's name."""
    for method, known in METHOD_SPECS.items():
        described = field_specs(known.options).values() if known.options else ()
        yield from ((method, spec) for spec in described if spec.option is not None)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(OptionGroup):
    """Everything that a recipe can be asked for."""

    recipe_file: RecipeFile = None
    fields: RecipeFields = field(default_factory=RecipeFields)
    own: MethodOptions = field(default_factory=MethodOptions)

    def recipe(self, method: str, preset: PresetName) -> Recipe:
        """Return the recipe of a preset, a file and the given options, of which the last wins.

        Options of other methods, which the method ignores, are noted on stderr.

        Raises
        ------
        BadParameter
            If one was given of which another option's value makes no use.
        InputError
            If the file is no recipe.
        """
        from aocq import progress

        plain = replace(
            recipe_of(self.recipe_file, Recipe(aocq=PRESETS[preset].options)), **self.fields.values
        )
        for owner, given in self.own.given.items():
            if owner != method:
                described = field_specs(type(getattr(plain, owner)))
                named = ", ".join(option_name(described[n], value) for n, value in given.items())
                progress.note(f"method {method} ignores {named}: options of method {owner}")
            plain = replace(plain, **{owner: replace(getattr(plain, owner), **given)})
        if method == "aocq":
            _check_used(plain.aocq, self.own.given.get(method, {}))
        return plain


def recipe_of(file: Path | None, plain: Recipe) -> Recipe:
    """Return a recipe with what a recipe file says in place of its values, if there is a file.

    Raises
    ------
    InputError
        If the file is no recipe.
    """
    if file is None:
        return plain
    from aocq.recipes.recipe_file import read_recipe

    return read_recipe(file).on(plain)


def _check_used(options: AocqOptions, given: Iterable[str]) -> None:
    """Check that what was given counts; a usage error where another option leaves it without use.

    A long calibration would not tell.
    """
    described = field_specs(AocqOptions)
    for name in given:
        other, values = USED_WITH.get(name, ("", ()))
        if other and getattr(options, other) not in values:
            wanted = option_name(described[other])
            raise typer.BadParameter(
                f"{option_name(described[name])}: only with {wanted} {' or '.join(values)}; "
                f"{wanted} is {getattr(options, other)}"
            )
