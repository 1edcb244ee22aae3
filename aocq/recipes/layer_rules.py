# SPDX-License-Identifier: Apache-2.0
"""Rules of a recipe for single layers: what differs there, by patterns on the names of operations.

Names are those of the captured network, which ``layers.csv`` has too: ``blocks.0.mlp.fc2``,
``blocks.0.attn.scores``, ``head``. (A layer whose sums go onto the residual stream has the row of
the sum there, ``blocks.0.add_1``, and its own name here.) A pattern is a name or one with wildcards
as file names have them: ``*``, which stands for dots too, ``?``, and ``[0-3]``. It meets the
operations whose names it matches and everything below these: ``blocks.3`` is a whole block.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Interval

from aocq.recipes.aocq_options import Alpha
from aocq.recipes.fields import STRICT, check_fields
from aocq.records.layer_patterns import meets, most_specific
from simulator.errors import InputError

LONGEST_PATTERN = 512  # of characters; names of operations are shorter
NAMED = 3  # names that a message lists
OPERAND_WIDTHS = (3, 4, 5, 6, 7, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRule:
    """What differs at some operations; None: as the recipe says for all.

    Attributes
    ----------
    w
        bits of a linear layer's weights
    a
        bits at which a matrix product reads its operands, 3 to 8 or 16. Not of probabilities, whose
        width is that of the chip's softmax
    alpha
        of method ``aocq``, the form of the factors α of a tensor of the residual stream, see
        :class:`aocq.recipes.aocq_options.AocqOptions`

    Raises
    ------
    ValueError
        If a value is not one of its field's, or all are None.
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = STRICT

    w: Annotated[int | None, Interval(ge=2, le=8)] = None
    a: Annotated[int | None, Interval(ge=3, le=16)] = None
    alpha: Alpha | None = None

    def __post_init__(self) -> None:
        """Refuse what no field can be, and a rule that says nothing."""
        check_fields(self)
        if self.a is not None and self.a not in OPERAND_WIDTHS:
            raise ValueError(f"a = {self.a}: wanted 3 to 8, or 16")
        if not self.given():
            raise ValueError(f"says nothing: wanted one of {', '.join(KEYS)}")

    def given(self) -> dict[str, Any]:
        """Return the keys that the rule sets, with their values."""
        values = {key: getattr(self, key) for key in KEYS}
        return {key: value for key, value in values.items() if value is not None}


KEYS = tuple(field.name for field in fields(LayerRule))
# What an operation must have for a key to mean something there.
_MEANT_FOR: Mapping[str, str] = {
    "w": "layer with weights",
    "a": "matrix product",
    "alpha": "tensor of the residual stream",
}


@dataclass(frozen=True, slots=True)
class LayerRules(Mapping[str, LayerRule]):
    """Rules by pattern, in the order of the patterns; none: all layers are as the recipe says.

    Raises
    ------
    ValueError
        If a pattern is empty, too long or not printable.
    """

    rules: tuple[tuple[str, LayerRule], ...] = ()

    def __post_init__(self) -> None:
        """Refuse texts that are no patterns, and bring the rules into one order."""
        for pattern, _ in self.rules:
            if not pattern or len(pattern) > LONGEST_PATTERN or not pattern.isprintable():
                raise ValueError(
                    f"layers: {pattern[:80]!r} is no pattern: wanted 1 to {LONGEST_PATTERN} "
                    "printable characters"
                )
        object.__setattr__(self, "rules", tuple(sorted(dict(self.rules).items())))

    @classmethod
    def of(cls, rules: Mapping[str, LayerRule]) -> Self:
        """Return the rules of a mapping from pattern to rule."""
        return cls(tuple(rules.items()))

    def __getitem__(self, pattern: str) -> LayerRule:
        """Return the rule of a pattern; KeyError where there is none."""
        return dict(self.rules)[pattern]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the patterns."""
        return (pattern for pattern, _ in self.rules)

    def __len__(self) -> int:
        """Return how many patterns have a rule."""
        return len(self.rules)

    def plain(self) -> dict[str, dict[str, Any]]:
        """Return the rules as JSON and TOML hold them, without keys that are not set."""
        return {pattern: rule.given() for pattern, rule in self.rules}

    def values_of(self, key: str) -> dict[str, Any]:
        """Return the values of one key, by pattern."""
        given = {pattern: rule.given() for pattern, rule in self.rules}
        return {pattern: found[key] for pattern, found in given.items() if key in found}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Read the rules from files as an object of patterns."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(cls.of, handler(dict[str, LayerRule]))


NO_RULES = LayerRules()


def resolved(
    rules: LayerRules,
    key: str,
    meant: Collection[str],
    names: Collection[str],
) -> dict[str, Any]:
    """Return the values of one key, by operation; of several patterns the most specific wins.

    Parameters
    ----------
    meant
        names of the operations that the key can be of
    names
        those of all operations

    Raises
    ------
    InputError
        If a pattern meets no operation, or none that its key can be of, or if two patterns that are
        equally specific want different values for one operation.
    """
    given = rules.values_of(key)
    for pattern in given:
        _check_met(pattern, key, meant, names)
    found = {}
    for name in meant:
        best = most_specific(given, name)
        if len({given[pattern] for pattern in best}) > 1:
            values = " and ".join(f'"{pattern}" {given[pattern]}' for pattern in best)
            raise InputError(
                f"layers: {name}: {key} is {values}, and no pattern is more specific; give "
                f'"{name}" a rule of its own'
            )
        if best:
            found[name] = given[best[0]]
    return found


def _check_met(pattern: str, key: str, meant: Collection[str], names: Collection[str]) -> None:
    met = [name for name in names if meets(pattern, name)]
    if not met:
        raise InputError(
            f'layers: pattern "{pattern}" meets no operation of the network; '
            f"{_near(pattern, names)}"
        )
    if not set(met) & set(meant):
        raise InputError(
            f'layers: pattern "{pattern}" sets {key} and meets no {_MEANT_FOR[key]}, only '
            f"{_listed(met)}; {_near(pattern, meant)}"
        )


def _near(pattern: str, names: Collection[str]) -> str:
    near = get_close_matches(pattern, list(names), NAMED, 0.0)
    return f"the nearest names are {', '.join(near)}"


def _listed(names: Collection[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(list(names)[:NAMED]) + more
