# SPDX-License-Identifier: Apache-2.0
"""A copy has the comments and values of its neighbour, and knows nothing."""

from __future__ import annotations

import re
import tomllib

import pytest

from simulator.errors import InputError
from simulator.profile import NpuProfile, flat_values, load_profile, profile_paths
from simulator.profile.copying import copied


def text_of(name):
    return profile_paths()[name].read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(profile_paths()))
def test_every_shipped_profile_can_be_copied(name):
    text = copied(text_of(name), "mine", name)
    copy, source = NpuProfile.model_validate(tomllib.loads(text)), load_profile(name)
    assert (copy.name, copy.title) == ("mine", f"mine, begun as {name}")
    assert set(copy.source.values()) == {f"assumed: taken from {name}"}
    assert copy.source.keys() == source.source.keys()
    values, expected = flat_values(copy), flat_values(source)
    assert {p: v for p, v in values.items() if p not in ("name", "title")} == {
        p: v for p, v in expected.items() if p not in ("name", "title")
    }


@pytest.mark.parametrize("name", ["edge_npu_int8", "litert_ref"])
def test_comments_and_layout_stay(name):
    text, copy = text_of(name), copied(text_of(name), "mine", name)
    first, *rest = copy.splitlines()
    assert first.startswith(f"# mine: begun as a copy of {name}, ")
    tables = text.index("\n[source]"), copy.index("\n[source]")
    before, after = (t[:end].splitlines() for t, end in zip((text, copy), tables, strict=True))
    different = [(a, b) for a, b in zip(before, after[1:], strict=True) if a != b]
    assert [b for _, b in different] == ['name = "mine"', f'title = "mine, begun as {name}"']
    assert re.findall(r"#.*", text) == re.findall(r"#.*", "\n".join(rest))


def test_sources_in_any_kind_of_string_are_replaced():
    text = text_of("vta")[: text_of("vta").index("[source]")] + (
        "[source]  # of everything\n"
        "default = 'doc: one'   # first\n"
        '"memory" = """\nmeasured: two \\\n   lines, [compute]"""\n'
        "# between\n"
        "weight='''doc:\nthree'''\n"
        'rescale = "doc: a \\"four\\" # no comment"\n'
    )
    copy = copied(text, "mine", "vta")
    assert set(tomllib.loads(copy)["source"].values()) == {"assumed: taken from vta"}
    for comment in ("[source]  # of everything", "  # first", "# between"):
        assert comment in copy
    assert "no comment" not in copy


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[source]\n", "[ source ]\n"),
        ('name = "vta"', '"name" = "vta"'),
        ("[source]\ndefault", "source.default"),
    ],
)
def test_what_cannot_be_changed_piece_by_piece_is_refused(old, new):
    text = text_of("vta").replace("\n" + old, "\n" + new)
    assert text != text_of("vta")
    if new == "source.default":
        head, _, tables = text_of("vta").partition("\n[activation]")
        text = head + '\nsource.default = "assumed"\n[activation]' + tables.split("[source]")[0]
    with pytest.raises(InputError, match="profile vta: its name, title and table"):
        copied(text, "mine", "vta")
