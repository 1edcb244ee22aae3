# SPDX-License-Identifier: Apache-2.0
"""``aocq front``: what it finds below folders, what it writes, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from command_line import Demo, Finished, digests

from aocq.records.run_folder import load_record
from reports.rows import TableRow, run_row
from reports.sweep_table import write_table

Run = Callable[..., Finished]
NAME = "vit_nano_digits"
ENDINGS = ("html", "csv", "json", "parquet", "md", "png", "svg")
COSTS = TableRow(
    **{"model": NAME, "method": "sizes only", "w_bits": 8, "a_bits": 8, "cycles": 9},
    **{"latency_ms": 0.001, "weight_bytes": 10, "variant": {"compute.engine.rows": "16"}},
)


@pytest.fixture(scope="module")
def runs(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a table, and a folder with unfinished work that looks like a third."""
    folder = tmp_path_factory.mktemp("runs") / "table"
    data = demo.folder / "data"
    small = ("--limit", 20, "--batch", 10, "--calib", 16, "--methods", "base_ptq")
    images = ("--data", data / "val", "--calib-data", data / "calib")
    warm("table2", NAME, *images, *small, "--out", folder)
    (folder / ".work" / "run").mkdir(parents=True)
    (folder / ".work" / "run" / "run.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def sweep(runs: Path) -> Path:
    """A sweep's table of one of these runs, of costs alone, of a failure and of a lost run."""
    place = runs.parent / "sweep"
    shutil.copytree(runs / NAME / "base_ptq-w8a8", place / "runs" / "c0ffee")
    result = load_record(place / "runs" / "c0ffee")
    run = run_row(result, {"profile": "varied", "accumulator.bits": "20"}, "runs/c0ffee")
    failed = replace(COSTS, latency_ms=None, weight_bytes=None, cycles=None, note="no run: failed")
    lost = replace(run, run="runs/lost")
    write_table("sweep", "A sweep", [run, COSTS, COSTS, failed, lost], place)
    return place


def test_every_file_is_written_and_the_page_leads_to_the_reports(
    without_torch: Run, runs: Path, tmp_path: Path
) -> None:
    done = without_torch("front", runs, "--out", tmp_path / "front")
    for ending in ENDINGS:
        assert (tmp_path / "front" / f"front.{ending}").stat().st_size > 0
    page = (tmp_path / "front" / "front.html").read_text("utf-8")
    links = re.findall(r'href="([^"#]+)"', page)
    assert len(links) == 2
    for link in links:
        assert (tmp_path / "front" / link).resolve().name == "report.html"
        assert (tmp_path / "front" / link).resolve().is_file()
    found = json.loads((tmp_path / "front" / "front.json").read_text("utf-8"))
    (only,) = found["sets"]
    assert f"{len(only['front'])} of 2 designs on the front" in done.out
    assert only["front"][0] in done.out
    assert f"page: {tmp_path / 'front' / 'front.html'}\n" in done.err
    frame = pd.read_parquet(tmp_path / "front" / "front.parquet")
    records = [load_record(runs / NAME / f"base_ptq-w{bits}a8") for bits in (4, 8)]
    assert {*frame["weight_bytes"]} == {found.memory.weight_bytes for found in records}
    assert {*frame["accumulator_bits"]} == {32}


def test_the_same_runs_give_the_same_bytes(without_torch: Run, runs: Path, tmp_path: Path) -> None:
    written = []
    for name in ("one", "two"):
        without_torch("front", runs, "--out", tmp_path / name)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("front.*")})
    assert written[0] == written[1]


def test_a_sweeps_rows_name_its_runs_and_stand_for_costs_without_one(
    without_torch: Run, sweep: Path, tmp_path: Path
) -> None:
    done = without_torch(
        *("front", sweep, "--axes", "latency_ms,weight_bytes", "--out", tmp_path),
        *("--reference", "latency_ms=10,weight_bytes=1e6"),
    )
    found = json.loads((tmp_path / "front.json").read_text("utf-8"))
    by_name = {row["design"]: row for row in found["rows"]}
    of_run = f"sweep: {NAME} base_ptq W8A8, profile varied, accumulator.bits 20"
    of_costs = f"sweep: {NAME} sizes only W8A8, compute.engine.rows 16"
    assert [*by_name] == [of_costs, f"{of_costs} (2)", of_run, f"{of_costs} (3)"]
    assert by_name[of_run]["accumulator.bits"] == "20"
    assert by_name[of_run]["rank"] == 2
    assert by_name[of_costs]["rank"] == by_name[f"{of_costs} (2)"]["rank"] == 1
    assert by_name[f"{of_costs} (3)"]["rank"] is None
    assert by_name[f"{of_costs} (3)"]["note"] == "no run: failed"
    (only,) = found["sets"]
    assert only["reference"] == {"latency_ms": 10.0, "weight_bytes": 1e6}
    assert only["hypervolume"] == (10 - 0.001) * (1e6 - 10)
    assert f"left out, its run is not in {sweep / 'runs' / 'lost'}" in done.err
    assert "1 of 4 designs without a rank: no figure of latency_ms, weight_bytes." in done.out


def test_folders_that_are_named_twice_count_once(
    without_torch: Run, sweep: Path, tmp_path: Path
) -> None:
    again = sweep / "runs" / ".."
    axes = ("--axes", "latency_ms,weight_bytes", "--out", tmp_path)
    without_torch("front", sweep, again, sweep / "runs", *axes)
    assert len(json.loads((tmp_path / "front.json").read_text("utf-8"))["rows"]) == 4


