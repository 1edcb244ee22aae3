# SPDX-License-Identifier: Apache-2.0
"""What a report says in sentences: limits, lifts, the peak of SRAM, energy, what is assumed."""

from __future__ import annotations

from typing import Any

import pytest
from parsed_page import ParsedPage

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from reports.answers import against_float16, answers, energy_sentence, ports, score_interval
from reports.limits import (
    capital,
    fit_sentence,
    lift_rows,
    lift_sentence,
    limit_sentence,
    peak_buffers,
    peak_sentence,
)
from reports.page import html
from reports.sources import assumed_sentence, rests_on, source_of

Run = tuple[RunResult, list[LayerRow]]


def changed(result: RunResult, **parts: Any) -> RunResult:
    plain = result.model_dump()
    for part, value in parts.items():
        plain[part] = plain[part] | value if isinstance(value, dict) else value
    return RunResult.model_validate(plain)


def lift(resource: str, have: float, need: float, latency: float, gate: str | None = None) -> Any:
    return {
        **{"resource": resource, "have": have, "need": need, "gate": gate},
        **{"latency_ms": latency, "peak_sram_bytes": 471_552},
    }


def test_the_limit_is_one_sentence_with_share_rate_and_time(costed: Run) -> None:
    result, _ = costed
    total = result.cycles.total
    bound = {"compute": total // 4, "vector": 0, "dma": total - total // 4}
    slow = changed(result, cycles={"bound_by": bound}, latency_ms=4.2)
    assert limit_sentence(slow) == "The DRAM port, 75 % of cycles; at 3.2 GB/s 4.200 ms."
    arrays = {"macs_per_cycle": 256.0, "lanes": 16.0}
    fast = changed(result, profile=arrays, cycles={"bound_by": {"compute": total}}, latency_ms=1.0)
    assert limit_sentence(fast) == "The MAC array, 100 % of cycles; at 256 MACs per cycle 1.000 ms."
    vector = changed(fast, cycles={"bound_by": {"vector": total}})
    assert limit_sentence(vector) == "The vector unit, 100 % of cycles; at 16 lanes 1.000 ms."


def test_an_older_record_says_what_it_knows_of_its_limit(run: Run) -> None:
    text = limit_sentence(run[0])
    assert text.startswith("The MAC array, ")
    assert text.endswith(f" % of cycles; {run[0].latency_ms:.3f} ms.")
    assert lift_sentence(run[0]) == ""


def test_what_lifts_a_limit_is_more_of_the_limiting_resource(costed: Run) -> None:
    """A faster clock would gain more, and says less."""
    lifts = [
        lift("clock_mhz", 500.0, 1000.0, 2.0),
        lift("dram_bytes_per_cycle", 6.4, 12.8, 3.0),
        lift("macs_per_cycle", 256.0, 512.0, 3.5),
    ]
    result = changed(costed[0], lifts=lifts, latency_ms=4.0, cycles={"bound_by": {"dma": 1}})
    said = "With 6.4 GB/s of DRAM bandwidth instead of 3.2 GB/s it would take 3.000 ms (-25.00 %)."
    assert lift_sentence(result) == said
    arrays = changed(result, cycles={"bound_by": {"compute": 1}})
    said = "With 512 MACs per cycle instead of 256 it would take 3.500 ms (-12.50 %)."
    assert lift_sentence(arrays) == said
    same = changed(result, lifts=[lift("lanes", 8.0, 16.0, 4.0)])
    assert lift_sentence(same) == "Twice as much of any one resource makes it no faster."


def test_a_record_without_lifts_says_so_where_it_could_have_had_some(costed: Run) -> None:
    assert lift_sentence(changed(costed[0], lifts=[])).startswith("No lift is recorded: ")
    assert lift_sentence(changed(costed[0], lifts=[], float16=None)) == ""


def test_a_failed_gate_is_met_by_what_its_lift_says(costed: Run) -> None:
    found = [
        lift("dram_bytes_per_cycle", 6.4, 12.8, 3.0),
        lift("sram_bytes", 384 * 1024.0, 512 * 1024.0, 4.0, "fits_sram"),
    ]
    result = changed(costed[0], lifts=found, latency_ms=4.0)
    assert lift_sentence(result) == (
        "With 512.00 KiB of SRAM instead of 384.00 KiB this gate would pass: activations fit the "
        "SRAM, ESTIMATED (4.000 ms, peak SRAM 460.50 KiB)."
    )
    more = [
        *found,
        lift("lanes", 8.0, 32.0, 2.0, "max_latency_ms"),
        lift("dram_bytes_per_cycle", 6.4, 12.8, 2.5, "max_latency_ms"),
    ]
    both = lift_sentence(changed(result, lifts=more))
    assert both.count("this gate would pass") == 2
    assert "With 12.8 GB/s" not in both
    assert "With 6.4 GB/s of DRAM bandwidth instead of 3.2 GB/s this gate would pass: lat" in both
    first, second = lift_rows(result.lifts, 500.0, 4.0)
    assert first[:2] == ("SRAM", "384.00 KiB")
    assert first[3:6] == ("activations fit the SRAM, ESTIMATED", "4.000 ms", "0.00 %")
    assert second[2] == "6.4 GB/s"


def test_a_no_names_the_tensors_that_fill_the_sram(costed: Run) -> None:
    result, _ = costed
    assert fit_sentence(result) == (
        "No: 568.49 KiB at the peak, the profile has 512.00 KiB, 56.49 KiB too little."
    )
    assert fit_sentence(changed(result, memory={"peak_sram_bytes": 1024})) == (
        "Yes: 1.00 KiB at the peak, the profile has 512.00 KiB."
    )
    probs = "blocks.0.attn.probs"
    assert peak_sentence(result) == (
        f"Most at {probs}: 568.49 KiB = {probs}.sums (s32, 454.79 KiB) + {probs} (u8, 113.70 KiB)."
    )
    assert [buffer.bytes for buffer in peak_buffers(result)] == [465_708, 116_427]
    assert peak_sentence(changed(result, peak=None)) == ""


def test_energy_is_absent_and_not_zero_without_a_table(costed: Run, run: Run) -> None:
    assert energy_sentence(costed[0]) == "1.25 mJ an image at 28 nm, 56 % of it in DRAM."
    assert energy_sentence(run[0]).startswith("Not estimated: the profile has no energies")
    page = ParsedPage(html(*run))
    assert "energies" not in page.tables
    assert "0 mJ" not in page.text
    rows = ParsedPage(html(*costed)).tables["energies"]
    assert [row[0] for row in rows[1:-1]] == [
        *("multiply-accumulates", "vector unit", "SRAM", "DRAM", "leakage"),
    ]
    assert sum(float(row[1]) for row in rows[1:-1]) == float(rows[-1][1])


def test_float16_is_beside_the_integers_as_a_ratio(costed: Run) -> None:
    rows = {name: ratio for name, _, _, ratio in against_float16(costed[0])}
    assert rows["cycles"] == "4 times"
    assert rows["energy, mJ"] == "3.6 times"
    half = {"cycles": None, "latency_ms": None, "energy_mj": None}
    without = changed(costed[0], float16=half)
    assert {name for name, *_ in against_float16(without)} == {
        *("constants, KiB", "peak SRAM, KiB", "DRAM traffic, KiB", "fits the SRAM"),
    }
    assert "as fast as in float16" not in html(without, costed[1])


def test_ports_say_what_they_move_and_how_fast_they_are(costed: Run) -> None:
    sram, dram = ports(costed[0])
    assert dram[:2] == ("DRAM", "5,760.00")
    assert dram[4:] == ("6.4", "64 bytes", "80 cycles")
    free = costed[0].ports["sram"].model_copy(update={"bytes_per_cycle": None})
    assert ports(changed(costed[0], ports={"sram": free.model_dump()}))[0][4] == "not limited"
    assert sram[0] == "SRAM"


def test_sources_are_found_by_the_longest_path() -> None:
    found = {"default": "assumed: x", "compute": "doc: y", "compute.engine": "measured: z"}
    assert source_of("compute.engine.m", found) == "measured: z"
    assert source_of("compute.clock_mhz", found) == "doc: y"
    assert source_of("memory", found) == "assumed: x"
    assert source_of("memory", {}) == ""


def test_what_is_assumed_is_said_and_counted(costed: Run) -> None:
    sources = {"default": "assumed: x", "energy": "doc: a table", "compute": "source: a tool"}
    plain = costed[0].model_dump()
    plain["profile"]["sources"] = sources
    result = RunResult.model_validate(plain)
    known = {what: how for what, how, _ in rests_on(result)}
    assert known["energy"] == "documented"
    assert known["latency: clock"] == "read in the implementation or its tools"
    assert known["SRAM"] == "assumed"
    said = assumed_sentence(result)
    assert said.startswith(f"Of {len(known)} things that the figures rest on: 3 read in")
    assert "1 documented, 7 assumed. Assumed: integers: accumulators; " in said
    plain["energy_record"] = None
    assert "energy" not in {what for what, *_ in rests_on(RunResult.model_validate(plain))}


@pytest.mark.parametrize("about", ["matmul", "memory", "energy", "accuracy", "latency"])
def test_a_caveat_stands_in_the_section_of_its_figure(costed: Run, about: str) -> None:
    section = {"matmul": "time", "latency": "time"}.get(about, about)
    page = html(*costed)
    start = page.index(f'<section id="{section}">')
    end = page.index("</section>", start)
    text = next(caveat.text for caveat in costed[0].caveats if caveat.about == about)
    place = page.index(f"<strong>Caveat, {about}:</strong>")
    assert start < place < end
    assert text.replace("'", "&#39;") in page[place:end]


def test_every_question_is_answered_and_leads_to_a_section(costed: Run, run: Run) -> None:
    for result, rows in (costed, run):
        found = answers(result, rows)
        page = html(result, rows)
        assert [answer.question for answer in found] == [
            *("Does it fit?", "How fast?", "What limits it?", "What would lift that?"),
            *("What did quantization cost?", "Where?", "Can an accumulator overflow?"),
            *("How much energy?", "What of this is assumed?"),
        ]
        for answer in found:
            assert answer.text
            assert f'<section id="{answer.section}"' in page
    assert "4 times as fast as in float16." in answers(*costed)[1].text


def test_accuracies_have_exact_intervals(costed: Run) -> None:
    """That of 331 of 400 by Clopper and Pearson, as SciPy's binomtest gives it."""
    assert score_interval(costed[0].accuracy, costed[0].accuracy.score("float")) == "78.68 to 86.32"


def test_a_faster_host_is_called_one(costed: Run) -> None:
    host = changed(costed[0], latency_ms=4.0, lifts=[lift("host_speed", 1, 2, 3.0)])
    assert lift_sentence(host) == "With 2 times the host speed it would take 3.000 ms (-25.00 %)."


def test_a_name_with_capitals_of_its_own_keeps_its_first_letter() -> None:
    names = ["mIoU", "mAP of boxes", "top-1", "pixel accuracy", "AP50", ""]
    told = ["mIoU", "mAP of boxes", "Top-1", "Pixel accuracy", "AP50", ""]
    assert [capital(name) for name in names] == told
