# SPDX-License-Identifier: Apache-2.0
"""Gates on the command line: cost, report and verify, their exit codes, text, JSON and JUnit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from command_line import Demo, Finished

from aocq.records.run_folder import load_run
from simulator.profile import profile_paths

Run = Callable[..., Finished]
MODEL = "vit_nano_digits"


@pytest.fixture
def small_sram(tmp_path: Path) -> Path:
    """The demo's profile with less SRAM than its activations need."""
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    for old, new in (
        ('name = "edge_npu_int8"', 'name = "small_sram"'),
        ("sram_bytes = 524288", "sram_bytes = 4096"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = tmp_path / "small_sram.toml"
    path.write_text(text, "utf-8")
    return path


def failures(path: Path) -> dict[str | None, str | None]:
    """The kind of each test case's failure, None where it passed."""
    return {
        case.get("name"): None if (found := case.find("failure")) is None else found.get("type")
        for case in ElementTree.parse(path).getroot()[0]
    }


def test_cost_judges_where_a_gate_is_given_and_only_tells_where_none_is(
    without_torch: Run, demo: Demo, small_sram: Path, tmp_path: Path
) -> None:
    told = without_torch("cost", demo.folder, "--profile", small_sram)
    assert "activations fit the SRAM" in told.out
    (line,) = (line for line in told.out.splitlines() if "activations fit the SRAM" in line)
    assert "  NO, 5.56 KiB too many  " in line
    assert "alive at the peak, during " in told.out
    assert "verdict" not in json.loads(without_torch("cost", demo.folder, "--json").out)
    xml = tmp_path / "cost.xml"
    chip = ("--profile", small_sram, "--junit", xml)
    done = without_torch("cost", demo.folder, *chip, code=1)
    assert (
        "gate failed: activations need 9.56 KiB of SRAM (ESTIMATED), the profile has 4.00 KiB"
        in (done.err)
    )
    assert failures(xml) == {"fits_sram": "fail", "placed": None}
    passed = without_torch("cost", demo.folder, "--max-latency-ms", 1, "--max-sram-bytes", "10KiB")
    assert "peak SRAM, ESTIMATED" in passed.out
    assert "≤ 10.00 KiB" in passed.out
    assert "gate" not in passed.err


def test_cost_says_in_json_by_which_gates(without_torch: Run, demo: Demo) -> None:
    gates = ("--min-fps", 1e8, "--max-dram-bytes", 1, "--max-energy-mj", 1, "--require-proven")
    found = json.loads(without_torch("cost", demo.folder, *gates, "--json", code=1).out)
    results = {each["name"]: each for each in found["verdict"]["results"]}
    outcomes = {name: each["outcome"] for name, each in results.items()}
    assert outcomes == {
        **dict.fromkeys(("fits_sram", "placed", "max_energy_mj", "require_proven"), "pass"),
        **dict.fromkeys(("min_fps", "max_dram_bytes"), "fail"),
    }
    assert results["min_fps"]["value"] == found["fps"]
    assert results["max_dram_bytes"]["value"] == found["memory"]["dram_bytes"]
    assert results["max_energy_mj"]["value"] == found["energy_record"]["total_mj"]
    assert found["proof"]["proven"] == found["proof"]["values"]


def test_cost_of_a_name_has_gates_but_no_proof(warm: Run) -> None:
    done = warm("cost", MODEL, "--max-sram-bytes", "1KiB", code=1)
    assert "gate failed: ESTIMATED peak of SRAM is" in done.err
    done = warm("cost", MODEL, "--require-proven", code=2)
    assert "of which nothing is proven" in " ".join(done.err.replace("│", " ").split())


@pytest.fixture
def finished(demo: Demo, tmp_path: Path) -> Path:
    """A copy of the demo's run."""
    folder = tmp_path / "run"
    shutil.copytree(demo.folder, folder, ignore=shutil.ignore_patterns("data"))
    return folder


def test_a_report_is_undecided_where_the_interval_has_the_limit_inside(
    without_torch: Run, finished: Path, tmp_path: Path
) -> None:
    xml = tmp_path / "report.xml"
    asked = ("report", finished, "--max-drop", 1, "--no-overflow")
    done = without_torch(*asked, "--junit", xml, code=1)
    assert re.search(r"gate undecided: integer top-1 is \S+ points below float \(95 %: -", done.err)
    assert re.search("360 images cannot decide it; about [0-9,]+ would", done.err)
    assert failures(xml) == {
        **dict.fromkeys(("fits_sram", "placed", "reported_overflow", "no_overflow")),
        "max_drop": "undecided",
    }
    verdict = load_run(finished)[0].verdict
    assert (verdict.feasible, verdict.failed) == (False, [])
    without_torch(*asked, "--decide", "point")
    assert load_run(finished)[0].verdict.feasible
    # Without gates the recorded verdict stays, and is what the file says.
    without_torch("report", finished, "--junit", xml)
    assert set(failures(xml).values()) == {None}
    assert set(failures(xml)) == {each.name for each in load_run(finished)[0].verdict.results}


def test_a_gate_that_the_profile_has_no_figure_for_never_passes(
    without_torch: Run, finished: Path
) -> None:
    path = finished / "run.json"
    plain = json.loads(path.read_text("utf-8"))
    plain["energy_record"] = None
    path.write_text(json.dumps(plain), "utf-8")
    done = without_torch("report", finished, "--max-energy-mj", 1e9, "--markdown", code=1)
    assert "gate undecided: energy of one image is not known" in done.err
    assert done.out.splitlines()[0].endswith(": UNDECIDED")


def test_what_cannot_be_decided_or_written_is_a_usage_error_or_told(
    without_torch: Run, demo: Demo, tmp_path: Path
) -> None:
    done = without_torch("report", demo.folder, "--decide", "point", code=2)
    assert "nothing to decide without --max-drop or --min-agreement" in (
        " ".join(done.err.replace("│", " ").split())
    )
    done = without_torch("cost", demo.folder, "--junit", tmp_path, code=3)
    assert f"error: {tmp_path}: is a folder; name a file" in done.err
    done = without_torch("cost", demo.folder, "--max-sram-bytes", "3 pages", code=2)
    assert "is no size" in done.err


def test_few_images_decide_the_default_by_the_point_and_what_is_asked_for_not(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    small = ("--method", "base_ptq", "--limit", 20, "--batch", 10, "--calib", 16)
    command = (*demo.verify, *small, "--out", tmp_path / "run")
    assert "pass (by the point estimate)" in warm(*command).out
    xml = tmp_path / "verify.xml"
    for asked in (("--max-drop", 5), ("--decide", "interval")):
        done = warm(*command, *asked, "--junit", xml, code=1)
        assert "finished before" in done.err
        assert "gate undecided: integer top-1 is" in done.err
        assert "UNDECIDED: 1 gate not shown to hold" in " ".join(done.out.split())
        assert failures(xml)["max_drop"] == "undecided"
    warm(*command, "--max-drop", 5, "--decide", "point")


def test_what_would_meet_a_failed_gate_is_found_by_estimating_again(
    without_torch: Run, demo: Demo, finished: Path, small_sram: Path
) -> None:
    whole = json.loads(without_torch("cost", demo.folder, "--json").out)
    limit = whole["latency_ms"] * 0.9
    asked = ("--max-latency-ms", limit)
    found = json.loads(without_torch("cost", demo.folder, *asked, "--json", code=1).out)
    lifts = {each["resource"]: each for each in found["lifts"]}
    assert {each["gate"] for each in lifts.values()} == {"max_latency_ms"}
    assert lifts["clock_mhz"]["need"] == 2 * lifts["clock_mhz"]["have"] == 1000
    assert all(each["latency_ms"] <= limit for each in lifts.values())
    # A finished run that is judged again says the same, and so does its page.
    without_torch("report", finished, *asked, code=1)
    assert [each.model_dump() for each in load_run(finished)[0].lifts] == found["lifts"]
    # Activations that do not fit: how much SRAM would do.
    asked = ("--profile", small_sram, "--max-latency-ms", 1e6, "--json")
    found = json.loads(without_torch("cost", demo.folder, *asked, code=1).out)
    (sram,) = found["lifts"]
    assert (sram["resource"], sram["gate"], sram["have"]) == ("sram_bytes", "fits_sram", 4096)
    assert sram["peak_sram_bytes"] <= sram["need"] < sram["peak_sram_bytes"] + 1024


def test_ops_without_a_place_are_an_error_or_a_no(
    without_torch: Run, warm: Run, demo: Demo, tmp_path: Path
) -> None:
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    path = tmp_path / "no_softmax.toml"
    table = '[compute.placement]\nsoftmax = "none"\n\n[compute.vector]'
    path.write_text(text.replace("[compute.vector]", table), "utf-8")
    done = without_torch("cost", demo.folder, "--profile", path, code=3)
    told = " ".join(done.err.split())
    assert "has no place for ops of kind softmax" in told
    assert "--allow-unplaced" in told
    asked = ("cost", demo.folder, "--profile", path, "--allow-unplaced", "--max-latency-ms", 1e6)
    done = without_torch(*asked, code=1)
    assert "gate failed: the chip has no place for 2 ops" in done.err
    asked = (*demo.verify, "--profile", path, "--out", tmp_path / "run")
    done = warm(*asked, code=3)
    assert "has no place for ops of kind softmax" in " ".join(done.err.split())
