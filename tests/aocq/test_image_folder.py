# SPDX-License-Identifier: Apache-2.0
"""Class folders get the numbers that their names mean, never those of their positions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from aocq.data.image_folder import (
    SUFFIXES,
    class_numbers,
    imagenet_class_numbers,
    read_image_folder,
)
from simulator.errors import InputError


def folder_of(root: Path, names: Iterable[str], files: Iterable[str] = ("a.png",)) -> Path:
    """Class folders with empty files in them: listing does not open any."""
    for name in names:
        (root / name).mkdir(parents=True)
        for file in files:
            (root / name / file).touch()
    return root


def numbers(root: Path, classes: int) -> dict[str, int]:
    return {item.path.parent.name: item.label for item in read_image_folder(root, classes)}


def refusal(root: Path, classes: int) -> str:
    with pytest.raises(InputError) as caught:
        read_image_folder(root, classes)
    return str(caught.value)


def test_wordnet_ids_keep_their_numbers_when_classes_are_missing(tmp_path: Path) -> None:
    root = folder_of(tmp_path, ["n15075141", "n01443537", "n02119789"])
    assert numbers(root, 1000) == {"n01443537": 1, "n02119789": 278, "n15075141": 999}


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("tench", 0),
        ("goldfish", 1),
        ("Goldfish", 1),
        ("great_white_shark", 2),
        ("great white shark", 2),
        ("Great-White-Shark", 2),
        ("Carassius auratus", 1),
        ("toilet_tissue", 999),
        ("tree frog", 31),
        ("bow_tie", 457),
        ("shoe shop", 788),
        ("hen-of-the-woods", 996),
    ],
)
def test_class_names_are_known_however_they_are_spelled(
    name: str, number: int, tmp_path: Path
) -> None:
    assert numbers(folder_of(tmp_path, [name, "n01440764"]), 1000)[name] == number


@pytest.mark.parametrize("name", ["crane", "maillot", "cardigan"])
def test_names_of_two_classes_mean_neither(name: str, tmp_path: Path) -> None:
    assert name not in imagenet_class_numbers()
    assert f"unknown: {name}" in refusal(folder_of(tmp_path, [name]), 1000)


def test_the_numbers_of_imagenet_are_those_of_its_sorted_ids() -> None:
    known = imagenet_class_numbers()
    ids = sorted(name for name in known if name[0] == "n" and name[1:].isdecimal())
    assert len(ids) == 1000
    assert [known[name] for name in ids] == list(range(1000))


def test_class_numbers_are_taken_as_they_are(tmp_path: Path) -> None:
    assert numbers(folder_of(tmp_path, ["7", "10", "003"]), 1000) == {"7": 7, "10": 10, "003": 3}


def test_as_many_folders_as_classes_are_numbered_alphabetically(tmp_path: Path) -> None:
    root = folder_of(tmp_path, ["dog", "airplane", "cat"])
    assert numbers(root, 3) == {"airplane": 0, "cat": 1, "dog": 2}


def test_folders_that_are_too_few_and_mean_nothing_are_refused(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, ["dog", "airplane"]), 3)
    assert f"{tmp_path}: 2 class folders for a network of 3 classes" in message
    assert "(airplane, dog) are not class numbers" in message
    assert "--num-classes" in message


def test_a_number_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    assert "(0, 10) are not class numbers" in refusal(folder_of(tmp_path, ["0", "10"]), 10)


def test_a_misspelled_class_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, ["tench", "goldfisch", "n01440764", "hen"]), 1000)
    assert "unknown: goldfisch, did you mean goldfish?" in message
    assert "4 class folders" in message
    assert "(goldfisch, hen, n01440764 …) are not WordNet ids or class names" in message


def test_a_class_that_resembles_none_is_named_alone(tmp_path: Path) -> None:
    assert "(unknown: zzzzqqq)" in refusal(folder_of(tmp_path, ["zzzzqqq"]), 1000)


def test_names_of_imagenet_mean_nothing_to_other_networks(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        class_numbers(["tench", "goldfish"], 10, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'no'}: no such folder" in refusal(tmp_path / "no", 10)
    file = tmp_path / "file"
    file.touch()
    assert f"{file}: no such folder" in refusal(file, 10)


def test_a_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / ".hidden").mkdir()
    assert "has no subfolders; wanted one per class" in refusal(tmp_path, 10)


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, ["0", "1"], ["notes.txt"]), 10)
    assert "2 class folders but no image in them (.bmp, .gif, .jpeg" in message


def test_images_are_listed_in_order_with_their_labels(tmp_path: Path) -> None:
    folder_of(tmp_path, ["1", "0"], ["b.JPG", "a.png", "c.txt"])
    (tmp_path / "0" / "deeper").mkdir()
    (tmp_path / "0" / "deeper" / "d.webp").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "e.png").touch()
    found = [
        (str(item.path.relative_to(tmp_path)), item.label)
        for item in read_image_folder(tmp_path, 10)
    ]
    assert found == [("0/a.png", 0), ("0/b.JPG", 0), ("0/deeper/d.webp", 0)] + [
        ("1/a.png", 1),
        ("1/b.JPG", 1),
    ]


def test_every_documented_suffix_is_an_image(tmp_path: Path) -> None:
    folder_of(tmp_path, ["0"], [f"a{suffix}" for suffix in SUFFIXES])
    assert len(read_image_folder(tmp_path, 10)) == len(SUFFIXES)


def test_a_class_folder_may_be_a_link(tmp_path: Path) -> None:
    folder_of(tmp_path / "elsewhere", ["images"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "3").symlink_to(tmp_path / "elsewhere" / "images")
    assert [item.label for item in read_image_folder(tmp_path / "data", 10)] == [3]


def test_numbers_counted_from_one_are_not_taken_for_an_order(tmp_path: Path) -> None:
    """In alphabetical order 10 would come before 2."""
    root = folder_of(tmp_path, [str(number) for number in range(1, 11)])
    assert "10 class folders for a network of 10 classes" in refusal(root, 10)


def test_a_thousand_unknown_names_are_not_taken_for_an_order(tmp_path: Path) -> None:
    root = folder_of(tmp_path, [f"thing_{number:03}" for number in range(1000)])
    assert "are not WordNet ids or class names of ImageNet" in refusal(root, 1000)
