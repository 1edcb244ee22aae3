# SPDX-License-Identifier: Apache-2.0
"""``aocq profiles``: what a person reads, what a program reads, how a new profile begins."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, Finished

from aocq.cli.profile_text import page
from simulator.profile import CONFIDENCE, flat_values, load_profile, profile_paths

Run = Callable[..., Finished]
# Tables, and keys of the file's head, that change no integer.
HIDDEN = {
    *("name", "title", "format", "compute", "memory", "energy", "caveats", "registers"),
}


def test_profiles_are_listed_with_what_is_known_of_them(without_torch: Run) -> None:
    head, *rows = without_torch("profiles", "list").out.splitlines()
    assert head.split() == ["name", *CONFIDENCE, "title"]
    assert [row.split()[0] for row in rows] == list(profile_paths())
    for row in rows:
        name, *counts, title = row.split(maxsplit=5)
        profile = load_profile(name)
        assert title == profile.title
        found = [
            profile.confidence_of(path)
            for path in flat_values(profile)
            if path.split(".")[0] not in HIDDEN
        ]
        assert counts == [str(found.count(word) or "-") for word in CONFIDENCE]
    assert len({len(row) - len(row.split(maxsplit=5)[5]) for row in rows}) == 1  # titles align


@pytest.mark.parametrize("name", sorted(profile_paths()))
def test_every_value_is_shown_once_below_its_table(name: str) -> None:
    profile = load_profile(name)
    title, identity, *lines = page(profile, 120).splitlines()
    assert (title, identity) == (profile.title, f"sha256 {profile.sha256()}")
    table, shown = "", []
    for line in lines:
        if line and not line.startswith(" "):
            table = line
        elif line.startswith("  ") and line[2] != " " and ":" not in table:
            key, word = line.split()[0], set(line.split()) & set(CONFIDENCE)
            assert profile.confidence_of(f"{table}.{key}") in word
            shown.append(f"{table}.{key}")
    hidden = ("name", "title", "format", "ops.", "caveats")
    assert shown == [path for path in flat_values(profile) if not path.startswith(hidden)]


@pytest.mark.parametrize("columns", [70, 80, 120])
def test_sources_are_wrapped_to_the_terminal(columns: int) -> None:
    """They begin below each other, and all their words are there."""
    profile = load_profile("litert_ref")
    lines = page(profile, columns).splitlines()[2:]
    assert max(map(len, lines)) <= columns
    assert len(lines) > len(page(profile, 400).splitlines()[2:])
    words = " ".join(" ".join(lines).split())
    for text in set(profile.source.values()) - {profile.source["default"]}:
        rest = text.split(":", 1)[1].split()
        assert rest[0] in words
        assert rest[-1] in words


def test_a_source_is_not_repeated_for_every_value() -> None:
    lines = page(load_profile("litert_ref"), 400).splitlines()
    table = lines[lines.index("rescale") + 1 : lines.index("residual") - 1]
    assert table[0].split(maxsplit=3)[2:] == [
        "measured",
        load_profile("litert_ref").source["rescale"].removeprefix("measured: "),
    ]
    assert [line.split()[-2:] for line in table[1:]] == [["measured", '"']] * (len(table) - 1)


def test_a_person_reads_our_words_and_what_is_exceptional(without_torch: Run) -> None:
    text = without_torch("profiles", "show", "litert_ref").out
    for line in (
        "linear: rescale.kind = float64 (instead of fixed_point)",
        "linear: rescale.rounding = half_away (instead of half_up)",
        "linear: rescale.double_rounding = none (instead of symmetric)",
        "mul: rescale.scale_type = float32_ratio (instead of float32)",
    ):
        assert line in text.splitlines()
    assert "ops." not in text
    shown = page(load_profile("ethos_u55_256"), 120)  # its file says TFL
    pairs = [line.split()[:2] for line in shown.splitlines()]
    assert ["rounding", "half_up"] in pairs
    assert ["double_rounding", "symmetric"] in pairs
    assert "all:20 saturate" in page(load_profile("esp32_s3_20b"), 120)


def test_an_accumulator_of_its_own_is_exceptional_too(tmp_path: Path) -> None:
    text = profile_paths()["edge_npu_int8"].read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text + "\n[ops.matmul.accumulator]\nbias_bits = 24\n", encoding="utf-8")
    lines = page(load_profile(str(path)), 120).splitlines()
    at = lines.index("matmul: accumulator.bias_bits = 24 (instead of 32)")
    assert lines[at + 1] == "  assumed   a generic chip, nobody's in particular"


def test_a_program_reads_values_with_their_sources(without_torch: Run) -> None:
    shown = json.loads(without_torch("profiles", "show", "vta", "--json").out)
    profile = load_profile("vta")
    assert (shown["name"], shown["title"]) == ("vta", profile.title)
    assert shown["sha256"] == profile.sha256()
    assert list(shown["values"]) == list(flat_values(profile))
    assert shown["values"]["rescale.rounding"] == {
        "value": "floor",
        "confidence": "source",
        "source": profile.source["rescale"],
    }


def test_a_narrow_terminal_changes_the_page(
    without_torch: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "COLUMNS", "90")
    text = without_torch("profiles", "show", "vta").out
    assert text == page(load_profile("vta"), 90) + "\n"


def test_a_profile_is_validated(without_torch: Run) -> None:
    validated = without_torch("profiles", "validate", "edge_npu_int8")
    assert validated.err == (
        f"edge_npu_int8: valid, sha256 {load_profile('edge_npu_int8').sha256()}\n"
    )
    assert validated.out == ""


def test_a_profile_is_begun_from_its_neighbour(without_torch: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "my_npu.toml"
    command = ("profiles", "new", "my_npu", "--from", "ethos_u55_256", "--out", path)
    done = without_torch(*command)
    assert done.out == ""
    assert f"{path}: every value is that of ethos_u55_256, and assumed\n" in done.err
    for step in (f"aocq profiles validate {path}", f"aocq demo --profile {path}"):
        assert f"      {step}\n" in done.err
    profile = load_profile(str(path))
    assert (profile.name, profile.title) == ("my_npu", "my_npu, begun as ethos_u55_256")
    assert set(profile.source.values()) == {"assumed: taken from ethos_u55_256"}
    text = path.read_text(encoding="utf-8")
    assert 'rounding = "TFL"                     # half_up, twice\n' in text
    assert without_torch("profiles", "validate", path).err.startswith("my_npu: valid")

    again = without_torch(
        "profiles", "new", "next", "--from", path, "--out", tmp_path / "next.toml"
    )
    assert f"aocq profiles validate {tmp_path / 'next.toml'}\n" in again.err
    copy = tomllib.loads((tmp_path / "next.toml").read_text(encoding="utf-8"))
    assert copy["source"]["rescale"] == "assumed: taken from my_npu"


def test_a_file_that_is_there_stays(warm: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("mine", encoding="utf-8")
    done = warm("profiles", "new", "mine", "--from", "vta", "--out", path, code=3)
    assert done.err == f"error: {path}: is there already; name another file\n"
    assert path.read_text(encoding="utf-8") == "mine"
    below = path / "other.toml"
    done = warm("profiles", "new", "mine", "--from", "vta", "--out", below, code=3)
    assert f"error: {below}: cannot be written" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("My-NPU", "--from", "vta"), 2, "'My-NPU': a name has letters a-z, digits and _ only"),
        (("vta", "--from", "vta"), 2, "'vta' is a shipped profile; choose another name"),
        (("mine",), 2, "--from"),
        (("mine", "--from", "vtaa"), 3, "profile vtaa: neither a shipped profile nor a file"),
    ],
)
def test_what_cannot_be_begun_leaves_no_file(
    warm: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = warm("profiles", "new", *arguments, "--out", tmp_path / "mine.toml", code=code)
    assert message in done.err
    assert list(tmp_path.iterdir()) == []
