# SPDX-License-Identifier: Apache-2.0
"""Gates, what would lift them, and where noise comes from: rows of text for every report."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from aocq.records.costs import LiftRecord
from aocq.records.gates import Gates, judged
from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from aocq.records.verdict import GateResult, Verdict
from aocq.records.verdict_junit import gate_cases
from reports.attribution import attribution_rows, attribution_sentence, sources_of_noise
from reports.gates import against, gate_rows, why
from reports.limits import lift_rows
from reports.markdown import markdown
from reports.page import html
from reports.rows import run_row
from reports.tables import answer, reason, summary_rows
from simulator.junit import junit_xml

Run = tuple[RunResult, list[LayerRow]]


def with_accuracy(result: RunResult, **changed: Any) -> RunResult:
    plain = result.model_dump()
    plain["accuracy"] |= changed
    return RunResult.model_validate(plain)


def sqnr(simulated: float | None, integer: float | None) -> dict[str, float | None]:
    return {"simulated_float": simulated, "integer_float": integer, "integer_simulated": 20.0}


@pytest.fixture
def near(run: Run) -> RunResult:
    """64 images of which integer arithmetic turns one over, at nearly equal noise."""
    counts = {"both_right": 48, "only_first_right": 0, "only_second_right": 0, "both_wrong": 16}
    lost = {**counts, "both_right": 47, "only_first_right": 1}
    return with_accuracy(
        run[0],
        images=64,
        float={"top1": 75.0, "top5": 100.0},
        simulated={"top1": 75.0, "top5": 100.0},
        integer={"top1": 100 * 47 / 64, "top5": 100.0},
        agreement={"integer_float": 96.875, "integer_simulated": 98.4375},
        logit_sqnr_db=sqnr(15.36, 15.27),
        paired={"float_integer": lost, "float_simulated": counts, "simulated_integer": lost},
    )


GATES = Gates(
    max_drop=3,
    min_agreement=90,
    max_latency_ms=1e6,
    max_sram_bytes=400 * 1024,
    max_energy_mj=2,
    no_overflow=True,
)


def test_every_gate_is_a_row_with_limit_value_interval_and_outcome(near: RunResult) -> None:
    verdict = judged(near, GATES).verdict
    rows = {row[0]: row[1:] for row in gate_rows(verdict)}
    assert rows["activations fit the SRAM, ESTIMATED"] == (
        *("≤ 512.00 KiB", "460.50 KiB", "—", "pass"),
    )
    limit, value, interval, outcome = rows["drop of top-1"]
    assert (limit, value) == ("≤ 3 points", "1.56 points")
    assert interval == "-3.78 to 8.47"
    assert outcome.startswith("UNDECIDED (about ")
    assert outcome.endswith(" images would decide)")
    assert rows["agreement with float"][:3] == ("≥ 90 %", "96.88 %", "89.16 to 99.62")
    assert rows["peak SRAM, ESTIMATED"] == ("≤ 400.00 KiB", "460.50 KiB", "—", "FAIL")
    assert rows["energy, ESTIMATED"] == ("≤ 2 mJ", "—", "—", "UNDECIDED")
    assert rows["overflow in the run"] == ("≤ 0 sums", "3 sums", "—", "FAIL")
    assert len(rows) == len(verdict.results) == 9


def test_the_same_rows_are_in_markdown_and_reasons_on_the_page(near: RunResult, run: Run) -> None:
    result = judged(near, GATES)
    text, page = markdown(result, run[1]), html(result, run[1])
    for cells in gate_rows(result.verdict):
        assert f"| {' | '.join(cells)} |" in text
    for told in against(result.verdict):
        assert told in page
    assert answer(result) == "NO"
    assert summary_rows(result)[-1][1].startswith(
        "NO: 2 conditions not met, 3 not shown to hold; ESTIMATED peak"
    )


def test_an_undecided_verdict_says_so_everywhere(near: RunResult, run: Run) -> None:
    result = judged(near, Gates(max_drop=3))
    told = against(result.verdict)
    assert len(told) == 1
    assert answer(result) == "UNDECIDED"
    assert reason(result) == "1 gate not shown to hold"
    assert markdown(result, run[1]).splitlines()[0].endswith(": UNDECIDED")
    assert "<title>UNDECIDED: " in html(result, run[1])
    row = run_row(result, {}, "x")
    assert (row.feasible, row.answer, row.reason) == (False, "UNDECIDED", told[0])


def test_a_yes_names_its_gates_with_their_units(near: RunResult) -> None:
    gates = Gates(default_drop=5, max_sram_bytes=2**20, max_latency_ms=1e3, require_proven=True)
    free = near.overflow.model_copy(update={"counted_free": 0, "overflowing": 0})
    passed = judged(near.model_copy(update={"overflow": free}), gates).verdict
    named = "max latency ms 1000, max sram 1,024.00 KiB, require proven"
    assert passed.feasible
    assert why(passed).startswith("activations fit the SRAM, gates passed: max drop 5 by its point")
    for part in named.split(", "):
        assert part.replace(",", "") in why(passed).replace(",", "")
    older = Verdict(feasible=True, failed=[], gates={"max_drop": 5.0})
    assert why(older) == "activations fit the SRAM, gates passed: max drop 5"
    assert gate_rows(older) == []


def test_figures_that_differ_by_less_than_their_digits_are_told_apart() -> None:
    close = GateResult(
        **{"name": "max_sram_bytes", "limit": 393_216, "value": 393_217, "unit": "bytes"},
        **{"outcome": "fail", "reason": "r"},
    )
    slow = close.model_copy(
        update={"name": "max_latency_ms", "unit": "ms", "limit": 2.5, "value": 2.5004}
    )
    rows = gate_rows(Verdict(feasible=False, failed=[], results=[close, slow]))
    assert rows[0][1:3] == ("≤ 393,216 bytes", "393,217 bytes")
    assert rows[1][1:3] == ("≤ 2.5 ms", "2.5004 ms")


def test_what_would_lift_a_gate_is_a_table(near: RunResult, run: Run) -> None:
    lift = LiftRecord(
        **{"resource": "sram_bytes", "have": 393_216, "need": 491_712, "gate": "fits_sram"},
        **{"latency_ms": 2.5, "peak_sram_bytes": 491_712},
    )
    faster = lift.model_copy(update={"resource": "lanes", "have": 16, "need": 32, "gate": None})
    rows = lift_rows([faster, lift], 500.0, 2.5)
    assert rows == [
        (
            *("SRAM", "384.00 KiB", "480.19 KiB", "activations fit the SRAM, ESTIMATED"),
            *("2.500 ms", "0.00 %", "480.19 KiB"),
        ),
        ("vector lanes", "16 lanes", "32 lanes", "—", "2.500 ms", "0.00 %", "480.19 KiB"),
    ]
    lifted = judged(near, GATES).model_copy(update={"lifts": [lift, faster], "latency_ms": 2.5})
    text = markdown(lifted, run[1])
    for cells in rows:
        assert f"| {' | '.join(cells)} |" in text


# --- where noise comes from -----------------------------------------------------------------------


def test_noise_is_attributed_by_power_and_not_by_one_image(near: RunResult, run: Run) -> None:
    rounded, beyond, both = sources_of_noise(near.accuracy)
    assert rounded.noise == pytest.approx(10**-1.536)
    assert both.noise == pytest.approx(10**-1.527)
    assert beyond.noise == pytest.approx(both.noise - rounded.noise)
    assert rounded.share == pytest.approx(0.97949, abs=1e-5)
    assert rounded.share + (beyond.share or 0) == pytest.approx(1)
    assert (rounded.points, beyond.points, both.points) == (0, -1.5625, -1.5625)
    # One image of 64: the interval has no change inside, on either side.
    assert beyond.interval is not None
    low, high = beyond.interval
    assert low < -1.5625 < 0 < high
    assert attribution_sentence(near.accuracy) == (
        "Of the noise power in the integer network's logits (15.27 dB against float), 97.95 % is "
        "there after fake quantization (15.36 dB) and 2.05 % comes with the chip's integer "
        "arithmetic."
    )
    assert attribution_rows(near.accuracy)[1] == (
        *("integer arithmetic beyond it", "—", "2.05 %", "-1.56 points", "-8.47 to 3.78"),
    )
    text, page = markdown(near, run[1]), html(near, run[1])
    assert attribution_sentence(near.accuracy) in text
    assert "97.95 % is there after fake quantization" in page
    for written in (text, page):
        assert "points come with" not in written


def test_integers_may_be_no_noisier_than_fake_quantization(near: RunResult) -> None:
    quieter = with_accuracy(near, logit_sqnr_db=sqnr(15.0, 15.5)).accuracy
    assert "no noisier (15.50 dB against float)" in attribution_sentence(quieter)
    assert attribution_rows(quieter)[1][2].startswith("-")
    silent = with_accuracy(near, logit_sqnr_db=sqnr(None, None)).accuracy
    assert attribution_sentence(silent).endswith(
        "have no noise against those of the float network."
    )
    assert [row[2] for row in attribution_rows(silent)] == ["—", "—", "—"]
    only_integers = with_accuracy(near, logit_sqnr_db=sqnr(None, 30.0)).accuracy
    assert "0.00 % is there after fake quantization (no noise)" in attribution_sentence(
        only_integers
    )


def test_an_older_record_has_points_without_an_interval(run: Run) -> None:
    assert run[0].accuracy.paired is None
    rows = attribution_rows(run[0].accuracy)
    assert [row[3:] for row in rows] == [
        ("-82.25 points", "—"),
        ("-0.25 points", "—"),
        ("-82.50 points", "—"),
    ]


# --- for CI servers -------------------------------------------------------------------------------


def test_a_gate_is_a_test_case_and_an_undecided_one_fails(near: RunResult) -> None:
    verdict = judged(near, GATES).verdict
    suite = ElementTree.fromstring(junit_xml("s", gate_cases(verdict, "net on chip")))[0]
    found = {case.get("name"): case.find("failure") for case in suite}
    assert [*found] == [result.name for result in verdict.results]
    for result in verdict.results:
        failure = found[result.name]
        assert (failure is None) == (result.outcome == "pass")
        if failure is not None:
            assert (failure.get("type"), failure.text) == (result.outcome, result.reason)
    assert suite.get("failures") == "5"


def test_an_older_verdict_is_one_test_case(run: Run) -> None:
    (case,) = gate_cases(run[0].verdict, "net on chip")
    assert case.problem is not None
    assert case.problem.message == "integer top-1 0.25 % < 70.00 %"
    assert case.problem.text.count("\n") == 1
    (passed,) = gate_cases(Verdict(feasible=True, failed=[]), "net on chip")
    assert passed.problem is None
