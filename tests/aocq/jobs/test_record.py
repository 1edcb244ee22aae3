# SPDX-License-Identifier: Apache-2.0
"""The record of a run beside its figures: the images that it evaluated."""

from __future__ import annotations

from pathlib import Path

from aocq.data.image_folder import LabelledImage
from aocq.jobs.record import data_record


def _listing(folder: Path, content: bytes) -> list[LabelledImage]:
    images = []
    for label, name in enumerate(("cat", "dög")):
        path = folder / name / "1.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(content * (label + 1))
        images.append(LabelledImage(path=path, label=label))
    return images


def test_the_same_images_in_another_place_are_the_same_data(tmp_path: Path) -> None:
    here, there = tmp_path / "a" / "val", tmp_path / "b" / "val"
    found = data_record(here, _listing(here, b"x"), 10)
    assert (found.name, found.classes, found.images) == ("val", 10, 2)
    assert data_record(there, _listing(there, b"y"), 10) == found  # sizes, not contents


def test_other_sizes_labels_or_files_are_other_data(tmp_path: Path) -> None:
    images = _listing(tmp_path, b"x")
    digests = {data_record(tmp_path, images, 10).digest}
    digests.add(data_record(tmp_path, images[:1], 10).digest)
    digests.add(data_record(tmp_path, images[::-1], 10).digest)
    relabelled = [LabelledImage(path=image.path, label=5) for image in images]
    digests.add(data_record(tmp_path, relabelled, 10).digest)
    images[0].path.write_bytes(b"more")
    digests.add(data_record(tmp_path, images, 10).digest)
    images[0].path.unlink()  # decoding will report it
    digests.add(data_record(tmp_path, images, 10).digest)
    assert len(digests) == 6
