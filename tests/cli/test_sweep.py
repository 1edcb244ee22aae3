# SPDX-License-Identifier: Apache-2.0
"""``aocq sweep`` in processes that are killed: nothing lost, nothing made twice, the same table."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Demo, Finished, aocq, stopped

TABLES = ("sweep.csv", "sweep.json", "sweep.md")
Run = Callable[..., Finished]


def written(folder: Path, demo: Demo, sweep: str) -> Path:
    """A plan of the bundled network and a few of its images."""
    path = folder / "plan.toml"
    data = demo.folder / "data"
    path.write_text(
        '[[network]]\nname = "vit_nano_digits"\n\n'
        f'[data.digits]\nevaluate = "{data / "val"}"\ncalibrate = "{data / "calib"}"\n'
        f"images = 16\ncalibration_images = 16\n\n[sweep]\n{sweep}\n",
        "utf-8",
    )
    return path


GRID = """
methods = ["base_ptq"]
recipes = ["w8a8", "w3a8"]
profiles = ["edge_npu_int8", "narrow_acc_20"]

[sweep.keys]
"accumulator.bits" = [7, 16, 20, 32]
"""


class Story(NamedTuple):
    """One plan, carried out at once, and in another folder interrupted on the way."""

    whole: Path
    finished: Finished
    interrupted: Path
    ended: Finished
    kills: int
    made_before: dict[str, int]  # runs that were finished before the last command, and when
    again: Finished


def leases(out: Path) -> Iterator[dict[str, object]]:
    """Who is making a run now."""
    for path in out.glob("runs/*/lease.json"):
        try:
            yield json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):  # released, or just begun
            continue


def finished_runs(out: Path) -> dict[str, int]:
    return {p.parent.name: p.stat().st_mtime_ns for p in sorted(out.glob("runs/*/run.json"))}


@pytest.fixture(scope="module")
def story(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("sweeps")
    plan = written(folder, demo, GRID)
    command = ("sweep", plan, "--workers", 2)
    whole, interrupted = folder / "whole", folder / "interrupted"
    finished = aocq(*command, "--out", whole, code=3)

    kills = 0
    killed: set[object] = set()

    def a_worker_died_after(runs: int) -> Callable[[], bool]:
        def look() -> bool:
            nonlocal kills
            if len(finished_runs(interrupted)) >= runs and not killed:
                for lease in leases(interrupted):
                    process = lease["process"]
                    assert isinstance(process, int)
                    with suppress(ProcessLookupError):  # of the command that was killed before
                        os.kill(process, signal.SIGKILL)
                        killed.add(process)
                        kills += 1
                        break
            taken = {lease["process"] for lease in leases(interrupted)}
            return bool(killed) and bool(taken) and not taken & killed

        return look

    def at_work(runs: int) -> Callable[[], bool]:
        return lambda: len(finished_runs(interrupted)) >= runs and bool([*leases(interrupted)])

    for when in (at_work(0), at_work(1), a_worker_died_after(2)):
        stopped(*command, "--out", interrupted, when=when, signal=signal.SIGKILL)
        kills += 1
    before = finished_runs(interrupted)
    ended = aocq(*command, "--out", interrupted, code=3)
    again = aocq(*command, "--out", interrupted, code=3)
    return Story(whole, finished, interrupted, ended, kills, before, again)


def test_a_sweep_that_was_killed_ends_with_the_same_bytes(story: Story) -> None:
    assert story.kills == 4
    for name in TABLES:
        assert (story.whole / name).read_bytes() == (story.interrupted / name).read_bytes()
    assert story.finished.out == story.ended.out == story.again.out


def test_finished_runs_are_taken_as_they_are(story: Story) -> None:
    assert len(story.made_before) >= 2
    after = finished_runs(story.interrupted)
    assert {name: after[name] for name in story.made_before} == story.made_before
    assert sum("(finished before)" in line for line in story.ended.err.splitlines()) >= 2
    assert sum("(finished before)" in line for line in story.again.err.splitlines()) == 16
    assert "torch" not in story.again.err


def test_what_there_cannot_be_and_what_fails_are_rows_with_reasons(story: Story) -> None:
    rows = json.loads((story.whole / "sweep.json").read_text("utf-8"))["rows"]
    assert len(rows) == 16
    notes = [row["note"] for row in rows if row["integer_top1"] is None]
    assert sum("accumulator.levels[0].bits = 7" in note for note in notes) == 4
    assert sum("weight.bits = [8, 4] has no 3" in note for note in notes) == 3
    assert len(notes) == 7
    assert "7 of 16 cells could not be run" in story.finished.err


def test_rows_are_in_the_plans_order_and_name_their_runs(story: Story) -> None:
    rows = json.loads((story.whole / "sweep.json").read_text("utf-8"))["rows"]
    keys = [(r["w_bits"], r["variant"]["profile"], r["variant"]["accumulator.bits"]) for r in rows]
    profiles = ("edge_npu_int8", "narrow_acc_20")
    assert keys == [(w, p, b) for w in (8, 3) for p in profiles for b in ("7", "16", "20", "32")]
    for row in rows:
        if row["run"]:
            assert (story.whole / row["run"] / "report.html").exists()
    assert len({row["run"] for row in rows if row["run"]}) == 9


def test_there_is_a_line_for_every_run_with_what_is_left(story: Story) -> None:
    lines = [line for line in story.finished.err.splitlines() if line.startswith("[")]
    assert len(lines) == 16
    assert lines[-1].startswith("[16/16] ")
    assert any(" left)" in line for line in lines)
    times = (story.whole / "times.csv").read_text("utf-8").splitlines()
    assert times[0] == "name,run,seconds"
    assert sum(float(line.rpartition(",")[2] or 0) > 0 for line in times[1:]) == 9


def test_nothing_is_left_of_the_work(story: Story) -> None:
    for out in (story.whole, story.interrupted):
        assert not [*out.rglob("lease.json"), *out.rglob("*.lease"), *out.rglob("deaths.json")]


def test_runs_share_a_calibration(story: Story) -> None:
    kept = [path for path in (story.whole / "quantized").iterdir() if path.is_dir()]
    assert len(kept) == 3  # two widths on one chip, one on the other, whatever the accumulator


def test_a_dry_run_says_what_is_there_and_imports_nothing_long(
    demo: Demo, without_torch: Run, story: Story, tmp_path: Path
) -> None:
    plan = written(tmp_path, demo, GRID)
    done = without_torch("sweep", plan, "--dry-run", "--out", tmp_path / "out")
    *names, size, state, seconds = done.out.splitlines()
    assert len(names) == 16
    assert sum(": no run: profile narrow_acc_20" in name for name in names) == 5
    assert sum("weight.bits = [8, 4] has no 3" in name for name in names) == 3
    assert size == "16 runs: recipes 2, profiles 2, accumulator.bits 4"
    assert state == "0 are finished, 7 failed, 9 are left"
    assert "a guess" in seconds
    assert not (tmp_path / "out").exists()
    done = without_torch("sweep", plan, "--dry-run", "--out", story.whole)
    assert "9 are finished, 7 failed, 0 are left" in done.out
    assert "by those that are finished" in done.out


def test_promising_designs_go_on_to_more_images_and_others_say_why_not(
    demo: Demo, tmp_path: Path
) -> None:
    narrow = 'methods = ["base_ptq"]\nkeys = { "accumulator.bits" = [12, 31, 32] }'
    plan, out = written(tmp_path, demo, narrow), tmp_path / "out"
    command = ("sweep", plan, "--then", 40, "--workers", 1, "--out", out)
    dry = aocq(*command, "--dry-run")
    assert "then at most 3 runs on 40 images" in dry.out
    done = aocq(*command)
    assert "2 of 3 designs go on to 40 images" in done.err
    rows = json.loads((out / "sweep.json").read_text("utf-8"))["rows"]
    assert [row["images"] for row in rows] == [16, 40, 40]
    assert "not run on more images: vit_nano_digits base_ptq w8a8" in rows[0]["note"]
    assert "beyond chance" in rows[0]["note"]
    assert len(finished_runs(out)) == 5
    tables = {name: (out / name).read_bytes() for name in TABLES}
    assert sum("(finished before)" in line for line in aocq(*command).err.splitlines()) == 5
    assert tables == {name: (out / name).read_bytes() for name in TABLES}


def test_pruning_wants_few_images_and_axes_that_they_decide_on(
    demo: Demo, without_torch: Run, tmp_path: Path
) -> None:
    plan = written(tmp_path, demo, 'methods = ["base_ptq"]')
    for words, code, told in (
        (("--then", 16), 2, "is evaluated on 16 before that"),
        (("--then", 40, "--axes", "latency_ms"), 3, "one of drop, agreement is wanted"),
        (("--then", 40, "--axes", "drop,latency"), 3, "--axes latency: no such axis"),
        (("--axes", "drop,latency_ms"), 2, "for --then, which is missing"),
    ):
        assert told in without_torch("sweep", plan, *words, code=code).err


def test_a_missing_package_is_told_at_once_and_is_no_failed_run(
    demo: Demo, without_torch: Run, tmp_path: Path
) -> None:
    plan = written(tmp_path, demo, 'methods = ["base_ptq"]')
    done = without_torch("sweep", plan, "--out", tmp_path / "out", code=4)
    assert "torch is not installed" in done.err
    assert not [*tmp_path.rglob("failed.json")]


def test_what_failed_is_tried_again_where_that_is_asked_for(demo: Demo, tmp_path: Path) -> None:
    plan = written(tmp_path, demo, 'methods = ["base_ptq"]\nprofiles = ["edge_npu_int8"]')
    out = tmp_path / "out"
    dry = aocq("sweep", plan, "--dry-run", "--out", out)
    assert "1 runs: one design" in dry.out
    blocked = out / "quantized"
    blocked.parent.mkdir()
    blocked.write_text("a file where a folder belongs", "utf-8")
    failed = aocq("sweep", plan, "--out", out, code=3)
    assert "quantized" in failed.err
    blocked.unlink()
    assert "(finished before)" in aocq("sweep", plan, "--out", out, code=3).err
    assert "100.00" in aocq("sweep", plan, "--out", out, "--retry-failed").out


def test_ctrl_c_ends_workers_and_says_how_to_go_on(demo: Demo, tmp_path: Path) -> None:
    plan, out = written(tmp_path, demo, 'methods = ["base_ptq"]'), tmp_path / "out"
    done = stopped(
        *("sweep", plan, "--workers", 1, "--out", out),
        when=lambda: bool([*leases(out)]),
        signal=signal.SIGINT,
    )
    done.check(130)
    assert "interrupted; the same command goes on with what was kept" in done.err
    (lease,) = leases(out)
    limit = time.monotonic() + 120
    while Path(f"/proc/{lease['process']}").exists():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_costs_alone_need_neither_images_nor_torch_once_a_network_is_captured(
    demo: Demo, tmp_path: Path, without_torch: Run
) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[[network]]\nname = "vit_nano_digits"\n[sweep]\ncosts_only = true\n'
        'recipes = ["w8a8", "w4a8", "w3a8"]\nprofiles = ["edge_npu_int8", "narrow_acc_20"]\n'
        '[sweep.keys]\n"compute.engine.rows" = [8, 16]\n"compute.clock_mhz" = [100, 400]\n',
        "utf-8",
    )
    out = tmp_path / "out"
    dry = aocq("sweep", plan, "--dry-run", "--out", out)
    assert "24 designs, costs alone: recipes 3, profiles 2, compute.engine.rows 2" in dry.out
    for words in (("--images", 8), ("--then", 8)):
        assert "no images are evaluated" in without_torch("sweep", plan, *words, code=2).err
    done = aocq("sweep", plan, "--workers", 1, "--out", out, code=3)
    again = without_torch("sweep", plan, "--out", out, code=3)
    assert done.out == again.out
    rows = json.loads((out / "sweep.json").read_text("utf-8"))["rows"]
    assert len(rows) == 24
    notes = [row["note"] for row in rows if row["cycles"] is None]
    assert len(notes) == 4
    assert all("has no 3" in note for note in notes)
    sized = json.loads(
        aocq("cost", "vit_nano_digits", "--w-bits", "4", "-p", "narrow_acc_20", "--json").out
    )
    (row,) = (
        each
        for each in rows
        if (each["w_bits"], each["variant"]["profile"]) == (4, "narrow_acc_20")
        and each["variant"]["compute.engine.rows"] == "16"
        and each["variant"]["compute.clock_mhz"] == "400"
    )
    assert row["cycles"] == sized["cycles"]["total"]
    assert row["latency_ms"] == row["cycles"] / 400e3
    assert row["peak_sram_bytes"] == sized["memory"]["peak_sram_bytes"]
