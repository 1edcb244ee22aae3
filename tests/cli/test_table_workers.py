# SPDX-License-Identifier: Apache-2.0
"""Tables by worker processes: the rows of one process, whoever is killed on the way."""

from __future__ import annotations

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import Demo, Finished, aocq, stopped

Run = Callable[..., Finished]
MODEL = "vit_nano_digits"
NAMES = ["base_ptq-w8a8", "base_ptq-w4a8", "fq_vit-w8a8", "fq_vit-w4a8"]
REGISTERS = ("12-13,15,17-18,24", "wrap,saturate")


def job(demo: Demo, command: str) -> tuple[object, ...]:
    data = demo.folder / "data"
    images = ("--data", data / "val", "--calib-data", data / "calib")
    return (command, MODEL, *images, "--limit", 20, "--batch", 10, "--calib", 16)


def rows(folder: Path, name: str, *times: str) -> list[dict[str, str]]:
    """The rows of a table without what differs from run to run."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in times} for row in csv.DictReader(file)]


class Tables(NamedTuple):
    """A table by this process, and one by workers, whose command was killed after a run."""

    command: tuple[object, ...]
    alone: Path
    by_workers: Path
    made_before: dict[str, int]
    done: Finished


def made(folder: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/*/manifest.json")}


@pytest.fixture(scope="module")
def tables(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("tables")
    command = (*job(demo, "table2"), "--methods", "base_ptq,fq_vit")
    alone, by_workers = folder / "alone", folder / "by_workers"
    warm(*command, "--out", alone)
    parallel = (*command, "--workers", 2, "--out", by_workers)
    stopped(*parallel, when=lambda: len(made(by_workers)) > 0, signal=signal.SIGKILL)
    before = made(by_workers)
    return Tables(command, alone, by_workers, before, aocq(*parallel))


def test_the_rows_are_those_of_one_process(tables: Tables) -> None:
    ours, theirs = (
        rows(folder, "table2", "calibration_seconds")
        for folder in (tables.by_workers, tables.alone)
    )
    assert [row["run"] for row in ours] == [f"{MODEL}/{name}" for name in NAMES]
    assert ours == theirs


def test_what_a_killed_command_made_is_taken(tables: Tables) -> None:
    after = made(tables.by_workers)
    assert tables.made_before
    assert {name: after[name] for name in tables.made_before} == tables.made_before
    lines = [line for line in tables.done.err.splitlines() if line.startswith("[")]
    assert len(lines) == len(NAMES)
    assert sum("(finished before)" in line for line in lines) >= len(tables.made_before)


def test_a_dry_run_says_what_is_there_and_writes_nothing(
    without_torch: Run, tables: Tables, tmp_path: Path
) -> None:
    new = without_torch(*tables.command, "--dry-run", "--out", tmp_path / "new")
    assert new.out.splitlines()[:5] == [*(f"{MODEL} {name}" for name in NAMES), "4 runs"]
    assert "0 are finished, 0 failed, 4 are left" in new.out
    assert not (tmp_path / "new").exists()
    before = made(tables.alone)
    again = without_torch(*tables.command, "--dry-run", "--out", tables.alone)
    assert "4 are finished, 0 failed, 0 are left" in again.out
    assert made(tables.alone) == before


def test_chips_share_a_calibration_among_workers(demo: Demo, tmp_path: Path) -> None:
    command = (*job(demo, "targets"), "--method", "base_ptq", "--workers", 2)
    done = aocq(*command, "--profiles", "edge_npu_int8,narrow_acc_20", "--out", tmp_path)
    found = rows(tmp_path, "targets")
    assert [row["profile"] for row in found] == ["edge_npu_int8", "narrow_acc_20"]
    kept = [path for path in (tmp_path / "quantized").iterdir() if path.is_dir()]
    assert len(kept) == len({row["calibration_seconds"] for row in found})
    assert f"figure: {tmp_path / 'targets.png'}" in done.err


def test_registers_by_workers_are_those_of_one_process(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    """In waves of three, so that registers are run which a narrower one in the wave proves."""
    bits, rules = REGISTERS
    images = ("--data", demo.folder / "data" / "val", "--limit", 20, "--batch", 10)
    command = ("accumulators", demo.folder, *images, "--bits", bits, "--rules", rules)
    alone, by_workers = tmp_path / "alone", tmp_path / "by_workers"
    planned = warm(*command, "--dry-run", "--out", alone)
    assert planned.out.splitlines()[0] == "12 bits, wrap"
    assert "12 of 12 widths are left" in planned.out
    assert not alone.exists()
    warm(*command, "--out", alone)
    aocq(*command, "--workers", 3, "--out", by_workers)
    ours, theirs = (
        json.loads((folder / "accumulators.json").read_text("utf-8"))
        for folder in (by_workers, alone)
    )
    for record in (ours, theirs):
        del record["command"]
        for row in record["rows"]:
            del row["seconds"]
    assert ours == theirs
    assert sum(row["graph_sha256"] is None for row in ours["rows"]) > 1
    assert {path.name for path in by_workers.iterdir()} == {path.name for path in alone.iterdir()}
    assert "0 of 12 widths are left" in warm(*command, "--dry-run", "--out", by_workers).out
