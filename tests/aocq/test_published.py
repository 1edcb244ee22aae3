# SPDX-License-Identifier: Apache-2.0
"""timm's networks by name, from a list: what it says is what timm says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm

from aocq.zoo import models, published
from aocq.zoo.published import TimmNetworks, check_name, check_weights, networks_at_hand
from simulator.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and a package without a list."""
    monkeypatch.setenv("AOCQ_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "PACKAGED", tmp_path / "none.json")
    networks_at_hand.cache_clear()
    yield tmp_path / "cache"
    networks_at_hand.cache_clear()


@pytest.fixture(scope="module")
def known() -> TimmNetworks:
    return published.networks_of_timm()


def packaged_version() -> str:
    return str(json.loads(published.PACKAGED.read_text("utf-8"))["timm"])


@pytest.mark.skipif(packaged_version() != timm.__version__, reason="a list of another timm")
def test_the_packaged_list_is_what_timm_says(known: TimmNetworks) -> None:
    """After another timm was pinned: python -m aocq.zoo.published."""
    networks_at_hand.cache_clear()
    assert networks_at_hand() == known


def test_every_name_and_class_count_is_that_of_timm(known: TimmNetworks) -> None:
    assert [*known.modules] == timm.list_models()
    assert known.of_module("deit") == timm.list_models(module="deit")
    assert "vit_nano_digits" in known.modules
    tagged = timm.list_models(include_tags=True)
    assert len(tagged) > 1500
    for name in [*tagged, *known.modules, *known.deprecated]:
        check_name(name, known)
        assert published.published(name, known) == models.published_weights(name), name


@pytest.mark.parametrize("name", ["deit_tiny_patch16_225", "resnet", "", "vit_tiny_patch16_224.x"])
def test_both_refuse_a_name_in_the_same_words(name: str, known: TimmNetworks) -> None:
    with pytest.raises(InputError) as by_list:
        check_name(name, known)
    with pytest.raises(InputError) as by_timm:
        models.published_weights(name)
    assert str(by_list.value) == str(by_timm.value)
    assert f"timm {timm.__version__} has" in str(by_list.value)


def test_weights_that_timm_does_not_have_are_refused(known: TimmNetworks) -> None:
    for name, classes, told in (
        ("vit_tiny_patch16_224", 10, "have 1000 classes, not 10; pass --weights FILE"),
        ("vit_small_patch16_36x1_224", None, "has no pretrained weights of it"),
        ("vit_tiny_patch16_224_in21k", None, "has no pretrained weights of it"),
    ):
        found = published.published(name, known)
        with pytest.raises(InputError, match=told):
            check_weights(name, classes, found, known.version)
    check_weights("x", None, published.published("vit_tiny_patch16_224", known), known.version)


def test_a_timm_without_a_list_has_one_after_its_first_import(cache: Path) -> None:
    assert networks_at_hand() is None
    published.keep_for_later()
    networks_at_hand.cache_clear()
    assert networks_at_hand() == published.networks_of_timm()
    (file,) = (cache / "timm").iterdir()
    file.write_bytes(file.read_bytes()[:-1000])
    networks_at_hand.cache_clear()
    assert networks_at_hand() is None


def test_a_list_of_another_timm_is_not_taken(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same version too, where its files differ: one under development."""
    published.keep_for_later()
    networks_at_hand.cache_clear()
    assert networks_at_hand() is not None
    place = tmp_path / "other" / "timm"
    shutil.copytree(Path(timm.__file__).parent / "models", place / "models")
    (place / "__init__.py").touch()
    with (place / "models" / "deit.py").open("a", encoding="utf-8") as file:
        file.write("\n")
    monkeypatch.setattr(published, "find_spec", lambda name: _Spec(str(place)))
    networks_at_hand.cache_clear()
    assert networks_at_hand() is None


class _Spec:
    def __init__(self, place: str) -> None:
        self.submodule_search_locations = [place]


def test_where_nothing_can_be_kept_timm_is_asked(
    cache: Path, monkeypatch: pytest.MonkeyPatch, known: TimmNetworks
) -> None:
    cache.mkdir()
    (cache / "timm").write_text("a file where the folder would be", encoding="utf-8")
    assert published.networks() == known
    networks_at_hand.cache_clear()
    assert networks_at_hand() is None