def test_costs_alone_have_the_axes_that_they_have_figures_of(
    without_torch: Run, tmp_path: Path
) -> None:
    write_table("sweep", "A sweep", [COSTS], tmp_path / "sweep")
    done = without_torch("front", tmp_path / "sweep", "--out", tmp_path / "front")
    assert "no design has a figure of drop: axes are latency_ms, weight_bytes" in done.err


def test_what_does_not_fit_its_chip_is_counted_and_kept_only_if_asked_for(
    without_torch: Run, tmp_path: Path
) -> None:
    fits = replace(COSTS, latency_ms=2.0, peak_sram_bytes=64, sram_bytes=64)
    large = replace(COSTS, peak_sram_bytes=65, sram_bytes=64)
    write_table("sweep", "A sweep", [fits, large], tmp_path / "sweep")
    mark = " (2) (does not fit its chip)"
    done = without_torch("front", tmp_path / "sweep", "--out", tmp_path / "front")
    assert "1 of 2 designs does not fit the chip" in done.out
    assert mark not in done.out, "what is printed is the front"
    found = json.loads((tmp_path / "front" / "front.json").read_text("utf-8"))["rows"]
    assert [row["rank"] for row in found] == [1, None]
    assert "need 65 bytes of SRAM (ESTIMATED), it has 64" in found[1]["misfit"]
    kept = without_torch("front", tmp_path / "sweep", "--infeasible", "--out", tmp_path / "front")
    assert mark in kept.out
    found = json.loads((tmp_path / "front" / "front.json").read_text("utf-8"))["rows"]
    assert [(row["rank"], bool(row["misfit"])) for row in found] == [(1, True), (2, False)]


def test_of_a_sweeps_folder_only_runs_that_its_rows_name_count(
    without_torch: Run, sweep: Path, tmp_path: Path
) -> None:
    place = tmp_path / "sweep"
    shutil.copytree(sweep, place)
    shutil.copytree(place / "runs" / "c0ffee", place / "runs" / "earlier")
    axes = ("--axes", "latency_ms,weight_bytes", "--out", tmp_path / "front")
    done = without_torch("front", place, *axes)
    assert f"{place}: 1 run left out that no row of sweep.json names" in done.err
    assert len(json.loads((tmp_path / "front" / "front.json").read_text("utf-8"))["rows"]) == 4
    without_torch("front", place, place / "runs" / "earlier", *axes)
    assert len(json.loads((tmp_path / "front" / "front.json").read_text("utf-8"))["rows"]) == 5


def test_rows_without_any_figure_have_no_axes(without_torch: Run, tmp_path: Path) -> None:
    bare = replace(COSTS, weight_bytes=None)
    write_table("sweep", "A sweep", [bare], tmp_path / "sweep")
    done = without_torch("front", tmp_path / "sweep", "--out", tmp_path / "front", code=3)
    assert "no design has a figure of drop, weight_bytes: a front is over two axes" in done.err
    assert not (tmp_path / "front").exists()


def test_runs_on_other_images_have_a_front_of_their_own(
    without_torch: Run, runs: Path, demo: Demo, tmp_path: Path
) -> None:
    done = without_torch("front", runs, demo.folder, "--out", tmp_path)
    assert "Designs of 2 sets cannot be compared with each other" in done.out
    found = json.loads((tmp_path / "front.json").read_text("utf-8"))
    assert [of["designs"] for of in found["sets"]] == [2, 1]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--axes", "drop,latency"), 2, "no axis 'latency'; nearest: latency_ms"),
        (("--axes", "drop,watts"), 2, "no axis 'watts'; choose among drop"),
        (("--axes", "drop"), 2, "two axes or more"),
        (("--axes", "drop,drop"), 2, "named twice"),
        (("--reference", "drop=nan"), 2, "wanted AXIS=NUMBER"),
        (("--reference", "drop"), 2, "wanted AXIS=NUMBER"),
        (("--reference", "energy_mj=3"), 2, "energy_mj: is not among --axes drop"),
    ],
)
def test_what_no_front_is_over_is_a_usage_error(
    without_torch: Run, runs: Path, tmp_path: Path, words: tuple[str, ...], code: int, message: str
) -> None:
    done = without_torch("front", runs, *words, "--out", tmp_path / "front", code=code)
    assert message in " ".join(done.err.replace("│", " ").split())
    assert not (tmp_path / "front").exists()


def test_a_folder_without_runs_or_with_a_damaged_one_is_named(
    without_torch: Run, runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = without_torch("front", runs, tmp_path / "empty", "--out", tmp_path / "front", code=3)
    assert f"{tmp_path / 'empty'}: no run.json and no sweep.json in it or below" in done.err
    broken = tmp_path / "broken" / "run"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text('{"format": 1}', encoding="utf-8")
    done = without_torch("front", broken.parent, "--out", tmp_path / "front", code=3)
    assert f"{broken / 'run.json'}: not a run of format 1" in done.err
    assert not (tmp_path / "front").exists()


def test_a_finished_run_is_no_place_for_a_front(without_torch: Run, earlier_run: Path) -> None:
    before = digests(earlier_run)
    done = without_torch("front", earlier_run, "--out", earlier_run, code=3)
    assert "holds a finished run" in done.err
    assert digests(earlier_run) == before
