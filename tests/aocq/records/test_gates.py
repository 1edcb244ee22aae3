# SPDX-License-Identifier: Apache-2.0
"""Gates judge a record: what they refuse to be, what fails, and a run that is judged again."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from aocq.cli import gates as options
from aocq.records.accuracy import Accuracy
from aocq.records.costs import CyclesRecord, EnergyRecord, MemoryRecord
from aocq.records.gates import DEFAULT_MAX_DROP, RANGES, Figures, Gates, judge, judged
from aocq.records.run import OverflowRecord, ProofRecord, RegisterRecord, RunResult
from aocq.records.verdict import GateResult, Verdict, answer, undecided
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


CYCLES = CyclesRecord(total=1, compute=1, vector=0, dma=0, stall=0, by_kind={}, bound_by={})
FIGURES = Figures(
    memory=MEMORY,
    cycles=CYCLES,
    latency_ms=2.5,
    fps=400.0,
    accuracy=ACCURACY,
    overflow=OVERFLOW,
)


def verdict_of(gates: Gates, figures: Figures = FIGURES) -> Verdict:
    """Judge, and hold what the verdict says of itself against its gates."""
    verdict = judge(gates, figures)
    outcomes = {result.outcome for result in verdict.results}
    assert verdict.feasible == (outcomes == {"pass"})
    assert verdict.failed == [found.reason for found in verdict.results if found.outcome == "fail"]
    assert verdict.gates == gates.applied()
    assert {*verdict.gates} <= {found.name for found in verdict.results}
    return verdict


def failed(gates: Gates, **changed: object) -> list[str]:
    return verdict_of(gates, replace(FIGURES, overflow=OVERFLOW.model_copy(update=changed))).failed


def one(gates: Gates, name: str, figures: Figures = FIGURES) -> GateResult:
    """The result of one gate."""
    (found,) = (each for each in verdict_of(gates, figures).results if each.name == name)
    return found


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", RANGES)
def test_a_gate_that_every_run_or_none_would_pass_is_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} {value}: wanted a number"):
        Gates(**{name: value})


def test_gates_have_the_ranges_of_their_options() -> None:
    for name, (least, most) in RANGES.items():
        for value in (least, most):
            Gates(**{name: value})
        beyond = (least - 1, most + 1)
        if isinstance(most, float):
            beyond = (math.nextafter(least, -math.inf), math.nextafter(most, math.inf))
        for value in beyond:
            with pytest.raises(InputError, match="wanted a number from"):
                Gates(**{name: value})
    assert RANGES["max_drop"] == (-options.LARGEST_DROP, options.LARGEST_DROP)
    for name in ("max_latency_ms", "min_fps", "max_energy_mj"):
        assert RANGES[name] == (0, options.LARGEST_FIGURE)
    for name in ("max_sram_bytes", "max_dram_bytes"):
        assert RANGES[name] == (0, options.LARGEST)


def test_gates_that_are_met_exactly_pass_and_the_next_number_fails() -> None:
    figures = replace(FIGURES, energy_mj=0.25)
    met = Gates(
        max_drop=2.0,
        min_agreement=95.0,
        max_latency_ms=2.5,
        min_fps=400.0,
        max_sram_bytes=100,
        max_dram_bytes=1,
        max_energy_mj=0.25,
        no_overflow=True,
        decide="point",
    )
    assert verdict_of(met, figures).feasible
    assert verdict_of(Gates()).feasible
    missed = Gates(
        max_drop=1.999,
        min_agreement=95.001,
        max_latency_ms=2.4999,
        min_fps=400.001,
        max_sram_bytes=99,
        max_dram_bytes=0,
        max_energy_mj=0.2499,
        no_overflow=True,
        decide="point",
    )
    overflown = replace(figures, overflow=OVERFLOW.model_copy(update={"events": 1}))
    assert verdict_of(missed, overflown).failed == [
        "integer top-1 is 2.00 points below float (95 %: -8.85 to 12.80), allowed 1.999",
        "integer agrees with float on 95.00 % of images (95 %: 91.89 to 97.17), wanted 95.001 %",
        "ESTIMATED latency is 2.500 ms, allowed 2.4999 ms",
        "ESTIMATED throughput is 400.00 images/s, wanted 400.001 images/s",
        "ESTIMATED peak of SRAM is 100 bytes, allowed 99 bytes",
        "ESTIMATED DRAM traffic of one image is 1 byte, allowed 0 bytes",
        "ESTIMATED energy of one image is 0.25 mJ, allowed 0.2499 mJ",
        "1 sum overflowed in the run, allowed 0",
    ]


def test_what_no_gate_asks_for_fails_under_all_gates() -> None:
    none = Gates()
    larger = replace(FIGURES, memory=MEMORY.model_copy(update={"peak_sram_bytes": 101}))
    told = "activations need 101 bytes of SRAM (ESTIMATED), the profile has 100 bytes"
    assert verdict_of(none, larger).failed == [told]
    largest = replace(FIGURES, memory=MEMORY.model_copy(update={"peak_sram_bytes": 491_712}))
    assert "need 480.19 KiB of SRAM" in verdict_of(none, largest).failed[0]
    assert "1 sum would overflow" in failed(none, reported=1)[0]
    assert "7 sums would overflow" in failed(none, reported=7)[0]
    assert failed(none, reported=0, policy="report", events=7, changed=7) == []
    homeless = replace(FIGURES, cycles=CYCLES.model_copy(update={"unplaced": ["a", "b", "c", "d"]}))
    assert verdict_of(none, homeless).failed == ["the chip has no place for 4 ops: a, b, c, …"]


def test_what_is_not_proven_fails_where_proof_is_asked_for() -> None:
    asked = Gates(require_proven=True)
    assert asked.applied() == {"require_proven": 1.0}
    assert failed(asked) == []
    assert failed(asked, counted_free=2) == ["2 accumulators are not proven free of overflow"]
    assert failed(asked, overflowing=1) == ["1 accumulator is not proven free of overflow"]
    assert failed(Gates(), counted_free=2) == []
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
        figures = replace(FIGURES, overflow=overflow, proof=proof)
        assert verdict_of(asked, figures).failed == told


def test_older_records_count_what_a_reporting_policy_saw() -> None:
    none = Gates()
    older: dict[str, object] = {"reported": None, "events": 7}
    assert failed(none, **older, changed=3, policy="apply, report")[0].startswith("7 sums")
    assert failed(none, **older, changed=0, policy="report") == []
    assert failed(none, **older, changed=3, policy="apply") == []
    assert failed(none, **older) == []


def test_a_gate_without_its_figure_is_undecided_and_never_passes() -> None:
    asked = Gates(
        max_drop=100,
        min_agreement=0,
        max_energy_mj=1e9,
        no_overflow=True,
        require_proven=True,
        decide="point",
    )
    bare = replace(FIGURES, accuracy=None, overflow=None)
    verdict = verdict_of(asked, bare)
    assert answer(verdict) == "UNDECIDED"
    assert verdict.failed == []
    assert {found.name for found in verdict.results if found.outcome == "undecided"} == {
        *("max_drop", "min_agreement", "max_energy_mj", "no_overflow", "require_proven")
    }
    assert all(found.value is None for found in verdict.results if found.outcome == "undecided")
    assert "the profile has no table of energies" in undecided(verdict)[2]


def test_the_default_is_held_to_by_its_point_estimate_and_what_is_asked_for_by_its_interval() -> (
    None
):
    loses = replace(FIGURES, accuracy=ACCURACY.model_copy(update={"images": 200}))
    default = Gates(default_drop=DEFAULT_MAX_DROP)
    assert default.applied() == {"max_drop": 5.0}
    assert one(default, "max_drop", loses).by == "point"
    assert answer(verdict_of(default, loses)) == "YES"
    asked = replace(default, max_drop=5.0)
    assert asked.applied() == {"max_drop": 5.0}
    assert one(asked, "max_drop", loses).by == "interval"
    assert answer(verdict_of(asked, loses)) == "UNDECIDED"
    for decide, word in (("point", "YES"), ("interval", "UNDECIDED")):
        for gates in (default, asked):
            assert answer(verdict_of(replace(gates, decide=decide), loses)) == word


def test_a_failure_outweighs_what_is_undecided() -> None:
    both = Gates(max_drop=2.0, max_latency_ms=1.0)
    assert answer(verdict_of(both)) == "NO"
    assert answer(verdict_of(replace(both, max_latency_ms=None))) == "UNDECIDED"
    assert answer(verdict_of(Gates())) == "YES"


def test_a_run_is_judged_again_by_other_gates_and_back(run_of_gates: RunResult) -> None:
    strict = judged(run_of_gates, Gates(max_drop=0.5, decide="point"))
    assert not strict.verdict.feasible
    assert strict.verdict.gates == {"max_drop": 0.5}
    assert judged(strict, Gates(max_drop=100.0)).verdict.feasible
    assert judged(strict, Gates(default_drop=5.0)) == run_of_gates


def test_energy_is_that_of_the_record(run_of_gates: RunResult) -> None:
    gates = Gates(max_energy_mj=1.0)
    assert answer(judged(run_of_gates, gates).verdict) == "UNDECIDED"
    energy = EnergyRecord(node_nm=45, total_mj=1.5, parts={"mac": 1.5}, source="a table")
    found = judged(run_of_gates.model_copy(update={"energy_record": energy}), gates)
    told = "ESTIMATED energy of one image is 1.5 mJ, allowed 1 mJ"
    assert found.verdict.failed == [told]


@pytest.fixture
def run_of_gates() -> RunResult:
    plain = RunResult.model_construct(
        accuracy=ACCURACY,
        overflow=OVERFLOW,
        memory=MEMORY,
        cycles=CYCLES,
        latency_ms=2.5,
        fps=400.0,
    )
    return judged(plain, Gates(default_drop=5.0))
