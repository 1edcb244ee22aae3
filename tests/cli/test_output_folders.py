# SPDX-License-Identifier: Apache-2.0
"""Output folders: one command at a time, results of one run, nothing lost, nothing made twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from command_line import Demo, Finished, digests, record

from aocq.records.publishing import claimed
from aocq.records.run_folder import load_run

Run = Callable[..., Finished]
SMALL = ("--method", "base_ptq", "--limit", 20, "--batch", 10, "--calib", 16)
PAGES = {"report.html", "report.md"}


@pytest.fixture(scope="module")
def small(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run, which nobody writes into."""
    folder = tmp_path_factory.mktemp("small") / "run"
    warm(*demo.verify, *SMALL, "--out", folder)
    return folder


@pytest.fixture
def again(small: Path, demo: Demo, warm: Run, tmp_path: Path) -> Iterator[Run]:
    """The same job in a copy of its folder, ``again.folder``."""
    folder = tmp_path / "copy"
    shutil.copytree(small, folder)

    def run(*options: object, code: int = 0) -> Finished:
        return warm(*demo.verify, *SMALL, *options, "--out", folder, code=code)

    return run


def changed(folder: Path, small: Path) -> set[str]:
    now, before = digests(folder), digests(small)
    return {name for name in now.keys() | before.keys() if now.get(name) != before.get(name)}


# --- finished runs --------------------------------------------------------------------------------


