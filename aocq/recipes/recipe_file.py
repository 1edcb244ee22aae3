# SPDX-License-Identifier: Apache-2.0
"""Recipe files: a recipe as TOML, read strictly, and written so that reading gives it back.

``[recipe]`` has any field of :class:`~aocq.recipes.recipe.Recipe`, ``[recipe.aocq]`` any of a
method's options, ``[layers]`` a rule for each pattern::

    format = 1

    [recipe]
    weight_bits = 4

    [recipe.aocq]
    rounding = "nearest"

    [layers]
    "blocks.*.mlp.fc2" = { w = 8, a = 8 }
    "head" = { w = 8 }
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.layer_rules import KEYS
from aocq.recipes.methods import METHOD_SPECS
from aocq.recipes.recipe import Recipe
from simulator import strict_json
from simulator.control_characters import escaped
from simulator.errors import InputError
from simulator.reading import read_bytes

FORMAT = 1
LARGEST_FILE = 1 << 20  # bytes; a rule for each layer of the largest networks has a tenth of it
LONGEST_SHOWN = 80
_TABLES = ("format", "recipe", "layers")
_ADAPTER = TypeAdapter(Recipe)
_BARE_KEY = re.compile(r"""^[ \t]*([^\s"'#=\[][^\s"'#=]{0,511})[ \t]*=""", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRecipe:
    """What a recipe file says, and nothing for what it leaves out.

    Attributes
    ----------
    fields
        of the recipe, without options of methods, by name; rules for single layers are among them
    own
        options by method
    """

    fields: Mapping[str, Any]
    own: Mapping[str, Mapping[str, Any]]

    @classmethod
    def nothing(cls) -> Self:
        """Return what a file says that is not there."""
        return cls(fields={}, own={})

    def on(self, plain: Recipe) -> Recipe:
        """Return a recipe with what the file says in place of its values."""
        own = {
            method: replace(getattr(plain, method), **given) for method, given in self.own.items()
        }
        return replace(plain, **self.fields, **own)


def read_recipe(path: Path) -> WrittenRecipe:
    """Read a recipe file.

    Raises
    ------
    InputError
        If there is no such file, it is not TOML, or values are unknown, of the wrong type or out of
        range: all of them in one message, each with its key.
    """
    parsed = _parsed(path)
    found = [f"{key}: {_unknown(key, _TABLES)}" for key in parsed if key not in _TABLES]
    if parsed.get("format") != FORMAT or isinstance(parsed.get("format"), bool):
        shown = repr(parsed["format"])[:LONGEST_SHOWN] if "format" in parsed else "missing"
        found.append(f"format: {shown}; wanted format = {FORMAT}")
    table, layers = parsed.get("recipe", {}), parsed.get("layers", {})
    if not isinstance(table, dict):
        raise _refused(path, [*found, "recipe: must be a table, [recipe]"])
    if "layers" in table:
        found.append("recipe.layers: rules for single layers stand in a table [layers]")
    found += [f"{place}: dates, times and nan are no values" for place in _not_json(parsed, "")]
    if found:
        raise _refused(path, found)
    try:
        return written_recipe(table, layers)
    except ValidationError as error:
        raise _refused(path, [_problem(item) for item in error.errors()]) from error


def written_recipe(table: Mapping[str, Any], layers: Mapping[str, Any]) -> WrittenRecipe:
    """Return what the tables ``[recipe]`` and ``[layers]`` of a file say.

    Raises
    ------
    ValidationError
        If values are unknown, of the wrong type or out of range.
    """
    # As text: of Python's values pydantic takes none but instances strictly.
    recipe = _ADAPTER.validate_json(strict_json.dumps({**table, "layers": layers}))
    methods = [name for name in table if name in METHOD_SPECS]
    given = {name: getattr(recipe, name) for name in table if name not in methods}
    if recipe.layers:
        given["layers"] = recipe.layers
    return WrittenRecipe(
        fields=given,
        own={
            method: {name: getattr(getattr(recipe, method), name) for name in table[method]}
            for method in methods
        },
    )


def recipe_toml(recipe: Recipe, heading: Sequence[str] = ()) -> str:
    """Return the text of a recipe's file, every field and option stated.

    Parameters
    ----------
    heading
        lines of comment that the file begins with

    Needs the package ``tomlkit``, of the extra ``quantize``.
    """
    import tomlkit
    from tomlkit.items import KeyType, SingleKey

    plain = recipe.plain()
    layers = plain.pop("layers", {})
    document = tomlkit.document()
    for line in heading:
        # A comment ends with its line; names of folders may hold what is no text.
        text = escaped(" ".join(line.split())).encode(errors="backslashreplace").decode()
        document.add(tomlkit.comment(text))
    if heading:
        document.add(tomlkit.nl())
    document["format"] = FORMAT
    # TOML has no null: what is None is left out, and is None again when it is read.
    document["recipe"] = {key: value for key, value in plain.items() if value is not None}
    if layers:
        rules = tomlkit.table()
        for pattern, rule in layers.items():
            inline = tomlkit.inline_table()
            inline.update(rule)
            rules.add(SingleKey(pattern, t=KeyType.Basic), inline)
        document["layers"] = rules
    return tomlkit.dumps(document)


def _parsed(path: Path) -> dict[str, Any]:
    try:
        content = read_bytes(path, LARGEST_FILE)
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; --recipe wants a recipe file (TOML)") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8")
        return tomllib.loads(text)
    except RecursionError as error:
        raise InputError(f"{path}: not a recipe: tables or lists nested too deeply") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    except ValueError as error:  # of TOML, of whole numbers with thousands of digits
        raise InputError(f"{path}: not TOML: {error}{_unquoted(text)}") from error


def _unquoted(text: str) -> str:
    """Return what to do about the first pattern without quotes, in which TOML wants it."""
    for found in _BARE_KEY.finditer(text):
        if any(wildcard in found[1] for wildcard in "*?["):
            return f'; a pattern stands in quotes: "{found[1][:LONGEST_SHOWN]}" = ...'
    return ""


def _not_json(value: Any, place: str) -> Iterator[str]:
    """Yield the paths of values that TOML has and recipes do not."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_json(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{place}[{index}]")
    elif not isinstance(value, str | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        yield place


def _refused(path: Path, found: list[str]) -> InputError:
    lines = "\n".join(f"  {line}" for line in found)
    return InputError(f"{path}: {len(found)} problem(s):\n{lines}")


def _problem(error: Any) -> str:
    """Return one mistake as a line: the key's path in the file, its value, what must hold."""
    parts = [str(part) for part in error["loc"]]
    in_layers = parts[:1] == ["layers"]
    parts = parts if in_layers else ["recipe", *parts]
    shown = [_shown(part, quoted=in_layers and place == 1) for place, part in enumerate(parts)]
    path = ".".join(shown)
    if error["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
        hint = "; a pattern with dots stands in quotes" if isinstance(error["input"], dict) else ""
        return f"{path}: {_unknown_of(parts)}{hint if in_layers else ''}"
    if error["type"] in {"dict_type", "dataclass_type"}:
        return f"{path}: must be a table"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    if isinstance(value, dict | list) or error["type"] == "value_error":
        return f"{path}: {message}"
    return f"{path} = {repr(value)[:LONGEST_SHOWN]}: {message[0].lower()}{message[1:]}"


def _shown(part: str, *, quoted: bool) -> str:
    cut = part[:LONGEST_SHOWN]
    return f'"{cut}"' if quoted else cut if cut.isprintable() else repr(cut)


def _unknown_of(parts: list[str]) -> str:
    """Say what an unknown key could have been; ``parts`` is its path."""
    if parts[0] == "layers":
        return _unknown(parts[-1], KEYS)
    known = Recipe if len(parts) == 2 else AocqOptions
    return _unknown(parts[-1], [field.name for field in fields(known)])


def _unknown(key: str, known: Any) -> str:
    near = get_close_matches(key, known, n=1)
    return "unknown key" + (f" (did you mean {near[0]}?)" if near else "")
