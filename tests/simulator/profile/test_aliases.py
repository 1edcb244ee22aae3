# SPDX-License-Identifier: Apache-2.0
"""Vendors' words mean ours, whatever their case, and do not contradict what stands beside them."""

from __future__ import annotations

import pytest
from plain_profiles import changed, mistakes

from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding, shift_right
from simulator.profile.aliases import (
    OVERFLOW_ALIASES,
    ROUNDING_ALIASES,
    WITHOUT_A_FORM,
    normalised,
)

# What the sources of each word say it does, written down a second time.
MEANINGS = {
    "SINGLE_ROUND": ("half_up", "none"),
    "DOUBLE_ROUND": ("half_up", "symmetric"),
    "TFL": ("half_up", "symmetric"),
    "TFLITE_SINGLE_ROUNDING": ("half_up", "none"),
    "CMSIS_NN_USE_SINGLE_ROUNDING": ("half_up", "none"),
    "ARM_NN_TRUNCATE": ("floor", None),
    "NATURAL": ("half_up", "none"),
    "TRUNCATE": ("toward_zero", None),
    "TRUNCATE_TO_LOWER": ("floor", None),
    "DBL": ("half_up", "symmetric"),
    "DOUBLE_SYMMETRIC": ("half_up", "symmetric"),
    "DOUBLE_ASYMMETRIC": ("half_up", "asymmetric"),
    "SYMMETRIC": ("half_away", None),
    "positive_inf": ("half_up", None),
    "negative_inf": ("half_down", None),
    "symmetric_inf": ("half_away", None),
    "conv_even": ("half_even", None),
    "AP_RND": ("half_up", None),
    "AP_RND_MIN_INF": ("half_down", None),
    "AP_RND_INF": ("half_away", None),
    "AP_RND_CONV": ("half_even", None),
    "AP_TRN": ("floor", None),
    "AP_TRN_ZERO": ("toward_zero", None),
    "rnu": ("half_up", None),
    "rne": ("half_even", None),
    "rdn": ("floor", None),
    "roundTiesToEven": ("half_even", None),
    "roundTiesToAway": ("half_away", None),
    "round": ("half_away", None),
    "SHR": ("floor", None),
}


def test_every_word_has_a_meaning_here():
    assert {word.lower() for word in MEANINGS} == set(ROUNDING_ALIASES)


@pytest.mark.parametrize("word", MEANINGS)
@pytest.mark.parametrize("spelling", [str, str.lower, str.upper])
def test_words_for_rounding(word, spelling):
    rounding, double = MEANINGS[word]
    found = changed({"rescale.rounding": spelling(word)}).rescale
    assert found.rounding is Rounding(rounding)
    assert found.double_rounding is DoubleRounding(double or "none")


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("clip", "saturate"),
        ("clamp", "saturate"),
        ("CLAMP", "saturate"),
        ("symmetric", "saturate_symmetric"),
        ("none", "wrap"),
        ("AP_SAT", "saturate"),
        ("ap_sat_sym", "saturate_symmetric"),
        ("AP_WRAP", "wrap"),
    ],
)
def test_words_for_overflow(word, meaning):
    assert changed({"rescale.overflow": word}).rescale.overflow is Overflow(meaning)


def level(overflow):
    return [{"group": "all", "bits": 32, "overflow": overflow}]


@pytest.mark.parametrize(("word", "meaning"), [("AP_WRAP", "wrap"), ("AP_SAT", "saturate")])
def test_words_for_what_a_register_does(word, meaning):
    assert changed({"accumulator.levels": level(word)}).accumulator.levels[0].overflow == meaning


def test_a_register_does_not_saturate_symmetrically():
    (found,) = mistakes({"accumulator.levels": level("AP_SAT_SYM")})
    assert found == (
        "accumulator.levels[0].overflow = 'saturate_symmetric': input should be 'wrap' or "
        "'saturate'"
    )


@pytest.mark.parametrize(
    ("key", "word", "meaning"),
    [
        ("rounding", "AP_RND_ZERO", "ties to 0"),
        ("overflow", "ap_sat_zero", "0 in place of results outside their type"),
        ("overflow", "AP_WRAP_SM", "wraps magnitudes and keeps signs"),
    ],
)
@pytest.mark.parametrize("table", ["rescale", "ops.linear.rescale"])
def test_words_for_what_no_profile_can_say_are_refused(table, key, word, meaning):
    assert mistakes({f"{table}.{key}": word}) == [
        f"{table}: {key} = {word!r} ({meaning}): the emulator has no such {key}; choose the "
        "nearest of its own"
    ]


# What UG1399 shows of each word: 1.25 and -1.25 in halves, ties of what is dropped.
EXAMPLES = {
    "AP_RND": (3, -2),
    "AP_RND_MIN_INF": (2, -3),
    "AP_RND_INF": (3, -3),
    "AP_RND_CONV": (2, -2),
    "AP_TRN": (2, -3),
    "AP_TRN_ZERO": (2, -2),
}


@pytest.mark.parametrize("word", EXAMPLES)
def test_words_of_ap_fixed_round_as_its_guide_shows(word):
    mode = changed({"rescale.rounding": word}).rescale.rounding
    assert tuple(shift_right(value, 1, mode) for value in (5, -5)) == EXAMPLES[word]


def test_no_word_is_one_of_ours():
    assert not set(ROUNDING_ALIASES) & {mode.value for mode in Rounding}
    assert not set(OVERFLOW_ALIASES) & {mode.value for mode in Overflow}
    words = {*ROUNDING_ALIASES, *OVERFLOW_ALIASES}
    assert not set(WITHOUT_A_FORM) & words


def test_a_word_and_its_meaning_are_the_same_profile():
    ours = {"rescale.rounding": "half_up", "rescale.double_rounding": "symmetric"}
    assert changed({"rescale.rounding": "TFL"}).sha256() == changed(ours).sha256()
    own = {"ops.matmul.rescale": {"rounding": "TFL"}}
    both = {"ops.matmul.rescale": {"rounding": "half_up", "double_rounding": "symmetric"}}
    assert changed(own).sha256() == changed(both).sha256()


def test_a_word_beside_what_it_means_is_fine():
    found = changed({"rescale.rounding": "TFL", "rescale.double_rounding": "symmetric"})
    assert found.rescale.double_rounding is DoubleRounding.SYMMETRIC


@pytest.mark.parametrize(
    ("word", "double", "means"),
    [("TFL", "none", "symmetric"), ("natural", "symmetric", "none")],
)
@pytest.mark.parametrize("table", ["rescale", "ops.linear.rescale"])
def test_contradictions_are_refused(table, word, double, means):
    found = mistakes({f"{table}.rounding": word, f"{table}.double_rounding": double})
    assert found == [
        f"{table}: rounding = {word!r} means double_rounding = {means!r}, not {double!r}"
    ]


def test_other_values_stay_as_they_are():
    assert normalised({"rounding": 3, "overflow": None}) == {"rounding": 3, "overflow": None}
    assert normalised(["rounding"]) == ["rounding"]
    assert normalised({"rounding": "half_uppp"}) == {"rounding": "half_uppp"}
