# SPDX-License-Identifier: Apache-2.0
"""Rounds, ratios, records."""

from __future__ import annotations

import json

import pytest

from benchmarks.pairs import Side, cpu_seconds, images_of_a_turn, ratio, take_turns
from benchmarks.records import markdown, write


def test_every_other_round_goes_backwards():
    order = []

    def side(name):
        return Side(name=name, turn=lambda: order.append(name) or float(len(order)))

    notes = []
    times = take_turns([side("a"), side("b"), side("c")], 3, notes.append)
    assert "".join(order) == "abc" + "cba" + "abc"
    assert times == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert len(notes) == 3


def test_ratios_are_of_one_round_each():
    found = ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0])
    assert (found.median, found.least, found.most) == (3, 2, 4)


@pytest.mark.parametrize(
    ("each", "wanted", "step", "most", "images"),
    [
        (0.1, 4, 4, 64, 40),
        (0.1, 4, 4, 10, 8),
        (1.0, 0.1, 4, 64, 4),
        (0.001, 4, 8, 64, 64),
        (0.1, 1, 8, 4, 8),
    ],
)
def test_a_turn_is_as_long_as_wanted(each, wanted, step, most, images):
    assert images_of_a_turn(each, wanted, step, most) == images


def test_work_is_repeated_until_it_can_be_timed():
    done = []
    each = cpu_seconds(lambda: done.append(sum(range(10000))), at_least=0.01)
    assert len(done) > 1
    assert each * len(done) >= 0.01


def test_every_row_says_where_it_was_measured(tmp_path):
    rows = [
        {"engine": "ours", "ms": 1.23456, "batch": 4},
        {"engine": "theirs", "ms": None, "batch": 8, "versions": {"theirs": "1.0"}},
    ]
    text = write(tmp_path, "some", "A title.", rows, {"engine": "who", "ms": "ms"})
    assert text == (tmp_path / "some.md").read_text(encoding="utf-8")
    read = json.loads((tmp_path / "some.json").read_text(encoding="utf-8"))
    assert all(row["cpu"] and row["cores"] >= 1 for row in read)
    assert "numpy" in read[0]["versions"]
    assert read[1]["versions"] == {"theirs": "1.0"}
    assert str(tmp_path) not in text


def test_tables_align_numbers():
    row = {"cpu": "a CPU", "cores": 2, "versions": {"python": "3"}, "who": "x", "ms": 1.23456}
    lines = markdown("T", [row, {**row, "ms": None}], {"who": "who", "ms": "ms"}).splitlines()
    assert lines[2:6] == ["| who | ms |", "|---|---:|", "| x | 1.235 |", "| x | – |"]
    assert lines[-1] == "a CPU; 2 cores; python 3."
