# SPDX-License-Identifier: Apache-2.0
"""Class folders get the numbers that their names mean, never those of their positions."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
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


def notes(root: Path, classes: int) -> tuple[list[str], list[str]]:
    """What is listed, relative to ``root``, and what is told."""
    told: list[str] = []
    found = read_image_folder(root, classes, told.append)
    return [str(item.path.relative_to(root)) for item in found], told


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
    message = refusal(folder_of(tmp_path, ["0", "10"]), 10)
    assert "one of their names (10) is not a class number from 0 to 9; rename it; a" in message


def test_a_misspelled_class_is_named_with_the_nearest(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, ["tench", "goldfisch", "n01440764", "hen"]), 1000)
    assert "unknown: goldfisch, did you mean goldfish?" in message
    assert "4 class folders" in message
    assert "one of their names (goldfisch) is not a WordNet id or class name of" in message
    assert "hen" not in message


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


def test_one_misnamed_folder_among_a_thousand_is_named_alone(tmp_path: Path) -> None:
    names = sorted(name for name in imagenet_class_numbers() if name[0] == "n" and len(name) == 9)
    ids = [name for name in names if name[1:].isdecimal()]
    root = folder_of(tmp_path, [*ids[:999], "n1507514l"])
    message = refusal(root, 1000)
    assert "one of their names (n1507514l) is not a WordNet id or class name" in message
    assert "did you mean n1507514" in message
    assert not any(name in message.split("(unknown")[0] for name in ids)


def test_a_word_among_numbers_is_named_alone(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, [*map(str, range(8)), "nine"]), 10)
    assert (
        "9 class folders for a network of 10 classes, and one of their names (nine) is" in message
    )


def test_several_misnamed_folders_are_counted(tmp_path: Path) -> None:
    message = refusal(folder_of(tmp_path, ["0", "a", "b", "c", "d"]), 10)
    assert "4 of their names (a, b, c …) are not class numbers; rename them" in message


HIDDEN = (
    *(".ipynb_checkpoints/a-checkpoint.png", ".DS_Store", "._a.png", ".a.png.swp.png"),
    *("@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/a.png", "Thumbs.db"),
)


@pytest.mark.parametrize("below", ["", "0/", "0/deeper/"])
def test_what_systems_leave_behind_is_neither_image_nor_class(below: str, tmp_path: Path) -> None:
    folder_of(tmp_path, ["0", "1", "0/deeper"])
    for name in HIDDEN:
        (tmp_path / below / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / below / name).touch()
    assert notes(tmp_path, 10) == (["0/a.png", "0/deeper/a.png", "1/a.png"], [])


def test_a_folder_of_an_archive_does_not_shift_the_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, ["__MACOSX", "cat", "dog"])
    assert numbers(tmp_path, 2) == {"cat": 0, "dog": 1}
    assert "2 class folders for a network of 3 classes" in refusal(tmp_path, 3)


def test_folders_without_images_are_no_classes(tmp_path: Path) -> None:
    folder_of(tmp_path, ["cat", "dog"])
    folder_of(tmp_path, ["backup", "texts"], ["notes.txt"])
    listed, told = notes(tmp_path, 2)
    assert listed == ["cat/a.png", "dog/a.png"]
    assert numbers(tmp_path, 2) == {"cat": 0, "dog": 1}
    assert told[:1] == [f"{tmp_path}: left out: folders without images (backup, texts)"]
    message = refusal(tmp_path, 4)
    assert "2 class folders (2 more without images: backup, texts) for a network of 4" in message


def test_folders_without_images_may_have_any_name_beside_numbers(tmp_path: Path) -> None:
    folder_of(tmp_path, ["3", "7"])
    (tmp_path / "old").mkdir()
    assert numbers(tmp_path, 10) == {"3": 3, "7": 7}


def test_images_beside_class_folders_are_told(tmp_path: Path) -> None:
    folder_of(tmp_path, ["0"])
    for number in range(5):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "readme.txt").touch()
    listed, told = notes(tmp_path, 10)
    assert listed == ["0/a.png"]
    beside = "5 beside the class folders (0.jpg, 1.jpg, 2.jpg …)"
    assert told == [f"{tmp_path}: left out: {beside}"]


def test_images_without_class_folders_are_told(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.jpg").touch()
    message = refusal(tmp_path, 10)
    assert "has no subfolders; wanted one per class" in message
    assert "put its 5 images into folders of their classes" in message


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(path.parent)  # names of sockets are short
        listening.bind(path.name)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a named pipe"),
        (bind, "a socket"),
        (lambda path: path.symlink_to("/dev/null"), "a device"),
    ],
)
def test_what_is_no_file_is_left_out_and_told(
    make: Callable[[Path], None], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path, ["0"])
    make(tmp_path / "0" / "b.png")
    assert notes(tmp_path, 10) == (["0/a.png"], [f"{tmp_path}: left out: 0/b.png ({what})"])


def test_links_that_lead_nowhere_are_left_to_decoding(tmp_path: Path) -> None:
    """Which tells their names, or counts them with --skip-bad-images."""
    folder_of(tmp_path, ["0"])
    (tmp_path / "0" / "b.png").symlink_to("nowhere")
    (tmp_path / "0" / "c.png").symlink_to("c.png")
    assert notes(tmp_path, 10) == (["0/a.png", "0/b.png", "0/c.png"], [])


def test_a_folder_with_the_name_of_an_image_is_a_folder(tmp_path: Path) -> None:
    folder_of(tmp_path, ["0/x.png", "0/y.jpg"], ["b.png"])
    assert notes(tmp_path, 10) == (["0/x.png/b.png", "0/y.jpg/b.png"], [])


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    folder_of(tmp_path / "elsewhere", ["more"], ["m.png"])
    data = folder_of(tmp_path / "data", ["0", "0/sub"])
    (data / "0" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (data / "0" / "again").symlink_to(data / "0" / "sub")
    (data / "0" / "sub" / "circle").symlink_to(data / "0")
    listed, told = notes(data, 10)
    assert listed == ["0/a.png", "0/linked/m.png", "0/sub/a.png"]
    assert told == [
        f"{data}: left out: 0/again (leads to a folder that was read), "
        "0/sub/circle (leads to a folder that was read)"
    ]


def test_names_that_are_not_utf_8_are_listed(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    folder_of(tmp_path, [odd, "dog"], [f"{odd}.png"])
    assert numbers(tmp_path, 2) == {odd: 0, "dog": 1}


def test_names_that_differ_in_case_are_different_folders(tmp_path: Path) -> None:
    assert numbers(folder_of(tmp_path, ["a", "A", "b"]), 3) == {"A": 0, "a": 1, "b": 2}


def test_deep_folders_are_read_as_far_as_the_system_does(tmp_path: Path) -> None:
    deep = str(tmp_path)
    for _ in range(1010):
        deep += "/0"
        Path(deep).mkdir()
    Path(deep, "a.png").touch()
    try:
        assert len(read_image_folder(tmp_path, 10)) == 1
    finally:
        Path(deep, "a.png").unlink()
        os.removedirs(deep)  # shutil.rmtree would not get so deep


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path longer than the system takes: permissions mean nothing to root."""
    folder_of(tmp_path, ["0"])
    with monkeypatch.context() as inside:
        inside.chdir(tmp_path / "0")
        for _ in range(25):
            Path("x" * 200).mkdir()
            os.chdir("x" * 200)
    message = refusal(tmp_path, 10)
    assert message.startswith(f"{tmp_path / '0'}/xxx")
    assert (
        f"cannot be read (File name too long); make it readable, or move it out of {tmp_path}"
        in (message)
    )


