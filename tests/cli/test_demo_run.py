# SPDX-License-Identifier: Apache-2.0
"""The demo, and the same job asked for in other words."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import RUN_FILES, Demo, Finished, digests, record

from aocq.records.layers import LayerRow
from aocq.records.run import RunResult
from aocq.records.run_folder import load_run

Run = Callable[..., Finished]


@pytest.fixture(scope="module")
def again(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The demo's job with other threads, another backend, and gates that cannot hold."""
    folder = tmp_path_factory.mktemp("again")
    gates = ("--max-latency-ms", 1e-9, "--max-drop", -100, "--min-agreement", 99)
    engine = ("--threads", 3, "--gemm", "numba")
    return folder, warm(*demo.verify, "--out", folder, *engine, *gates, "--json", code=1)


def test_the_demo_takes_less_than_a_minute_and_says_where_its_report_is(demo: Demo) -> None:
    assert demo.process.seconds < 60
    assert demo.process.err.endswith(f"report: {demo.folder / 'report.html'}\n")
    assert re.search(r"^verdict +YES", demo.process.out, re.MULTILINE)
    gate = r"drop of top-1 +≤ 5 points +\S+ points +-\S+ to \S+ +pass \(by the point estimate\)"
    assert re.search(gate, demo.process.out)
    assert "evaluate: 360/360" in demo.process.err
    assert "evaluate" not in demo.process.out


def test_the_demo_leaves_all_files_of_a_run_and_its_images(demo: Demo) -> None:
    names = {path.name for path in demo.folder.iterdir()}
    assert names == {*RUN_FILES, "data"}
    assert len(list((demo.folder / "data").rglob("*.png"))) == 488


def test_the_record_of_the_demo_is_complete(demo: Demo) -> None:
    plain = json.loads((demo.folder / "run.json").read_text(encoding="utf-8"))
    assert set(plain) == set(RunResult.model_fields)
    result, rows = load_run(demo.folder)
    assert result.graph.float_ops == 0
    assert result.graph.ops == len(rows)
    assert result.accuracy.images == 360
    assert result.accuracy.skipped_images == []
    assert (result.accuracy.sqnr_images, result.accuracy.differing_images) == (32, 4)
    assert result.accuracy.score("float") >= 97
    assert abs(result.accuracy.drop) <= 1
    assert result.verdict.feasible
    assert result.verdict.failed == []
    paired = result.accuracy.paired
    assert paired is not None
    for first in ("float", "simulated"):
        counts = paired.float_integer if first == "float" else paired.simulated_integer
        right = 100 * (counts.both_right + counts.only_first_right) / 360
        assert right == getattr(result.accuracy, first)["top1"]
    assert {"aocq", "torch", "timm", "numpy", "numba", "python"} <= set(result.versions)
    assert result.method.calibration_images == 128
    assert (result.method.weight_bits, result.method.activation_bits) == (4, 8)


def test_the_table_of_layers_has_every_op(demo: Demo) -> None:
    with (demo.folder / "layers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == set(LayerRow.model_fields)
    by_name = {row["op"]: row for row in rows}
    assert by_name["blocks.1.attn.scores"]["kind"] == "matmul"
    assert float(by_name["head"]["sqnr_db"]) > 10
    assert sum(int(row["elements"]) for row in rows if row["op"] == "head") == 3600


def test_the_report_of_the_demo_is_one_page_that_loads_nothing(demo: Demo) -> None:
    page = (demo.folder / "report.html").read_text(encoding="utf-8")
    assert "vit_nano_digits" in page
    assert not re.search(r"<(?:script|link|img|iframe)[^>]*\b(?:src|href)=\"(?!data:)", page)
    assert "@import" not in page
    assert not re.search(r"url\(\s*['\"]?(?!#|data:)", page)


def test_gates_that_fail_give_exit_code_1_and_a_complete_run(
    again: tuple[Path, Finished],
) -> None:
    folder, process = again
    result, _ = load_run(folder)
    assert not result.verdict.feasible
    assert result.accuracy.agreement.integer_float > 99
    assert len(result.verdict.failed) == 2
    for failure in result.verdict.failed:
        assert f"gate failed: {failure}" in process.err
    assert "ESTIMATED latency is" in process.err
    assert "points below float (95 %: " in process.err
    # If all of 360 images agree, that shows no more than some 98.98 % of all.
    assert "gate undecided: integer agrees with float on " in process.err
    outcomes = {found.name: found.outcome for found in result.verdict.results}
    assert outcomes == {
        **dict.fromkeys(("fits_sram", "placed", "reported_overflow"), "pass"),
        **{"max_drop": "fail", "min_agreement": "undecided", "max_latency_ms": "fail"},
    }
    assert {path.name for path in folder.iterdir()} == set(RUN_FILES)


def test_json_is_all_that_is_printed_on_stdout(again: tuple[Path, Finished]) -> None:
    folder, process = again
    assert json.loads(process.out) == json.loads((folder / "run.json").read_text("utf-8"))
    assert process.out == (folder / "run.json").read_text("utf-8")
    assert "evaluate: 360/360" in process.err


def test_the_same_job_gives_the_same_bytes_on_any_threads_and_backend(
    demo: Demo, again: tuple[Path, Finished]
) -> None:
    folder, _ = again
    ours, theirs = digests(demo.folder), digests(folder)
    for name in RUN_FILES:
        if not name.startswith(("run", "report", "manifest")):
            assert ours[name] == theirs[name], name
    assert record(folder) == record(demo.folder)
    emulations = [load_run(path)[0].emulation for path in (demo.folder, folder)]
    assert emulations[1].gemm_backend == "numba"
    assert emulations[1].threads == 3


def test_every_product_is_on_record_with_its_backend_and_the_reason(
    demo: Demo, again: tuple[Path, Finished]
) -> None:
    for folder, forced in ((demo.folder, None), (again[0], "numba")):
        result, rows = load_run(folder)
        emulation = result.emulation
        named = [name for product in emulation.products for name in product.ops]
        assert sorted(named) == sorted(row.op for row in rows if row.kind == "matmul")
        used = {product.backend for product in emulation.products}
        assert used == {*emulation.gemm_backend.split(", ")}
        assert emulation.processor
        reasons = {product.reason for product in emulation.products}
        assert (reasons == {"asked for: --gemm numba"}) == (forced is not None)


def test_the_command_is_on_record(demo: Demo, again: tuple[Path, Finished]) -> None:
    command = load_run(again[0])[0].command
    assert command[:3] == ["aocq", "verify", "vit_nano_digits"]
    assert command[3:] == [str(part) for part in demo.verify[2:]] + command[len(demo.verify) + 1 :]
    assert load_run(demo.folder)[0].command[:2] == ["aocq", "demo"]
