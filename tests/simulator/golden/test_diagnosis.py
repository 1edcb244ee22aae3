# SPDX-License-Identifier: Apache-2.0
"""Faults are named, and only what makes all values of a dump is."""

from __future__ import annotations

import numpy as np
import pytest
from confusion import PAGE, Recorded, measured, named_kinds, table, with_table
from dump_faults import FAULTS, UNITS

from simulator.golden.check.verdict_text import array_told
from simulator.numerics.rounding import Rounding

LEAST_NAMED = 18


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return Recorded(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def found(recorded):
    return measured(recorded)


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_named_in_every_op_that_has_it(found, kind):
    for name in FAULTS[kind][1]:
        cell = found[kind, name]
        assert cell.unequal, (name, "the fault changes nothing: it is no trial")
        assert cell.named, (name, sorted(cell.kinds))


def test_enough_kinds_are_named_and_the_page_says_which(found):
    assert len(FAULTS) == 20
    assert all(len(units) == 3 for _, units in FAULTS.values())
    assert len(named_kinds(found)) >= LEAST_NAMED
    page = PAGE.read_text("utf-8")
    assert page == with_table(page, table(found)), "python tests/simulator/golden/confusion.py"


WORDS = {
    Rounding.FLOOR: "rounds toward minus infinity (an arithmetic shift alone)",
    Rounding.TOWARD_ZERO: "rounds toward zero (truncates)",
    Rounding.HALF_DOWN: "rounds ties toward minus infinity",
    Rounding.HALF_AWAY: "rounds ties away from zero",
    Rounding.HALF_EVEN: "rounds ties to the even code",
}


@pytest.mark.parametrize("name", ["MatMul", "LayerNorm", "Add"])
@pytest.mark.parametrize("mode", WORDS, ids=str)
def test_it_is_the_mode_that_was_built_and_no_other(recorded, name, mode):
    verdict = recorded.judged(name, recorded.unit(name).changed(rounding=mode))
    modes = [f.sentence for f in verdict.findings if f.kind == "rounding mode"]
    assert modes == [WORDS[mode]]


@pytest.mark.parametrize("name", ["MatMul", "LayerNorm", "Softmax", "Add", "Lookup"])
def test_a_right_dump_is_equal_and_gets_no_pattern(recorded, name):
    verdict = recorded.judged(name, recorded.unit(name).golden)
    assert verdict.status == "equal"
    assert not verdict.findings


@pytest.mark.parametrize("name", UNITS)
def test_noise_has_no_known_pattern(recorded, name):
    golden = recorded.unit(name).golden
    noise = np.random.default_rng(5).integers(1, 7, golden.shape)
    noise[np.random.default_rng(6).random(golden.shape) < 0.5] = 0
    verdict = recorded.judged(name, golden ^ noise.astype(golden.dtype))
    assert verdict.findings == ()
    assert [*array_told(verdict)][-1] == "  pattern no known pattern"


def test_a_fault_in_one_channel_is_named_with_it(recorded):
    of = recorded.unit("MatMul")
    codes = of.golden.copy()
    codes[..., 5] = of.changed(bias=None)[..., 5]
    verdict = recorded.judged("MatMul", codes)
    assert ("bias", "has no bias, in channel 5 alone") in [
        (finding.kind, finding.sentence) for finding in verdict.findings
    ]


def test_two_faults_at_once_are_not_taken_for_one(recorded):
    of = recorded.unit("Add")
    codes = of.zero_point("b", 0)
    codes[1, 2, 3] ^= 64
    assert recorded.judged("Add", codes).findings == ()