@pytest.mark.parametrize("odd", ["seven", "_7", "class7", "⁷", "0_7", " 7", "+7"])
def test_one_odd_name_among_class_numbers_does_not_put_all_into_alphabetical_order(
    odd: str, tmp_path: Path
) -> None:
    root = folder_of(tmp_path, [*(str(number) for number in range(10) if number != 7), odd])
    assert f"one of their names ({odd}) is not a class number" in refusal(root, 10)


def test_alphabetical_order_is_said(tmp_path: Path) -> None:
    _, told = notes(folder_of(tmp_path, ["cat", "ant", "bee"]), 3)
    assert len(told) == 1
    assert "numbered by their alphabetical order: 0 is ant, 2 is cat" in told[0]


def test_a_folder_one_level_too_high_is_told(tmp_path: Path) -> None:
    for split in ("train", "val"):
        folder_of(tmp_path / split, ["0", "1", "2"])
    assert f"; {tmp_path / 'train'} has folders, too: is it the one?" in refusal(tmp_path, 3)


def test_a_link_back_to_the_whole_folder_does_not_count_other_classes(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data", ["0", "1"])
    (root / "1" / "all").symlink_to(root)
    listed, told = notes(root, 2)
    assert listed == ["0/a.png", "1/a.png"]
    assert "1/all (leads to a folder that was read)" in told[0]
