# SPDX-License-Identifier: Apache-2.0
"""How long what is left takes, by what has ended."""

from __future__ import annotations

from aocq.sweeps.remaining import Remaining, in_words


def test_without_any_run_the_model_decides() -> None:
    assert Remaining().seconds([("a", 10.0), ("b", 30.0)], 2) == 20.0


def test_runs_of_a_kind_decide_for_it_and_all_for_others() -> None:
    found = Remaining()
    found.learn("a", 4.0)
    found.learn("a", 6.0)
    found.learn("b", 20.0)
    assert found.seconds([("a", 100.0), ("b", 100.0)], 1) == 25.0
    assert found.seconds([("c", 100.0)], 1) == 10.0


def test_durations_are_said_as_people_say_them() -> None:
    said = [in_words(seconds) for seconds in (0.4, 89.4, 90, 5399, 12000)]
    assert said == ["0 s", "89 s", "2 min", "1 h 30 min", "3 h 20 min"]
