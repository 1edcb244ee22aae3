# SPDX-License-Identifier: Apache-2.0
"""Groups of options: single ones for typer, whole ones for commands."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from aocq.cli import app
from aocq.cli.groups import OptionGroup, grouped
from aocq.cli.recipes import MethodOptions, RecipeFields, RecipeOptions
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.fields import field_specs
from aocq.recipes.layer_rules import LayerRule, LayerRules
from aocq.recipes.methods import METHOD_SPECS
from aocq.recipes.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Size(OptionGroup):
    """A group within a group."""

    width: Annotated[int, typer.Option("--width")]
    height: Annotated[int, typer.Option("--height")] = 2


@dataclass(frozen=True, kw_only=True)
class Box(OptionGroup):
    """A group."""

    size: Size
    name: str = "box"


def test_a_group_is_single_options_outside_and_one_value_inside() -> None:
    seen: dict[str, Any] = {}

    @grouped
    def command(*, first: bool = False, box: Box, last: int = 3) -> None:
        """Say so."""
        seen.update(first=first, box=box, last=last)

    parameters = inspect.signature(command).parameters
    assert {name: found.default for name, found in parameters.items()} == {
        "first": False,
        "width": inspect.Parameter.empty,
        "height": 2,
        "name": "box",
        "last": 3,
    }
    assert parameters["height"].annotation.__metadata__[0].default == "--height"
    assert command.__doc__ == "Say so."
    command(first=True, width=1, height=4, name="case", last=5)
    assert seen == {"first": True, "box": Box(size=Size(width=1, height=4), name="case"), "last": 5}


def test_two_options_of_one_name_are_a_mistake() -> None:
    def command(box: Box, name: str) -> None: ...

    with pytest.raises(ValueError, match="two options have one name"):
        grouped(command)


def test_every_described_field_is_an_option_with_its_type_bounds_and_default() -> None:
    given = {**RecipeFields.parameters(), **MethodOptions.parameters()}
    for owner, cls in {None: Recipe, **{n: s.options for n, s in METHOD_SPECS.items()}}.items():
        for spec in field_specs(cls).values() if cls else ():
            assert (spec.name in given) == (spec.option is not None)
            if spec.option is None:
                continue
            annotation, default = given[spec.name]
            (described,) = annotation.__metadata__
            assert annotation.__origin__ == spec.type | None
            assert default is None  # what is not given is a file's, a preset's, or the field's own
            stated = owner is None and spec.default is not None
            told = f" (default: {spec.default})" if stated else ""
            assert described.help == spec.option.help + told
            assert described.rich_help_panel == (None if owner is None else f"method {owner}")
            if spec.type in {int, float}:
                bounds = spec.option_bounds
                assert (described.min, described.max) == (bounds.ge, bounds.le)


def test_a_recipe_is_the_preset_with_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    given = dict.fromkeys(MethodOptions.parameters()) | {"alpha": "pot3", "balance_inputs": False}
    options = RecipeOptions(
        fields=RecipeFields({"weight_bits": 4}), own=MethodOptions.made_of(given)
    )
    wanted = Recipe(
        weight_bits=4,
        aocq=AocqOptions(scale_passes=0, search_images=16, alpha="pot3", balance_inputs=False),
    )
    assert options.recipe("aocq", "fast") == wanted
    assert capsys.readouterr().err == ""
    assert options.recipe("fq_vit", "fast") == wanted
    told = "note: method fq_vit ignores --alpha, --no-balance-inputs: options of method aocq\n"
    assert capsys.readouterr().err == told


def test_options_win_over_a_file_and_a_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        "format = 1\n[recipe]\nweight_bits = 4\nseed = 3\n[recipe.aocq]\nscale_passes = 2\n"
        'alpha = "pot5"\n[layers]\n"head" = { w = 8 }\n'
    )
    options = RecipeOptions(
        recipe_file=file,
        # The default, which is given all the same.
        fields=RecipeFields.made_of({**dict.fromkeys(RecipeFields.NAMES), "weight_bits": 8}),
        own=MethodOptions({"aocq": {"alpha": "none"}}),
    )
    assert options.recipe("aocq", "fast") == Recipe(
        weight_bits=8,
        seed=3,
        layers=LayerRules.of({"head": LayerRule(w=8)}),
        aocq=AocqOptions(scale_passes=2, search_images=16, alpha="none"),
    )


def test_commands_say_themselves_that_they_resume() -> None:
    assert {name for name in app.COMMANDS if app.resumes_after([name, "--out", "x"])} == {
        *("verify", "demo", "sweep", "table2", "ablate", "targets", "accumulators"),
        *("sensitivity", "search"),
    }
    assert not app.resumes_after([])
    assert not app.resumes_after(["--help"])
