# SPDX-License-Identifier: Apache-2.0
"""A bit for each image: what is written is read back, and what is of other images is refused."""

from __future__ import annotations

from itertools import product

import pytest
from pydantic import ValidationError

from aocq.records.image_outcomes import ImageOutcomes, image_outcomes, outcomes_of


def test_every_pattern_is_read_back_as_it_was() -> None:
    for images in range(1, 11):
        for right in product((False, True), repeat=images):
            record = image_outcomes(right, right[::-1])
            assert tuple(outcomes_of(record.right, images)) == right
            assert tuple(outcomes_of(record.alike, images)) == right[::-1]


def test_the_first_image_is_the_highest_bit() -> None:
    assert image_outcomes([True] + 8 * [False], 9 * [True]) == ImageOutcomes(
        images=9, right="8000", alike="ff80"
    )


@pytest.mark.parametrize("bitmap", ["", "ff", "ffff", "ff80ff", "ff81"])
def test_a_bitmap_of_another_number_of_images_is_refused(bitmap: str) -> None:
    with pytest.raises(ValueError, match="not of 9 images"):
        outcomes_of(bitmap if bitmap != "ffff" else "ffc0", 9)


def test_what_are_no_bytes_is_refused() -> None:
    with pytest.raises(ValidationError):
        ImageOutcomes(images=4, right="f", alike="f0")
