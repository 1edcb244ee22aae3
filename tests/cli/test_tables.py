# SPDX-License-Identifier: Apache-2.0
"""Tables of many runs: what they write, what they take up again, what they refuse."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import Demo, Finished, Forking

from aocq.records.run_folder import load_run
from reports.alike import DIFFERENT_DATA

Run = Callable[..., Finished]
SMALL = ("--limit", 20, "--batch", 10, "--calib", 16)
NAMES = ("base_ptq-w8a8", "base_ptq-w4a8", "fq_vit-w8a8", "fq_vit-w4a8")
FOLDER = "vit_nano_digits"


def job(demo: Demo, command: str = "table2") -> tuple[object, ...]:
    data = demo.folder / "data"
    return (command, FOLDER, "--data", data / "val", "--calib-data", data / "calib", *SMALL)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path) -> dict[str, int]:
    """When every run below a folder was written."""
    return {
        path.parent.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*/*/run.json"))
    }


class Table(NamedTuple):
    """A table of four runs and what the command said."""

    folder: Path
    process: Finished


@pytest.fixture(scope="module")
def table(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("table")
    done = warm(*job(demo), "--methods", "base_ptq,fq_vit", "--out", folder)
    return Table(folder, done)


def test_every_cell_is_an_ordinary_run_and_a_row_with_its_figures(table: Table) -> None:
    found = rows(table.folder / "table2.csv")
    assert [row["run"] for row in found] == [f"{FOLDER}/{name}" for name in NAMES]
    for row in found:
        result, _ = load_run(table.folder / row["run"])
        assert (table.folder / row["run"] / "report.html").exists()
        assert result.verdict.gates == {}
        assert float(row["integer_top1"]) == result.accuracy.score("integer")
        assert float(row["delta"]) == -result.accuracy.drop
        assert int(row["float_ops"]) == result.graph.float_ops
        assert (row["method"], int(row["w_bits"])) == (
            result.method.name,
            result.method.weight_bits,
        )
    plain = json.loads((table.folder / "table2.json").read_text("utf-8"))
    assert len(plain["rows"]) == 4
    assert "| vit_nano_digits | fq_vit | 4/8 |" in (table.folder / "table2.md").read_text("utf-8")


def test_a_network_that_is_built_otherwise_is_so_in_every_cell(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    own = ("--model-kwargs", "drop_rate=0.0", "--preprocessing", "interpolation=bilinear")
    only = ("--methods", "base_ptq", "--bits", "8/8")
    warm(*job(demo), *only, *own, "--limit", 4, "--out", tmp_path)
    (row,) = rows(tmp_path / "table2.csv")
    assert (row["arguments"], row["note"]) == ("drop_rate=0.0", "")
    assert row["run"] == f"{FOLDER},drop_rate=0.0/base_ptq-w8a8"
    assert (row["data"], row["classes"]) == ("val", "10")
    text = (tmp_path / "table2.md").read_text("utf-8")
    assert "In all rows: built with drop_rate=0.0, data val, classes 10, images 4." in text
    model = load_run(tmp_path / row["run"])[0].model
    assert model.arguments == {"drop_rate": 0.0}
    assert model.preprocessing["interpolation"] == "bilinear"


def test_the_table_is_on_stdout_and_all_else_on_stderr(table: Table) -> None:
    assert "float ops" in table.process.out
    assert "note:" not in table.process.out
    assert "note: 4/4 vit_nano_digits fq_vit-w4a8" in table.process.err
    assert table.process.err.endswith(f"table: {table.folder / 'table2.md'}\n")


def test_finished_cells_are_taken_and_only_others_run(
    warm: Run, demo: Demo, table: Table, tmp_path: Path
) -> None:
    """As if killed after the second cell, and with one cell overwritten by another command."""
    folder = tmp_path / "table"
    shutil.copytree(table.folder, folder)
    shutil.rmtree(folder / FOLDER / "fq_vit-w8a8")
    other = folder / FOLDER / "fq_vit-w4a8"
    warm("verify", *job(demo)[1:], "--method", "base_ptq", "--out", other)
    before = written(folder)
    done = warm(*job(demo), "--methods", "base_ptq,fq_vit", "--out", folder)
    after = written(folder)
    assert after["base_ptq-w8a8"] == before["base_ptq-w8a8"]
    assert after["base_ptq-w4a8"] == before["base_ptq-w4a8"]
    assert after["fq_vit-w4a8"] > before["fq_vit-w4a8"]
    assert "fq_vit-w8a8" in after
    assert done.err.count("finished before") == 2
    seconds = "calibration_seconds"
    ours, theirs = rows(folder / "table2.csv"), rows(table.folder / "table2.csv")
    assert [{**r, seconds: ""} for r in ours] == [{**r, seconds: ""} for r in theirs]


@pytest.mark.parametrize("other", [("--limit", 10), ("--calib", 8), ("--seed", 3)])
def test_another_request_takes_no_finished_cell(
    warm: Run, demo: Demo, table: Table, tmp_path: Path, other: tuple[object, ...]
) -> None:
    folder = tmp_path / "table"
    shutil.copytree(table.folder, folder)
    before = written(folder)
    only = ("--methods", "base_ptq", "--bits", "4/8")
    done = warm(*job(demo), *only, *other, "--out", folder)
    assert "finished before" not in done.err
    assert written(folder)["base_ptq-w4a8"] > before["base_ptq-w4a8"]


def test_a_killed_table_goes_on_where_it_stopped(
    warm: Run, forking: Forking, demo: Demo, tmp_path: Path
) -> None:
    command = (*job(demo), "--methods", "base_ptq", "--out", tmp_path)
    first = tmp_path / FOLDER / "base_ptq-w8a8"
    killed = forking.stopped(*command, when=(first / "manifest.json").exists, signal=9)
    assert killed.code == -9
    before = written(tmp_path)
    assert "base_ptq-w8a8" in before
    done = warm(*command)
    assert "1/2 vit_nano_digits base_ptq-w8a8: finished before" in done.err
    assert written(tmp_path)["base_ptq-w8a8"] == before["base_ptq-w8a8"]
    assert len(rows(tmp_path / "table2.csv")) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--methods", "base_ptq,nothing"), "no method 'nothing'"),
        (("--bits", "8/8,4-8"), "'4-8' is not WEIGHTS/ACTIVATIONS"),
        (("--bits", "9/8"), "'9/8' is not WEIGHTS/ACTIVATIONS"),
        (("--bits", "8/9"), "'8/9' is not WEIGHTS/ACTIVATIONS"),
        (("--bits", "16/16"), "'16/16' is not WEIGHTS/ACTIVATIONS"),
        ((f"{FOLDER}=weights.safetensors",), "a network is named twice"),
    ],
)
def test_what_a_table_cannot_be_made_of_is_a_usage_error(
    warm: Run, demo: Demo, option: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = warm(*job(demo), *option, "--out", tmp_path / "table", code=2)
    assert message in done.err
    assert not (tmp_path / "table").exists()


def test_widths_are_pairs_in_the_order_given_each_once() -> None:
    from aocq.cli.sweeps import parse_widths

    assert parse_widths("8/16, 4/8,8/16,2/3") == [(8, 16), (4, 8), (2, 3)]


def test_a_cell_that_no_profile_holds_is_refused_before_the_first_run(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    done = warm(*job(demo), "--methods", "base_ptq", "--bits", "8/8,5/8", "--out", tmp_path, code=3)
    assert "weight.bits = [8, 4, 3] has no 5" in done.err
    assert list(tmp_path.iterdir()) == []


def test_finished_runs_are_compared_whatever_made_them(
    warm: Run, demo: Demo, table: Table, tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "runs.html"
    done = warm("compare", table.folder, demo.folder, "--out", tmp_path, "--html", page)
    assert f"table: {tmp_path / 'compare.md'}\n" in done.err
    assert f"page: {page}\n" in done.err
    links = re.findall(r'href="([^"#]+)"', page.read_text("utf-8"))
    assert len(links) == 5
    assert all((page.parent / link).resolve().is_file() for link in links)
    found = rows(tmp_path / "compare.csv")
    below = [f"{table.folder.name}/{FOLDER}/{name}" for name in sorted(NAMES)]
    assert [row["run"] for row in found] == [*below, demo.folder.name]
    by_name = {row["run"]: row for row in found}
    for row in rows(table.folder / "table2.csv"):
        again = by_name[f"{table.folder.name}/{row['run']}"]
        assert again.pop("profile") == "edge_npu_int8"
        assert {**again, "run": ""} == {**row, "run": ""}
    # However narrow the terminal is, no cell is cut.
    line = next(line for line in done.out.splitlines() if "fq_vit" in line)
    assert "vit_nano_digits" in line
    assert "…" not in done.out
    assert "no run.json in it or below" in warm("compare", tmp_path, code=3).err


def test_runs_on_other_images_are_compared_as_such(
    warm: Run, demo: Demo, table: Table, tmp_path: Path
) -> None:
    """As many, of a folder of the same name: only their digests tell them apart."""
    calib = demo.folder / "data" / "calib"
    moved = shutil.copytree(calib, tmp_path / "other" / "val")
    small = ("--limit", 20, "--calib", 16, "--method", "base_ptq", "--max-drop", 100)
    warm("verify", FOLDER, "--data", moved, "--calib-data", calib, *small, "--out", tmp_path / "o")
    one = table.folder / FOLDER / NAMES[0]
    done = warm("compare", one, tmp_path / "o", "--out", tmp_path / "compare")
    warning, common, *_ = done.out.splitlines()
    assert warning.startswith(f"{DIFFERENT_DATA}: 20 images of val, 10 classes (sha256 ")
    assert common == "classes 10, images 20"
    text = (tmp_path / "compare" / "compare.md").read_text("utf-8")
    assert DIFFERENT_DATA in text
    digests = [row["data_digest"] for row in rows(tmp_path / "compare" / "compare.csv")]
    assert len({*digests}) == 2
    assert all(f"val {digest[:8]}" in text for digest in digests)
    alone = warm("compare", table.folder, "--out", tmp_path / "compare").out
    assert DIFFERENT_DATA not in alone
    assert alone.startswith("data val, classes 10, images 20\n")


def test_folders_of_networks_of_one_name_are_told_apart() -> None:
    from aocq.jobs.request import ModelRequest
    from aocq.sweeps.cells import LONGEST_NAME, network_folder

    def folder(name: str, classes: int | None = None, **arguments: Any) -> str:
        return network_folder(ModelRequest(name=name, classes=classes, arguments=arguments))

    micro: dict[str, Any] = {"img_size": 32, "depths": (2, 2, 2)}
    assert folder("swin.ms_in1k") == "swin.ms_in1k"
    assert folder("swin", **micro) == "swin,img_size=32,depths=2,2,2"
    assert folder("swin", 100, **micro) == "swin,img_size=32,depths=2,2,2,num_classes=100"
    odd = {folder("swin", norm=text) for text in ("../up", "a/b", "a_b", "a b")}
    long = {folder("swin", depths=(2,) * n) for n in (200, 201)}
    assert len(odd) == 4
    assert len(long) == 2
    for name in odd | long:
        assert not {"/", "\\", " "} & {*name}
        assert len(name.encode()) <= LONGEST_NAME + 9


def test_an_ablation_varies_one_level_at_a_time_and_judges_the_streams(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    few = ("--limit", 2, "--calib", 4)
    method = ("--method", "fq_vit", "--preset", "fast", *few, "--out", tmp_path)
    done = warm(*job(demo, "ablate"), *method)
    found = rows(tmp_path / "ablate.csv")
    levels = ("alpha", "scales", "rounding", "loss", "inputs")
    whole = {"alpha": "free", "scales": "s0", "rounding": "gptq"}
    whole |= {"loss": "token_norm", "inputs": "balanced"}
    assert {name: found[0][name] for name in levels} == whole
    changes = [
        {name: row[name] for name in levels if row[name] != whole[name]} for row in found[1:]
    ]
    assert changes == [
        {"alpha": "none"},
        {"inputs": "plain"},
        {"rounding": "nearest"},
        {"loss": "mse"},
        {"alpha": "pot3"},
        {"alpha": "pot5"},
        {"alpha": "pot7"},
        {"scales": "s4"},
        {"rounding": "adaround"},
        {"rounding": "reconstruct"},
    ]
    recipe = load_run(tmp_path / found[8]["run"])[0].method.recipe
    assert recipe["aocq"]["scale_passes"] == 4
    assert "condition numbers: 1/1" in done.err
    conditions = rows(tmp_path / "conditioning.csv")
    assert [row["block"] for row in conditions] == ["blocks.0", "blocks.1"]
    assert conditions[1]["condition"] != conditions[1]["condition_with_alpha"]
    assert "Condition number" in (tmp_path / "ablate.md").read_text("utf-8")


def test_the_full_grid_is_the_product_of_the_levels() -> None:
    from aocq.jobs.ablation import all_combinations
    from aocq.recipes.aocq_options import AocqOptions

    found = list(all_combinations(AocqOptions()))
    assert len(found) == len(set(map(repr, found))) == 5 * 2 * 4 * 2
    assert found[0] == AocqOptions()


def test_figures_of_two_runs_are_files_named_on_stdout(
    warm: Run, demo: Demo, table: Table, tmp_path: Path
) -> None:
    runs = [table.folder / FOLDER / f"{method}-w4a8" for method in ("base_ptq", "fq_vit")]
    data = ("--data", demo.folder / "data" / "val", "--images", 3)
    done = warm("figures", *runs, *data, "--out", tmp_path)
    names = ["density.svg", "magnitudes-1.svg", "magnitudes-2.svg"]
    assert done.out.split() == [str(tmp_path / name) for name in names]
    assert "base_ptq logged no passes of scale refinement" in done.err
    text = (tmp_path / "density.svg").read_text("utf-8")
    assert "base_ptq W4A8" in text
    assert "fq_vit W4A8" in text
    for name, way in (("nope", "`aocq inspect` lists them"), ("haed", "nearest: head")):
        wrong = warm("figures", runs[0], *data, "--tensor", name, "--out", tmp_path, code=3)
        assert f"no tensor {name}; {way}" in wrong.err
    assert "give one run or two" in warm("figures", *runs, runs[0], *data, code=2).err
