# SPDX-License-Identifier: Apache-2.0
"""Designs sorted by dominance: what is compared with what, and what is said of the rest."""

from __future__ import annotations

import math

import pytest
from built_front import design
from built_run import build, build_with_costs

from aocq.records.accuracy import Score
from aocq.records.axes import AXES, figures_of_run
from reports.front import Front, figure, front_of, notes_on
from reports.rows import JudgedBy, run_row

AXES_OF_TIME = ("drop", "latency_ms")


def names(front: Front, places: tuple[int, ...]) -> list[str]:
    return [front.designs[place].name for place in places]


def test_a_row_of_a_run_has_the_figures_of_its_record() -> None:
    for result, _ in (build(2), build_with_costs(2)):
        row = run_row(result, {}, "a")
        assert {name: figure(row, name) for name in AXES} == figures_of_run(result)


def test_ranks_fronts_and_what_beats_a_design() -> None:
    found = front_of(
        [
            design("slow", 1.0, 9.0),
            design("fast", 3.0, 1.0),
            design("slower", 1.0, 9.5),
            design("between", 2.0, 5.0),
            design("worst", 4.0, 10.0),
        ],
        AXES_OF_TIME,
    )
    assert found.ranks == (1, 1, 2, 1, 3)
    (only,) = found.sets
    assert names(found, only.front) == ["slow", "between", "fast"], "by the axes in order"
    assert names(found, found.order) == ["slow", "between", "fast", "slower", "worst"]
    assert found.beaten_by == (None, None, 0, None, 0)
    assert notes_on(found) == []


def test_the_hypervolume_is_measured_from_the_worst_or_from_what_is_asked_for() -> None:
    designs = [design("a", 1.0, 9.0), design("b", 3.0, 1.0), design("c", 4.0, 10.0)]
    (worst,) = front_of(designs, AXES_OF_TIME).sets
    assert worst.reference == {"drop": 4.0, "latency_ms": 10.0}
    assert worst.best == {"drop": 1.0, "latency_ms": 1.0}
    assert worst.volume == 3 * 1 + 1 * 8
    assert worst.share == 11 / 27
    (asked,) = front_of(designs, AXES_OF_TIME, {"drop": 5.0}).sets
    assert asked.reference == {"drop": 5.0, "latency_ms": 10.0}
    assert asked.volume == 4 * 1 + 2 * 8
    (beyond,) = front_of(designs, AXES_OF_TIME, {"drop": 0.5}).sets
    assert (beyond.share, beyond.why) == (None, "none is better than the reference on every axis")


def test_more_is_better_of_some_axes() -> None:
    found = front_of(
        [
            design("a", 1.0, 9.0, logit_sqnr_db=30.0),
            design("b", 1.0, 9.0, logit_sqnr_db=20.0),
            design("c", 1.0, 5.0, logit_sqnr_db=10.0),
        ],
        ("latency_ms", "sqnr_db"),
    )
    assert found.ranks == (1, 2, 1)
    assert found.sets[0].best == {"latency_ms": 5.0, "sqnr_db": 30.0}
    assert found.sets[0].reference == {"latency_ms": 9.0, "sqnr_db": 10.0}


def test_an_axis_on_which_all_are_equal_is_left_out_of_the_hypervolume() -> None:
    designs = [design("a", 1.0, 9.0), design("b", 3.0, 1.0), design("c", 3.0, 9.0)]
    (found,) = front_of(designs, (*AXES_OF_TIME, "weight_bytes")).sets
    assert found.over == AXES_OF_TIME
    assert found.volume == 0.0, "both are as bad as the reference on an axis"
    (alone,) = front_of(designs[:1], AXES_OF_TIME).sets
    assert (alone.volume, alone.why) == (None, "one design alone")
    (equal,) = front_of([designs[0], design("again", 1.0, 9.0)], AXES_OF_TIME).sets
    assert equal.why == "all are equal on all axes"


def test_equal_designs_share_a_rank_and_it_is_said() -> None:
    found = front_of([design("a", 1.0, 9.0), design("b", 1.0, 9.0)], AXES_OF_TIME)
    assert found.ranks == (1, 1)
    (said,) = notes_on(found)
    assert said.startswith("1 design with the figures of another on all axes")


def test_what_lacks_a_figure_has_no_rank_and_it_is_said() -> None:
    found = front_of([design("a", 1.0, 9.0), design("costs alone", None, 1.0)], AXES_OF_TIME)
    assert found.ranks == (1, None)
    assert found.set_of == (0, None)
    assert found.order == (0, 1)
    assert notes_on(found) == ["1 of 2 designs without a rank: no figure of drop."]
    of_costs = front_of(found.designs, ("latency_ms", "weight_bytes"))
    assert of_costs.ranks == (2, 1)


@pytest.mark.parametrize(
    ("other", "axes", "title"),
    [
        ({"data_digest": "ab" * 32}, AXES_OF_TIME, "val, 10 classes (sha256 abababab)"),
        ({"judged_by": JudgedBy(score=Score(key="ap", title="AP"))}, AXES_OF_TIME, ", AP"),
        ({"energy_nm": 7.0}, ("latency_ms", "energy_mj"), "7 nm"),
    ],
)
def test_what_cannot_be_compared_has_a_front_of_its_own(
    other: dict[str, object], axes: tuple[str, ...], title: str
) -> None:
    energy = {"energy_mj": 1.0, "energy_nm": 45.0}
    found = front_of(
        [
            design("a", 1.0, 9.0, **energy),
            design("b", 2.0, 9.5, **energy),
            design("c", 9.0, 99.0, **{**energy, **other}),
        ],
        axes,
    )
    assert found.ranks == (1, 2, 1)
    assert [len(each.members) for each in found.sets] == [2, 1], "the largest first"
    assert title in found.sets[1].title
    (said,) = (note for note in notes_on(found) if "cannot be compared" in note)
    assert title in said
    free = front_of(found.designs, ("latency_ms", "weight_bytes"))
    assert len(free.sets) == 1, "costs do not depend on images or processes"
    assert free.sets[0].title == ""


def test_logits_without_noise_are_best_and_have_no_hypervolume() -> None:
    found = front_of(
        [design("exact", 0.0, 9.0, logit_sqnr_db=None), design("b", 1.0, 1.0)],
        ("sqnr_db", "latency_ms"),
    )
    assert found.ranks == (1, 1)
    assert found.sets[0].best["sqnr_db"] == math.inf
    assert found.sets[0].volume is None
    assert "no finite SQNR" in found.sets[0].why


def test_what_does_not_fit_its_chip_has_no_rank_unless_it_is_asked_for() -> None:
    designs = [
        design("fits", 3.0, 9.0),
        design("too large", 1.0, 1.0, misfit="activations need more"),
        design("NO by a gate", 2.0, 10.0, feasible=False),
    ]
    found = front_of(designs, AXES_OF_TIME)
    assert found.ranks == (1, None, 1), "a gate does not matter"
    assert found.sets[0].reference == {"drop": 3.0, "latency_ms": 10.0}
    assert found.order == (2, 0, 1)
    (said,) = notes_on(found)
    assert said.startswith("1 of 3 designs does not fit the chip")
    assert said.endswith("without a rank; --infeasible ranks them too.")
    kept = front_of(designs, AXES_OF_TIME, infeasible=True)
    assert kept.ranks == (2, 1, 2)
    assert notes_on(kept)[0].endswith("ranked all the same, marked.")
