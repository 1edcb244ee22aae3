# SPDX-License-Identifier: Apache-2.0
"""Which operations a pattern meets, which pattern wins, and what is no rule."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from aocq.recipes.layer_rules import LayerRule, LayerRules, resolved
from aocq.recipes.recipe import Recipe
from aocq.records.layer_patterns import meets
from simulator import strict_json
from simulator.errors import InputError

LAYERS = [
    f"blocks.{block}.{name}"
    for block in (0, 1, 3, 10)
    for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
] + ["patch_embed.proj", "head"]
NAMES = ["image", *LAYERS, "blocks.0.norm1", "norm"]


def rules(**by_pattern: int) -> LayerRules:
    """Widths of weights by pattern."""
    return LayerRules.of({name: LayerRule(w=bits) for name, bits in by_pattern.items()})


def widths(rules: LayerRules) -> dict[str, int]:
    return resolved(rules, "w", LAYERS, NAMES)


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("head", "head", True),
        ("head", "head_dist", False),
        ("blocks.1", "blocks.1.mlp.fc1", True),
        ("blocks.1", "blocks.10.mlp.fc1", False),
        ("blocks.1*", "blocks.10.mlp.fc1", True),
        ("blocks.*.mlp.fc2", "blocks.3.mlp.fc2", True),
        ("blocks.*.mlp.fc2", "blocks.3.mlp.fc1", False),
        ("*.fc2", "layers.0.blocks.1.mlp.fc2", True),
        ("blocks.[0-3].attn", "blocks.3.attn.qkv", True),
        ("blocks.[!0-3].attn", "blocks.3.attn.qkv", False),
        ("blocks.?", "blocks.10.attn.qkv", False),
        ("*", "head", True),
        ("Head", "head", False),
        ("mlp", "blocks.0.mlp.fc1", False),
    ],
)
def test_a_pattern_meets_names_and_what_is_below_them(
    pattern: str, name: str, wanted: bool
) -> None:
    assert meets(pattern, name) == wanted


def test_the_most_specific_pattern_wins() -> None:
    by_pattern = {
        "*": 8,
        "blocks.3": 3,
        "blocks.*.mlp.fc2": 5,
        "blocks.10.mlp.fc2": 6,
        "blocks.1.attn.qkv": 2,
    }
    assert widths(rules(**by_pattern)) == {
        **dict.fromkeys(LAYERS, 8),
        **{name: 3 for name in LAYERS if name.startswith("blocks.3.")},
        **{name: 5 for name in LAYERS if name.endswith("fc2")},
        "blocks.10.mlp.fc2": 6,
        "blocks.1.attn.qkv": 2,
    }


def test_the_whole_name_wins_over_any_pattern() -> None:
    assert resolved(rules(ab=4, **{"a[b]": 5, "ab*": 6}), "w", ["ab"], ["ab"]) == {"ab": 4}


def test_keys_are_resolved_one_by_one() -> None:
    both = LayerRules.of({"head": LayerRule(w=8), "*": LayerRule(w=4, a=4)})
    assert resolved(both, "w", ["head"], NAMES) == {"head": 8}
    assert resolved(both, "a", ["head"], NAMES) == {"head": 4}


def test_equally_specific_patterns_that_differ_are_refused() -> None:
    alike = {"blocks.*.mlp.fc2": 5, "blocks.?.mlp.fc2": 6}
    with pytest.raises(InputError, match=r'blocks\.0\.mlp\.fc2: w is "blocks\.\*\.mlp\.fc2" 5 and'):
        widths(rules(**alike))
    same = widths(rules(**dict.fromkeys(alike, 5)))
    assert same["blocks.0.mlp.fc2"] == 5
    settled = rules(**alike, **{f"blocks.{block}.mlp.fc2": 7 for block in (0, 1, 3)})
    assert set(widths(settled).values()) == {5, 7}  # of block 10 one pattern alone


def test_a_pattern_that_meets_nothing_is_told_with_near_names() -> None:
    with pytest.raises(InputError) as raised:
        widths(rules(**{"blocks.0.mlp.fc3": 8}))
    assert str(raised.value).startswith(
        'layers: pattern "blocks.0.mlp.fc3" meets no operation of the network; the nearest names '
        "are blocks.0.mlp.fc2, "
    )


def test_a_pattern_that_meets_no_weights_is_told_what_it_meets() -> None:
    wanted = r'"blocks\.0\.norm1" sets w and meets no layer with weights, only blocks\.0\.norm1; '
    with pytest.raises(InputError, match=wanted):
        widths(rules(**{"blocks.0.norm1": 8}))


@pytest.mark.parametrize("values", [{}, {"w": 1}, {"w": 9}, {"a": 2}, {"a": 17}], ids=str)
def test_rules_have_ranges(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="wanted"):
        LayerRule(**values)


@pytest.mark.parametrize("pattern", ["", "a\nb", "x" * 513])
def test_texts_that_are_no_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no pattern"):
        rules(**{pattern: 8})


def test_rules_are_values() -> None:
    one, other = rules(head=8, norm=4), rules(norm=4, head=8)
    assert one == other
    assert hash(one) == hash(other)
    assert list(one) == ["head", "norm"]
    assert one["head"] == LayerRule(w=8)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.rules = ()  # type: ignore[misc]


def test_a_recipe_is_what_it_was_written_as() -> None:
    adapter = TypeAdapter(Recipe)
    recipe = Recipe(
        layers=LayerRules.of({"head": LayerRule(a=16), "blocks.0": LayerRule(w=4, a=8)})
    )
    plain = recipe.plain()
    assert plain["layers"] == {"blocks.0": {"w": 4, "a": 8}, "head": {"a": 16}}
    assert adapter.validate_json(strict_json.dumps(plain)) == recipe
    assert "layers" not in Recipe().plain()  # files of recipes without rules are as they were
    assert adapter.validate_json(strict_json.dumps(Recipe().plain())) == Recipe()


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ({"head": {}}, ("layers", "head")),
        ({"head": {"w": 9}}, ("layers", "head", "w")),
        ({"head": {"w": 4.0}}, ("layers", "head", "w")),
        ({"head": {"width": 4}}, ("layers", "head", "width")),
        ({"head": 4}, ("layers", "head")),
        ({"": {"w": 4}}, ("layers",)),
        ([], ("layers",)),
    ],
    ids=str,
)
def test_files_with_other_rules_are_refused_by_place(layers: Any, place: tuple[str, ...]) -> None:
    plain = {**Recipe().plain(), "layers": layers}
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(Recipe).validate_json(strict_json.dumps(plain))
    assert raised.value.errors()[0]["loc"] == place
