# SPDX-License-Identifier: Apache-2.0
"""One network on many chips: shared calibrations, chips that cannot, the table and its figure."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from command_line import Demo, Finished

from aocq.records.run_folder import load_run
from simulator.profile import profile_paths

Run = Callable[..., Finished]
SMALL = ("--method", "base_ptq", "--limit", 20, "--batch", 10, "--calib", 16)
MODEL = "vit_nano_digits"


def chip(folder: Path, name: str, *changes: tuple[str, str]) -> Path:
    """Write ``edge_npu_int8`` under another name, with other lines."""
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    for old, new in (('name = "edge_npu_int8"', f'name = "{name}"'), *changes):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / f"{name}.toml"
    path.write_text(text, "utf-8")
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Targets(NamedTuple):
    """A table of five chips, and what the command said."""

    folder: Path
    command: tuple[object, ...]
    profiles: tuple[object, ...]
    process: Finished


@pytest.fixture(scope="module")
def targets(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Targets:
    made = tmp_path_factory.mktemp("profiles")
    register = "bits = 32, overflow"
    profiles = (
        "edge_npu_int8",
        "edge_npu_a4",
        chip(made, "wraps_at_13", (register, "bits = 13, overflow")),
        chip(made, "tiny_sram", ("sram_bytes = 524288", "sram_bytes = 4096")),
        chip(
            made,
            "no_overflow",
            (register, "bits = 13, overflow"),
            ('bias = "preload"', 'policy = "error"\nbias = "preload"'),
        ),
    )
    folder = tmp_path_factory.mktemp("targets")
    data = ("--data", demo.folder / "data" / "val", "--calib-data", demo.folder / "data" / "calib")
    command = ("targets", MODEL, *data, *SMALL, "--out", folder)
    done = warm(*command, "--profiles", ",".join(map(str, profiles)), code=3)
    return Targets(folder, command, profiles, done)


def test_every_chip_is_a_row_with_the_figures_of_its_run(targets: Targets) -> None:
    found = {row["profile"]: row for row in rows(targets.folder / "targets.csv")}
    assert list(found) == [
        *("edge_npu_int8", "edge_npu_a4", "wraps_at_13", "tiny_sram", "no_overflow")
    ]
    for name in ("edge_npu_int8", "wraps_at_13", "tiny_sram"):
        row = found[name]
        assert row["run"] == f"{MODEL}/base_ptq-w8a8-{name}"
        result, _ = load_run(targets.folder / row["run"])
        assert result.profile.name == name
        assert float(row["integer_top1"]) == result.accuracy.score("integer")
        assert int(row["persistent"]) == result.overflow.persistent
        assert int(row["transient"]) == result.overflow.transient
        assert int(row["overflowed"]) == result.overflow.events
        assert int(row["least_headroom_bits"]) == result.overflow.least_headroom_bits
        assert int(row["cycles"]) == result.cycles.total
        assert float(row["latency_ms"]) == result.latency_ms
        assert int(row["sram_bytes"]) == result.memory.sram_bytes
    assert int(found["edge_npu_int8"]["overflowed"]) == 0
    assert int(found["wraps_at_13"]["persistent"]) > 0
    assert int(found["wraps_at_13"]["least_headroom_bits"]) < 0
    assert found["tiny_sram"]["feasible"] == "False"
    assert "the profile has 4.00 KiB" in found["tiny_sram"]["reason"]


def test_chips_that_cannot_are_rows_with_their_reason_and_stop_no_other(targets: Targets) -> None:
    found = {row["profile"]: row for row in rows(targets.folder / "targets.csv")}
    assert found["edge_npu_a4"]["note"].startswith("no run: profile edge_npu_a4: activation.bits")
    assert found["edge_npu_a4"]["note"].endswith("; choose another --bits, or verify it on its own")
    for option in ("--a-bits", "--profile"):
        assert option not in found["edge_npu_a4"]["note"]
        assert option not in targets.process.err
    assert "no run: op " in found["no_overflow"]["note"]
    assert "sums overflowed the accumulator (all:13 wrap" in found["no_overflow"]["note"]
    assert found["no_overflow"]["integer_top1"] == ""
    assert "error: 2 of 5 cells could not be run" in targets.process.err


def test_chips_that_want_the_same_calibration_share_it(targets: Targets) -> None:
    assert targets.process.err.count("quantize with base_ptq") == 1
    [kept] = (targets.folder / "quantized").iterdir()
    # What is shared is what a run alone would have decided: its model is in its own folder too.
    for name in ("edge_npu_int8", "wraps_at_13"):
        own = targets.folder / MODEL / f"base_ptq-w8a8-{name}"
        file = "quantized.safetensors"
        assert (own / file).read_bytes() == (kept / file).read_bytes()
        alone, shared = (
            json.loads((folder / "quantized.json").read_text("utf-8")) for folder in (own, kept)
        )
        # Room for biases, which these chips have, is made for each chip.
        assert alone["limits"].pop("bias_bits") in {13, 32}
        assert shared["limits"].pop("bias_bits") is None
        # Only the method aocq makes room for sums.
        assert alone["limits"].pop("sum_bits") in {13, None}
        assert shared["limits"].pop("sum_bits") is None
        assert alone == shared
    seconds = {row["calibration_seconds"] for row in rows(targets.folder / "targets.csv")}
    assert len(seconds - {""}) == 1


def test_a_shared_calibration_gives_the_graph_of_a_run_of_its_own(
    warm: Run, targets: Targets, tmp_path: Path
) -> None:
    _, model, *rest = targets.command
    alone = ("verify", model, *rest[:-1], tmp_path, "--profile", targets.profiles[2])
    warm(*alone, "--max-drop", 100)
    shared = load_run(targets.folder / MODEL / "base_ptq-w8a8-wraps_at_13")[0]
    own = load_run(tmp_path)[0]
    assert own.graph == shared.graph
    assert own.accuracy == shared.accuracy
    assert own.overflow == shared.overflow


def test_the_table_names_what_chips_have_in_common_once_and_cuts_nothing(targets: Targets) -> None:
    first, *_ = targets.process.out.splitlines()
    assert first == (f"model {MODEL}, method base_ptq, W/A 8/8, data val, classes 10, images 20")
    head = next(line for line in targets.process.out.splitlines() if "persistent" in line)
    assert head.split()[0] == "profile"
    assert len(head) <= 155
    assert "tiny_sram: activations need" in targets.process.out
    assert "no_overflow: no run: op " in targets.process.out
    assert "ESTIMATED" in targets.process.out
    assert "…" not in targets.process.out
    text = (targets.folder / "targets.md").read_text("utf-8")
    assert "| vit_nano_digits | base_ptq | 8/8 | wraps_at_13 |" in text


def test_the_figure_is_written_as_svg_and_png(targets: Targets) -> None:
    svg = (targets.folder / "targets.svg").read_text("utf-8")
    assert "wraps_at_13" in svg
    assert "edge_npu_a4 (no run)" in svg
    assert "not feasible" in svg
    assert "5 chips, 3 of them run, feasible on 2." in svg
    assert (targets.folder / "targets.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"figure: {targets.folder / 'targets.png'}" in targets.process.err


def test_the_same_command_takes_finished_chips_and_new_ones_find_the_calibration(
    warm: Run, targets: Targets, tmp_path: Path
) -> None:
    folder = tmp_path / "targets"
    shutil.copytree(targets.folder, folder)
    new = chip(tmp_path, "saturates", ('32, overflow = "wrap"', '16, overflow = "saturate"'))
    chosen = f"edge_npu_int8,{targets.profiles[3]},{new}"
    done = warm(*targets.command[:-1], folder, "--profiles", chosen)
    assert done.err.count("finished before") == 2
    assert "quantize with" not in done.err
    assert [row["profile"] for row in rows(folder / "targets.csv")] == [
        *("edge_npu_int8", "tiny_sram", "saturates")
    ]
    plain = json.loads((folder / "targets.json").read_text("utf-8"))
    assert plain["title"] == "vit_nano_digits on 3 hardware profiles"


def test_runs_on_several_chips_are_compared_as_chips(
    warm: Run, targets: Targets, tmp_path: Path
) -> None:
    done = warm("compare", targets.folder, "--out", tmp_path)
    found = rows(tmp_path / "compare.csv")
    assert [row["profile"] for row in found] == ["edge_npu_int8", "tiny_sram", "wraps_at_13"]
    ours = {row["profile"]: row for row in rows(targets.folder / "targets.csv")}
    for row in found:
        assert {**row, "run": ""} == {**ours[row["profile"]], "run": ""}
    assert "headroom" in done.out
    assert "tiny_sram: activations need" in done.out


def test_gates_judge_every_chip_and_finished_runs_again(
    warm: Run, targets: Targets, tmp_path: Path
) -> None:
    folder = tmp_path / "targets"
    shutil.copytree(targets.folder, folder)
    chosen = f"edge_npu_int8,{targets.profiles[2]},{targets.profiles[4]}"
    command = (*targets.command[:-1], folder, "--profiles", chosen, "--junit", tmp_path / "x.xml")
    done = warm(*command, "--no-overflow", "--max-drop", 1, code=3)
    assert done.err.count("finished before") == 2
    assert "gate undecided: edge_npu_int8: integer top-1 is" in done.err
    assert re.search(r"gate failed: wraps_at_13: [\d,]+ sums overflowed in the run", done.err)
    found = {row["profile"]: row for row in rows(folder / "targets.csv")}
    assert found["edge_npu_int8"]["answer"] == "UNDECIDED"
    assert found["wraps_at_13"]["answer"] == "NO"
    assert "points below float" in found["wraps_at_13"]["reason"]
    for name in ("edge_npu_int8", "wraps_at_13"):
        run = folder / MODEL / f"base_ptq-w8a8-{name}"
        assert {*load_run(run)[0].verdict.gates} == {"max_drop", "no_overflow"}
        assert "overflow in the run" in (run / "report.md").read_text("utf-8")
    suite = ElementTree.parse(tmp_path / "x.xml").getroot()[0]
    assert {case.get("classname") for case in suite} == {
        f"{MODEL} on {name}" for name in ("edge_npu_int8", "wraps_at_13", "no_overflow")
    }
    assert suite.get("errors") == "1", "one was not run"
    # Without the chip that cannot be run the verdicts are the code; without gates nothing is.
    two = (*command[:-3], f"edge_npu_int8,{targets.profiles[2]}", "--max-drop", 100)
    warm(*two, "--no-overflow", code=1)
    warm(*two[:-2])
    assert load_run(folder / MODEL / "base_ptq-w8a8-wraps_at_13")[0].verdict.gates == {}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--bits", "8/8,4/8"), "one pair, e.g. 8/8"),
        (("--profiles", "edge_npu_int8,"), "a name is missing beside a comma"),
    ],
)
def test_what_is_no_table_of_chips_is_a_usage_error(
    warm: Run, targets: Targets, option: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = warm(*targets.command[:-1], tmp_path / "out", *option, code=2)
    assert message in done.err
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_and_unknown_names_are_refused(
    warm: Run, targets: Targets, tmp_path: Path
) -> None:
    copy = shutil.copy(profile_paths()["edge_npu_int8"], tmp_path / "copy.toml")
    command = (*targets.command[:-1], tmp_path / "out", "--profiles")
    assert "are both edge_npu_int8" in warm(*command, f"edge_npu_int8,{copy}", code=2).err
    assert "profile nothing: neither" in warm(*command, "edge_npu_int8,nothing", code=3).err


def test_of_all_chips_only_those_that_can_hold_the_widths_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    from aocq.cli import targets
    from aocq.cli.requests import RunOptions
    from aocq.jobs.request import ModelRequest
    from aocq.recipes.recipe import Recipe
    from aocq.sweeps.cells import cell
    from reports.rows import TableRow

    cells, table = [], []
    for name in ("edge_npu_a4", "edge_npu_int8"):
        request = RunOptions().request(
            ModelRequest(name="m"),
            Path("d"),
            profile=name,
            method="base_ptq",
            recipe=Recipe(),
            out=Path("o"),
        )
        cells.append(cell(request, Recipe(), {"profile": name}))
        table.append(TableRow(model="m", method="base_ptq", w_bits=8, a_bits=8))
    assert targets.asked_for(cells, table) == table[1:]
    assert targets.asked_for(cells[:1], table[:1]) == table[:1], "none can: that is a failure"
