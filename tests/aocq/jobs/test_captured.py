# SPDX-License-Identifier: Apache-2.0
"""Captured networks that are kept: found again as they were, or captured again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from aocq.jobs import captured
from aocq.jobs.captured import CapturedNetwork, captured_network
from aocq.jobs.request import ModelRequest
from aocq.jobs.without_weights import lowered_without_weights, sized_record
from aocq.progress import silent
from aocq.recipes.recipe import Recipe
from simulator.errors import InputError
from simulator.profile import load_profile

NANO = ModelRequest(name="vit_nano_digits")
CHIP = load_profile("edge_npu_int8")


class Calls:
    """What was captured, and what was said."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.notes: list[str] = []

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        self.done.append(what)
        yield lambda steps: None

    def get(self, request: ModelRequest = NANO) -> CapturedNetwork:
        return captured_network(request, self.progress, self.notes.append)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "networks"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a network's file holds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AOCQ_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        Calls().get()
        (path,) = (Path(os.environ["AOCQ_CACHE_DIR"]) / "networks").iterdir()
        return path.read_bytes()


def record(network: CapturedNetwork, weight_bits: int = 8) -> object:
    return sized_record(lowered_without_weights(network, Recipe(weight_bits=weight_bits), CHIP))


def test_a_network_is_captured_once(folder: Path) -> None:
    calls = Calls()
    first, again = calls.get(), calls.get()
    assert calls.done == ["capture vit_nano_digits with random weights"]
    assert calls.notes == []
    assert again.model == first.model
    assert again.network.graph.nodes == first.network.graph.nodes
    for bits in (8, 4):
        assert record(again, bits) == record(first, bits)
    (path,) = folder.iterdir()
    assert path.stat().st_size < 1 << 17
    assert folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("swin_tiny_patch4_window7_224", {"img_size": 56, "depths": (1, 2), "num_heads": (2, 4)}),
        ("levit_128s", {"img_size": 64}),
        ("swinv2_tiny_window8_256", {"img_size": 64, "depths": (1, 1), "num_heads": (2, 4)}),
    ],
)
def test_a_file_holds_all_of_a_network(name: str, arguments: dict[str, object]) -> None:
    """Masks, rolls and slices; patches; L2 normalizations: every kind of attribute."""
    fresh = captured._captured(ModelRequest(name=name, arguments=arguments), silent)
    found = captured._decoded(captured._encoded(fresh))
    assert found.model == fresh.model
    network, expected = found.network, fresh.network
    assert network.graph.name == expected.graph.name
    for node, wanted in zip(network.graph.nodes, expected.graph.nodes, strict=True):
        assert node == replace(wanted, attributes=dict(wanted.attributes))
    assert network.graph.parameters.keys() == expected.graph.parameters.keys()
    for key, value in network.graph.parameters.items():
        assert value.dtype == np.float32
        assert np.array_equal(value, expected.graph.parameters[key])
    for part in ("largest", "ranges", "masked", "parts"):
        assert getattr(network, part) == getattr(expected, part)


@pytest.mark.parametrize(
    "other",
    [
        ModelRequest(name="vit_nano_digits", classes=7),
        ModelRequest(name="vit_nano_digits", arguments={"depth": 1}),
        ModelRequest(name="vit_nano_digits", preprocessing={"mean": (0.25, 0.5, 0.5)}),
    ],
    ids=["classes", "arguments", "preprocessing"],
)
def test_another_network_is_captured(folder: Path, other: ModelRequest) -> None:
    calls = Calls()
    first, second = calls.get(), calls.get(other)
    assert len(calls.done) == len(list(folder.iterdir())) == 2
    assert second.model != first.model


@pytest.mark.parametrize(
    ("what", "other"), [("code_digest", "other"), ("package_versions", {"timm": "0.0.1"})]
)
def test_another_version_captures_again(
    folder: Path, what: str, other: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls()
    calls.get()
    monkeypatch.setattr(captured, what, lambda: other)
    calls.get()
    assert len(calls.done) == len(list(folder.iterdir())) == 2


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _another_s(path: Path) -> None:
    (other,) = (each for each in path.parent.iterdir() if each != path)
    path.write_bytes(other.read_bytes())


@pytest.mark.parametrize("damage", [_cut, _empty, _another_s])
def test_a_damaged_file_is_said_and_replaced(folder: Path, damage: Callable[[Path], None]) -> None:
    calls = Calls()
    first = calls.get()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    calls.get(ModelRequest(name="vit_nano_digits", classes=7))
    damage(path)
    assert record(calls.get()) == record(first)
    assert len(calls.done) == 3
    assert calls.notes == [f"{path}: damaged; vit_nano_digits is captured again"]
    assert path.read_bytes() == whole
    calls.get()
    assert len(calls.done) == 3


def test_no_changed_byte_is_read(folder: Path, content: bytes) -> None:
    """By the reader itself: capturing again after each would take minutes."""
    folder.mkdir(mode=0o700, parents=True)
    Calls().get()
    (path,) = folder.iterdir()
    assert path.read_bytes() == content
    notes: list[str] = []
    for place in range(0, len(content), max(1, len(content) // 400)):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert captured._read(path, "it", notes.append) is None
    assert len(notes) >= 400


def test_without_the_packages_nothing_is_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where torch is not installed: then the capture says so."""

    def missing() -> dict[str, str]:
        raise PackageNotFoundError("torch")

    Calls().get()
    monkeypatch.setattr(captured, "package_versions", missing)
    calls = Calls()
    calls.get()
    assert len(calls.done) == 1
    assert len(list(folder.iterdir())) == 1


def test_what_cannot_be_replaced_costs_time_only(folder: Path) -> None:
    calls = Calls()
    first = calls.get()
    (path,) = folder.iterdir()
    _folder(path)
    assert record(calls.get()) == record(first)
    damaged, unkept = calls.notes
    assert "damaged" in damaged
    assert "cannot be kept for the next estimate" in unkept


def test_a_folder_that_others_can_write_is_not_used(folder: Path) -> None:
    calls = Calls()
    first = calls.get()
    folder.chmod(0o777)
    assert record(calls.get()) == record(first)
    assert len(calls.done) == 2
    (note,) = calls.notes
    assert "others can write it" in note


def test_without_a_folder_networks_are_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "cache_folder", lambda: None)
    calls = Calls()
    calls.get()
    calls.get()
    assert len(calls.done) == 2
    assert calls.notes == []


@pytest.mark.parametrize("bound", ["files", "bytes"])
def test_what_was_not_read_for_the_longest_time_goes(
    folder: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, names = Calls(), []
    for age, classes in ((3, 2), (2, 3), (1, 4)):
        calls.get(ModelRequest(name="vit_nano_digits", classes=classes))
        (path,) = set(folder.iterdir()) - set(names)
        names.append(path)
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    calls.get(ModelRequest(name="vit_nano_digits", classes=2))  # read: now the newest
    assert len(calls.done) == 3
    if bound == "files":
        monkeypatch.setattr(captured, "MOST_FILES", 3)
    else:
        size = max(path.stat().st_size for path in names)
        monkeypatch.setattr(captured, "MOST_BYTES", 3 * size + size // 2)
    calls.get(ModelRequest(name="vit_nano_digits", classes=5))
    assert len(list(folder.iterdir())) == 3
    assert [path.exists() for path in names] == [True, False, True]


def test_a_network_that_does_not_exist_leaves_nothing(folder: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        Calls().get(ModelRequest(name="vit_nano_digit"))
    assert not folder.exists()
