# SPDX-License-Identifier: Apache-2.0
"""Gates judge a record: what they refuse to be, what fails, and a run that is judged again."""

from __future__ import annotations

import math

import pytest

from aocq.cli import gates as options
from aocq.records.gates import RANGES, Gates, judge, judged
from aocq.records.run import (
    Accuracy,
    MemoryRecord,
    OverflowRecord,
    ProofRecord,
    RegisterRecord,
)
from simulator.errors import InputError

ACCURACY = Accuracy.model_validate(
    {
        "images": 300,
        "skipped_images": [],
        "float": {"top1": 80.0, "top5": 90.0},
        "simulated": {"top1": 79.0, "top5": 90.0},
        "integer": {"top1": 78.0, "top5": 90.0},
        "agreement": {"integer_float": 95.0, "integer_simulated": 99.0},
        "logit_sqnr_db": dict.fromkeys(("integer_float", "simulated_float", "integer_simulated")),
    }
)
MEMORY = MemoryRecord(
    sram_bytes=100,
    weight_bytes=1,
    model_size_bytes=1,
    peak_sram_bytes=100,
    peak_lower_bound_bytes=1,
    dram_bytes=1,
)
OVERFLOW = OverflowRecord(proven_free=1, counted_free=0, overflowing=0, events=0, per_op=[])


def failed(gates: Gates, **changed: object) -> list[str]:
    verdict = judge(
        gates,
        ACCURACY,
        OVERFLOW.model_copy(update={k: v for k, v in changed.items() if k != "peak_sram_bytes"}),
        MEMORY.model_copy(update={k: v for k, v in changed.items() if k == "peak_sram_bytes"}),
        2.5,
    )
    assert verdict.feasible == (not verdict.failed)
    assert verdict.gates == gates.applied()
    return verdict.failed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", RANGES)
def test_a_gate_that_every_run_or_none_would_pass_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {value}: wanted a number"):
        Gates(**{name: value})


def test_gates_have_the_ranges_of_their_options() -> None:
    for name, (least, most) in RANGES.items():
        for value in (least, most):
            Gates(**{name: value})
        for value in (math.nextafter(least, -math.inf), math.nextafter(most, math.inf)):
            with pytest.raises(InputError, match="wanted a number from"):
                Gates(**{name: value})
    assert RANGES["max_drop"] == (-options.LARGEST_DROP, options.LARGEST_DROP)
    assert RANGES["max_latency_ms"] == (0, options.LARGEST_LATENCY_MS)


def test_gates_that_are_met_exactly_pass_and_the_next_number_fails() -> None:
    assert failed(Gates(max_drop=2.0, min_agreement=95.0, max_latency_ms=2.5)) == []
    assert failed(Gates(max_drop=None)) == []
    found = failed(Gates(max_drop=1.999, min_agreement=95.001, max_latency_ms=2.499))
    assert [text.split(",")[0] for text in found] == [
        "integer top-1 is 2.00 points below float",
        "integer agrees with float on 95.00 % of images",
        "ESTIMATED latency is 2.500 ms",
    ]


def test_what_no_gate_asks_for_fails_under_all_gates() -> None:
    none = Gates(max_drop=None)
    assert "need 101 bytes of SRAM" in failed(none, peak_sram_bytes=101)[0]
    assert "1 sum would overflow" in failed(none, reported=1)[0]
    assert "7 sums would overflow" in failed(none, reported=7)[0]
    assert failed(none, reported=0, policy="report", events=7, changed=7) == []


def test_what_is_not_proven_fails_where_proof_is_asked_for() -> None:
    asked = Gates(max_drop=None, require_proven=True)
    assert asked.applied() == {"require_proven": 1.0}
    assert failed(asked) == []
    assert failed(asked, counted_free=2) == ["2 accumulators are not proven free of overflow"]
    assert failed(asked, overflowing=1) == ["1 accumulator is not proven free of overflow"]
    assert failed(Gates(max_drop=None), counted_free=2) == []
    one = RegisterRecord(
        op="blocks.0.norm1",
        kind="layernorm",
        value="sum",
        needed_bits=21,
        type="s20",
        stated_by="profile",
        slack_bits=-1,
        proven=False,
    )
    four = "4 registers are not proven free of overflow: " + "blocks.0.norm1 sum, " * 3 + "…"
    for registers, told in (
        ([one], ["1 register is not proven free of overflow: blocks.0.norm1 sum"]),
        ([one.model_copy(update={"proven": True})], []),
        ([one] * 4, [four]),
    ):
        proof = ProofRecord(values=9, proven=8, registers=registers)
        # The proof counts, not what an older record would be judged by.
        overflow = OVERFLOW.model_copy(update={"counted_free": 5})
        assert judge(asked, ACCURACY, overflow, MEMORY, 2.5, proof).failed == told


def test_older_records_count_what_a_reporting_policy_saw() -> None:
    none = Gates(max_drop=None)
    older: dict[str, object] = {"reported": None, "events": 7}
    assert failed(none, **older, changed=3, policy="apply, report")[0].startswith("7 sums")
    assert failed(none, **older, changed=0, policy="report") == []
    assert failed(none, **older, changed=3, policy="apply") == []
    assert failed(none, **older) == []


def test_a_run_is_judged_again_by_other_gates_and_back(run_of_gates) -> None:
    strict = judged(run_of_gates, Gates(max_drop=0.5))
    assert not strict.verdict.feasible
    assert strict.verdict.gates == {"max_drop": 0.5}
    assert judged(strict, Gates(max_drop=100.0)).verdict.feasible
    back = judged(strict, Gates(**run_of_gates.verdict.gates))
    assert back == judged(run_of_gates, Gates(**run_of_gates.verdict.gates))


@pytest.fixture
def run_of_gates():
    from aocq.records.run import RunResult

    verdict = judge(Gates(), ACCURACY, OVERFLOW, MEMORY, 2.5)
    return RunResult.model_construct(
        accuracy=ACCURACY, overflow=OVERFLOW, memory=MEMORY, latency_ms=2.5, verdict=verdict
    )
