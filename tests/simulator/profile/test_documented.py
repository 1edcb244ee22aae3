# SPDX-License-Identifier: Apache-2.0
"""``docs/profiles.md`` has every key, every algorithm and every vendor's word, and true errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from plain_profiles import mistakes

from simulator.profile import CONFIDENCE, OpKind
from simulator.profile.aliases import OVERFLOW_ALIASES, ROUNDING_ALIASES
from simulator.profile.section import sections

PAGE = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
CODE = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
WORDS = set(re.findall(r"\w+", CODE))
MISTAKES = {
    "accumulator.levels": [{"group": "all", "bits": 70, "overflow": "wrap"}],
    "rescale.rounding": "half_upp",
    "gelu.algorithm": "table",
    "compute": {
        "clock_mhzz": 500,
        "engine": {
            "kind": "dot",
            **dict.fromkeys(("m", "n", "k", "cycles_per_step", "pipeline_depth"), 1),
        },
        "vector": {
            "lanes": "16",
            "cycles_per_element": dict.fromkeys(
                ("softmax", "layernorm", "lookup", "add", "rescale", "mean", "layout", "float"), 1
            ),
        },
    },
}
EXCEPTIONS = {
    "ops.matmul.rescale": {"kind": "float16"},
    "ops.linear.rescale": {"rounding": "half_away", "double_rounding": "symmetric"},
}


@pytest.mark.parametrize("section", [*sections()], ids=lambda one: one.__name__)
def test_every_key_and_choice_is_there(section):
    for key, field in section.model_fields.items():
        assert key in WORDS or f"[{key}]" in PAGE or key == "columns", key
        choices = [one for one in get_args(field.annotation) if isinstance(one, str)]
        assert {one for one in choices if not one.endswith("_stationary")} <= WORDS, choices


def test_every_vendor_s_word_is_there_with_its_meaning():
    read_as = {}
    roundings, _, overflows = PAGE.partition("| `overflow` | read as |")
    for words, meaning in re.findall(r"^\| (.*?) \| (.*?) \|", roundings, flags=re.MULTILINE):
        names, ours = (re.findall(r"`([^`]+)`", cell) for cell in (words, meaning))
        if any(one.startswith("double_rounding") for one in ours) or len(ours) == 1:
            ours = [" ".join(ours)] * len(names)  # one meaning of all the row's words
        if len(names) == len(ours):
            read_as |= dict(zip(map(str.lower, names), ours, strict=True))
    for word, keys in ROUNDING_ALIASES.items():
        double = keys.get("double_rounding")
        expected = keys["rounding"] + (f' double_rounding = "{double}"' if double else "")
        assert read_as[word] == expected, word
    for word, meaning in OVERFLOW_ALIASES.items():
        assert re.search(rf"\| .*`{word}`.* \| `{meaning}` \|", overflows), word


def test_the_words_of_trust_and_the_kinds_of_ops_are_there():
    assert all(re.search(rf"^\| `{word}` \| ", PAGE, re.MULTILINE) for word in CONFIDENCE)
    kinds = PAGE.partition("KIND is one of")[2].partition("##")[0]
    assert set(re.findall(r"`(\w+)`", kinds)) == set(get_args(OpKind))


@pytest.mark.parametrize("changes", [MISTAKES, EXCEPTIONS])
def test_the_errors_shown_are_those_printed(changes):
    joined = re.sub(r"\n {6}", " ", PAGE)
    found = mistakes(changes)
    lines = "".join(f"\n  {line}" for line in found)
    assert f"error: my_npu.toml: {len(found)} problem(s):{lines}\n```" in joined
