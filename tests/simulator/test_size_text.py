# SPDX-License-Identifier: Apache-2.0
"""Sizes of memory, as people write them."""

from __future__ import annotations

import pytest

from simulator.sizes import LARGEST, kib, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("393216", 393_216),
        ("384KiB", 393_216),
        ("384 kib", 393_216),
        ("1.5MiB", 1_572_864),
        ("0.5kib", 512),
        ("2MB", 2_000_000),
        ("1GiB", 2**30),
        ("12B", 12),
        (str(LARGEST), LARGEST),
    ],
)
def test_a_size_is_bytes_or_a_number_with_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no size"),
        ("KiB", "no size"),
        ("-1", "no size"),
        ("1e3", "no size"),
        ("3 KiBs", "no size"),
        ("1,5MiB", "no size"),
        ("²", "no size"),
        ("1.5", "no whole number"),
        ("0.0001KiB", "no whole number"),
        (str(LARGEST + 1), "more than"),
        ("9" * 5000, "no size"),
    ],
)
def test_what_is_none_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_size(text)


def test_sizes_are_written_in_kib() -> None:
    assert kib(471_552) == "460.50 KiB"