def test_another_gate_judges_the_finished_run_and_makes_nothing_again(
    again: Run, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    done = again("--max-drop", -100, code=1)
    assert f"note: finished before: took the run in {folder}; nothing is computed again" in done.err
    for work in ("quantize", "evaluate", "capture"):
        assert work not in done.err
    assert "gate failed: integer top-1 is" in done.err
    assert changed(folder, small) == {"run.json", "manifest.json", *PAGES}
    result, _ = load_run(folder)
    assert result.verdict.gates == {"max_drop": -100}
    assert result.command[-4:-2] == ["--max-drop", "-100"]
    assert "allowed -100" in (folder / "report.html").read_text("utf-8")
    assert record(folder) == record(small)
    # And back: everything but the command is as it was.
    again()
    assert "allowed -100" not in (folder / "report.html").read_text("utf-8")
    assert load_run(folder)[0].verdict == load_run(small)[0].verdict
    assert not (folder / ".work").exists()


@pytest.mark.parametrize("other", [("--limit", 10), ("--w-bits", 8), ("--gemm", "numba")])
def test_another_request_is_computed(again: Run, tmp_path: Path, other: tuple[object, ...]) -> None:
    done = again(*other)
    what = "the finished run of vit_nano_digits on edge_npu_int8"
    replaced = f"note: replaces {what} in {tmp_path / 'copy'}"
    assert (replaced in done.err) == (other != ("--gemm", "numba")), "which is of the same request"
    assert "finished before" not in done.err
    assert "evaluate" in done.err


@pytest.mark.parametrize("name", ["layers.csv", "graph.json", "quantized.safetensors", "run.json"])
def test_a_run_that_was_edited_is_not_taken(again: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / "copy" / name
    before = path.read_bytes()
    path.write_bytes(before[:-2] + b" " + before[-2:])
    done = again()
    assert "finished before" not in done.err
    if name != "run.json":
        assert path.read_bytes() == before


def test_missing_pages_are_drawn_again(again: Run, tmp_path: Path) -> None:
    page = tmp_path / "copy" / "report.html"
    page.unlink()
    assert "finished before" in again().err
    assert page.exists()


def test_a_report_judges_by_the_gates_it_is_given_and_the_run_stays_finished(
    again: Run, warm: Run, without_torch: Run, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    done = without_torch("report", folder, "--max-latency-ms", 1e-6, code=1)
    assert done.out == f"{folder / 'report.html'}\n"
    assert "gate failed: ESTIMATED latency is" in done.err
    assert changed(folder, small) == {"run.json", "manifest.json", *PAGES}
    assert load_run(folder)[0].verdict.gates == {"max_latency_ms": 1e-6}
    assert load_run(folder)[0].command == load_run(small)[0].command
    assert "ESTIMATED latency is" in (folder / "report.md").read_text("utf-8")
    without_torch("report", folder, "--max-drop", 100)
    assert "max drop 100" in (folder / "report.md").read_text("utf-8")
    printed = without_torch("report", small, "--markdown", "--max-drop", -100, code=1)
    assert "allowed -100" in printed.out
    assert "finished before" in again().err
    # Elsewhere: pages alone, and never over those of another run.
    without_torch("report", folder, "--max-drop", -100, "--out", tmp_path / "pages", code=1)
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {*PAGES, "manifest.json"}
    refused = without_torch("report", folder, "--out", small, code=3)
    assert "holds a finished run" in refused.err


def test_a_run_without_a_manifest_still_has_its_pages_drawn(
    without_torch: Run, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "older"
    shutil.copytree(small, folder)
    (folder / "manifest.json").unlink()
    for _ in range(2):
        without_torch("report", folder, "--max-drop", -100, code=1)
        assert load_run(folder)[0].verdict.gates == {"max_drop": -100}
    assert digests(folder).keys() == digests(small).keys()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "101"])
def test_gates_are_numbers_in_their_range(without_torch: Run, small: Path, value: str) -> None:
    before = digests(small)
    for option in ("--max-drop", "--min-agreement", "--max-latency-ms", "--min-fps"):
        if value != "101" or option in ("--max-drop", "--min-agreement"):
            assert option in without_torch("report", small, f"{option}={value}", code=2).err
            command = ("verify", "vit_nano_digits", "--data", ".", "--out", small)
            assert option in without_torch(*command, f"{option}={value}", code=2).err
    assert digests(small) == before


# --- one at a time, and where none can write ------------------------------------------------------


def commands(demo: Demo, small: Path) -> dict[str, tuple[object, ...]]:
    """Every command that writes a folder, but for --out."""
    val, calib = demo.folder / "data" / "val", demo.folder / "data" / "calib"
    table = ("vit_nano_digits", "--data", val, "--calib-data", calib, "--limit", 4, "--calib", 8)
    return {
        "verify": (*demo.verify, *SMALL),
        "demo": ("demo",),
        "quantize": ("quantize", "vit_nano_digits", "--calib-data", calib, "--calib", 8),
        "lower": ("lower", small),
        "simulate": ("simulate", small, "--data", val, "--limit", 4),
        "table2": ("table2", *table),
        "sizes": ("table2", "vit_nano_digits"),
        "targets": ("targets", *table, "--profiles", "edge_npu_int8"),
        "ablate": ("ablate", *table),
        "accumulators": ("accumulators", small, "--data", val, "--limit", 4, "--bits", 24),
        "figures": ("figures", small, "--data", val, "--images", 1),
        "compare": ("compare", small),
        "report": ("report", small),
    }


def test_a_folder_that_another_command_writes_into_is_refused(
    warm: Run, demo: Demo, small: Path, tmp_path: Path
) -> None:
    with claimed(tmp_path):
        for name, command in commands(demo, small).items():
            done = warm(*command, "--out", tmp_path, code=3)
            assert f"error: {tmp_path}: another command writes into it (process " in done.err, name
            assert {path.name for path in tmp_path.iterdir()} == {".work"}, name
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_nobody_can_write_is_refused_before_any_work(
    warm: Run, demo: Demo, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    for place in (Path("/proc/nowhere/out"), tmp_path / "file" / "out", tmp_path / ("x" * 300)):
        for name, command in commands(demo, small).items():
            done = warm(*command, "--out", place, code=3)
            assert f"error: {place}: cannot be written" in done.err, name
            assert "quantize with" not in done.err, name
            assert "capture" not in done.err, name
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_stands_in_the_way_is_said_before_any_work_and_nothing_is_lost(
    again: Run, small: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    (folder / "report.html").rename(tmp_path / "report.html")
    (folder / "report.html").mkdir()
    (folder / "report.html" / "mine").write_text("mine", "utf-8")
    done = again("--w-bits", 8, code=3)
    assert f"error: {folder / 'report.html'}: is a folder" in done.err
    assert "quantize with" not in done.err
    assert changed(folder, small) == {"report.html", "report.html/mine"}


# --- results of one command -----------------------------------------------------------------------


def test_codes_of_an_earlier_longer_run_do_not_stay(
    without_torch: Run, demo: Demo, small: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "codes.npy", np.zeros((2, 3, 8, 8), np.int8))
    out = tmp_path / "codes"
    command = ("simulate", small, "--inputs", tmp_path / "codes.npy", "--out", out)
    without_torch(*command, "--tap", "blocks.0.add", "--tap", "image")
    assert digests(out).keys() == {
        *("manifest.json", "head.00000.npy", "image.00000.npy", "blocks.0.add.00000.npy")
    }
    without_torch(*command)
    assert digests(out).keys() == {"manifest.json", "head.00000.npy"}
    assert not (out / ".work").exists()
    (out / "notes.txt").write_text("mine", "utf-8")
    done = without_torch(*command, "--tap", "image", code=3)
    assert f"error: {out}: holds notes.txt, which no command is known to have written" in done.err
    assert digests(out).keys() == {"manifest.json", "head.00000.npy", "notes.txt"}
    assert "holds a finished run" in without_torch(*command[:-1], small, code=3).err


def test_a_simulation_that_fails_leaves_the_earlier_codes(
    without_torch: Run, small: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "good.npy", np.zeros((1, 3, 8, 8), np.int8))
    np.save(tmp_path / "bad.npy", np.zeros((1, 9, 9, 9), np.int8))
    out = tmp_path / "codes"
    without_torch("simulate", small, "--inputs", tmp_path / "good.npy", "--out", out)
    before = digests(out)
    command = ("simulate", small, "--inputs", tmp_path / "bad.npy")
    without_torch(*command, "--out", out, code=3)
    without_torch(*command, "--out", tmp_path / "new", code=3)
    assert digests(out) == before
    assert not (out / ".work").exists()
    assert not (tmp_path / "new").exists()


def test_figures_of_two_runs_do_not_stay_beside_those_of_one(
    warm: Run, demo: Demo, small: Path, tmp_path: Path
) -> None:
    data = ("--data", demo.folder / "data" / "val", "--images", 1, "--out", tmp_path)
    warm("figures", small, demo.folder, *data)
    assert {"magnitudes-1.svg", "magnitudes-2.svg"} < digests(tmp_path).keys()
    warm("figures", small, *data)
    assert digests(tmp_path).keys() == {"manifest.json", "magnitudes-1.svg", "density.svg"}


def test_a_graph_of_another_model_does_not_stay(warm: Run, demo: Demo, tmp_path: Path) -> None:
    quantize = commands(demo, tmp_path)["quantize"]
    warm(*quantize, "--method", "base_ptq", "--out", tmp_path)
    warm("lower", tmp_path)
    assert "graph.json" in digests(tmp_path)
    warm(*quantize, "--method", "fq_vit", "--out", tmp_path)
    assert digests(tmp_path).keys() == {
        *("manifest.json", "quantized.json", "quantized.safetensors")
    }


def test_a_record_that_was_changed_since_is_said(earlier_run: Path, without_torch: Run) -> None:
    text = (earlier_run / "run.json").read_text("utf-8")
    try:
        changed = text.replace('"top5": 100.0', '"top5": 99.0', 1)
        assert changed != text
        (earlier_run / "run.json").write_text(changed, "utf-8")
        for command in (("report", earlier_run, "--markdown"), ("compare", earlier_run)):
            done = without_torch(*command)
            assert "run.json: is not what the run wrote" in done.err
    finally:
        (earlier_run / "run.json").write_text(text, "utf-8")
    assert "is not what" not in without_torch("report", earlier_run, "--markdown").err
