# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile profiles: refused by name, or accepted and then of use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from asked import for_chip
from mutations import byte_mutants, text_mutants
from tiny_models import NANO, images, input_size, network

from aocq.capture import FloatGraph, capture
from aocq.cli.profile_text import as_data, list_row, page
from aocq.jobs.calibration import calibrated
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from aocq.recipes.limits import ChipLimits
from aocq.recipes.recipe import Recipe
from simulator.cost import estimate
from simulator.errors import AocqError, InputError
from simulator.profile import NpuProfile, load_profile, profile_paths
from simulator.profile.copying import copied

EACH = 150
SOURCES = (
    "edge_npu_int8",
    "esp32_s3_20b",
    "ita_26b",
    "litert_ref",
    "litert_xnnpack",
    "tosa_double",
)
# Lowering takes longer than reading: one of so many accepted profiles is used.
ONE_OF = 20
SIZE = input_size(NANO)


@cache
def float_graph() -> FloatGraph:
    return capture(network("mean_then_norm", NANO), "fuzz", SIZE)


@cache
def _quantized(recipe: Recipe, limits: ChipLimits) -> QuantizedModel:
    return calibrated("base_ptq", float_graph(), images(4, SIZE), recipe, limits)


def use(profile: NpuProfile) -> None:
    """Quantize, lower and cost a network for a profile; it may be refused."""
    bits = {
        "weight_bits": max(profile.weight.bits),
        "activation_bits": profile.activation.operand_width,
    }
    try:
        graph = lower(_quantized(*for_chip(profile, **bits)), profile)
    except AocqError:
        return
    found = estimate(graph, profile)
    assert 0 < found.latency_ms < 1e15


def taken(path: Path) -> NpuProfile | None:
    """Read a file: a profile that can be shown, copied and written again, or None where refused."""
    try:
        profile = load_profile(str(path))
    except InputError as refusal:
        text = str(refusal)
        assert text.startswith(f"{path}: "), text
        assert text.replace("\n", "").isprintable(), text
        assert len(text) < 20_000
        return None
    assert list_row(profile, 20).isprintable()
    assert page(profile, 100).replace("\n", "").isprintable()
    json.dumps(as_data(profile), allow_nan=False)
    again = NpuProfile.model_validate(profile.model_dump(mode="json"))
    assert again.sha256() == profile.sha256()
    return profile


def all_taken(path: Path, mutants: Iterator[tuple[str, bytes]]) -> int:
    """Read every mutant, use some that are accepted, and return how many are."""
    accepted = 0
    for what, content in mutants:
        path.write_bytes(content)
        try:
            profile = taken(path)
            if profile is not None:
                accepted += 1
                if accepted % ONE_OF == 0:
                    use(profile)
        except Exception as error:
            error.add_note(what)
            raise
    return accepted


def written(mutants: Iterator[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    return ((what, text.encode("utf-8", "surrogatepass")) for what, text in mutants)


@pytest.mark.parametrize("name", SOURCES)
def test_mutants_of_a_profile_are_refused_or_of_use(name: str, tmp_path: Path) -> None:
    content = profile_paths()[name].read_bytes()
    path = tmp_path / "chip.toml"
    lines = all_taken(path, written(text_mutants(content.decode(), seed=1, count=EACH)))
    assert EACH // 20 < lines < EACH * 3 // 4
    assert 0 < all_taken(path, byte_mutants(content, seed=2, count=EACH)) < EACH


NUMBERS = (
    "1" + "0" * 400,
    "9" * 5000,
    "-1",
    "0",
    "1e308",
    "-1e308",
    "1e-320",
    "nan",
    "inf",
    "-inf",
)
WORDS = ("true", '"\\u001b[2J"', '"' + "a" * 100_000 + '"', "1979-05-27", "[[[]]]", "{}", '""')


@pytest.mark.parametrize("name", SOURCES[:4])
def test_every_value_may_be_odd(name: str, tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    lines = profile_paths()[name].read_text(encoding="utf-8").splitlines()
    places = [at for at, line in enumerate(lines) if " = " in line and not line.startswith("#")]

    def odd() -> Iterator[tuple[str, bytes]]:
        for at in places:
            for value in (*NUMBERS, *WORDS):
                key = lines[at].partition(" = ")[0]
                changed = [*lines[:at], f"{key} = {value}", *lines[at + 1 :]]
                yield f"{key} = {value[:20]}", "\n".join(changed).encode()

    assert all_taken(path, odd()) < len(places)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = " + b"[" * 50_000, "nested too deeply"),
        (b"a = " + b"{a = " * 10_000, "nested too deeply|not TOML"),
        (b"[" + b"a." * 30_000 + b"a]\nb = 1", "a key of more than 500 parts"),
        (b"name = \xff\xfe", "not TOML"),
        (b"\xef\xbb\xbfname = 'x'", "not TOML"),
        (b"name = " + b"1" * 10_000, "not TOML"),
        (b"x" * (1 << 16) + b"x", "has 65,537 bytes, a file of its kind at most 65,536"),
        (b'"\\u001b[2J" = 1\n', r"'\\x1b\[2J': unknown key"),
        (b'"' + b"k" * 5000 + b'" = 1\n', r"k{80}\.\.\.: unknown key"),
        (b"", "missing"),
    ],
)
def test_files_that_no_person_wrote_are_refused(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "chip.toml"
    path.write_bytes(content)
    assert taken(path) is None
    with pytest.raises(InputError, match=message):
        load_profile(str(path))


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x" * 5000, ""])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(InputError, match="neither a shipped profile nor a file"):
        load_profile(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *(("no/such/file", "no such file"), ("nope.toml", "no such file")),
        *(("./edge_npu_int8", "no such file"), ("a\0/b", "no such file"), ("/", "is a folder")),
    ],
)
def test_of_a_file_that_is_not_there_no_names_are_told(name: str, why: str) -> None:
    with pytest.raises(InputError, match=rf": {why}; name a TOML file$"):
        load_profile(name)


def test_a_file_that_is_accepted_can_be_copied() -> None:
    text = profile_paths()["vta"].read_text(encoding="utf-8")
    assert 'name = "mine"' in copied(text, "mine", "vta")
