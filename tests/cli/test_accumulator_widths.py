# SPDX-License-Identifier: Apache-2.0
"""Accumulator widths: the sweep against single runs, what it proves, and what it takes up again."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from command_line import Demo, Finished

from aocq.cli.accumulators import parse_register_widths, parse_rules, profile_of
from aocq.records.accumulator_widths import SweepRecord, SweepRow, load_sweep
from simulator.profile import load_profile, profile_paths

Run = Callable[..., Finished]
LIMIT = ("--limit", 20, "--batch", 10)
ENDINGS = ("csv", "json", "md", "png", "svg")
FILES = {"manifest.json", *(f"accumulators.{ending}" for ending in ENDINGS)}
COUNTS = ("persistent", "transient", "changed", "least_headroom_bits")


# Every width that is run has a figure drawn.
BITS = "12-13,15,17-18,24"
WIDTHS = (12, 13, 15, 17, 18, 24)


class Sweep(NamedTuple):
    """A sweep of the demo's network over some widths, and what the command said."""

    folder: Path
    record: SweepRecord
    process: Finished


def command(demo: Demo, out: Path) -> tuple[object, ...]:
    data = ("--data", demo.folder / "data" / "val")
    return ("accumulators", demo.folder, *data, *LIMIT, "--out", out)


@pytest.fixture(scope="module")
def sweep(warm: Run, demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("sweep")
    done = warm(*command(demo, folder), "--bits", BITS)
    assert "note: lowering for edge_npu_int8 (as run.json of" in done.err
    record = load_sweep(folder)
    assert record is not None
    return Sweep(folder, record, done)


def alone(
    warm: Run, demo: Demo, folder: Path, bits: int, rule: str
) -> tuple[str, dict[str, object]]:
    """Return hash and figures of one width as `aocq lower` and `aocq simulate` give them."""
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    level = 'bits = 32, overflow = "wrap"'
    assert text.count(level) == 1
    profile = folder / "profile.toml"
    profile.write_text(text.replace(level, f'bits = {bits}, overflow = "{rule}"'), "utf-8")
    graph = warm("lower", demo.folder, "--profile", profile, "--out", folder / "graph").out.strip()
    data = ("--data", demo.folder / "data" / "val", "--limit", 20)
    return graph, json.loads(warm("simulate", folder / "graph", *data, "--json").out)


@pytest.mark.parametrize(("bits", "rule"), [(12, "wrap"), (13, "saturate"), (15, "wrap")])
def test_a_row_has_the_figures_of_a_run_at_that_width(
    warm: Run, demo: Demo, sweep: Sweep, tmp_path: Path, bits: int, rule: str
) -> None:
    graph, found = alone(warm, demo, tmp_path, bits, rule)
    [row] = [r for r in sweep.record.rows if (r.bits, r.overflow) == (bits, rule)]
    assert row.graph_sha256 == graph
    assert {name: getattr(row, name) for name in COUNTS} == {name: found[name] for name in COUNTS}
    assert row.main_score == pytest.approx(found["top1"], abs=1e-4)
    per_op = found["per_op"]
    assert isinstance(per_op, list)
    assert row.outputs == sum(op["outputs"] for op in per_op)
    assert row.overflowing == sum(op["persistent"] + op["transient"] > 0 for op in per_op) > 0
    assert (row.first_persistent, row.first_transient) == (
        per_op[0]["persistent"],
        per_op[0]["transient"],
    )
    assert len(per_op) == sweep.record.accumulators


def test_the_narrowest_exact_width_proves_the_wider_ones(
    warm: Run, demo: Demo, sweep: Sweep, tmp_path: Path
) -> None:
    record, narrowest = sweep.record, sweep.record.exact_from
    assert narrowest is not None
    assert 12 < narrowest < 24
    run = [row for row in record.rows if row.same_as is None]
    proven = [row for row in record.rows if row.same_as is not None]
    assert {row.bits for row in run} == {bits for bits in WIDTHS if bits <= narrowest}
    assert all(row.same_as == (narrowest, "wrap") for row in proven)
    assert len(run) + len(proven) == 2 * len(WIDTHS)
    assert all(row.exact and row.agreement == 100 for row in proven)
    assert all(row.main_score == record.exact_score for row in proven)
    assert not any(row.exact for row in run if row.bits < narrowest)
    # What is said without a run is what a run gives.
    _, found = alone(warm, demo, tmp_path, narrowest + 1, "saturate")
    [row] = [r for r in proven if (r.bits, r.overflow) == (narrowest + 1, "saturate")]
    assert {name: getattr(row, name) for name in COUNTS} == {name: found[name] for name in COUNTS}
    assert row.main_score == pytest.approx(found["top1"], abs=1e-4)


def test_rules_part_where_overflow_changes_what_follows(sweep: Sweep) -> None:
    rows = {(row.bits, row.overflow): row for row in sweep.record.rows}
    for bits in (12, 13):
        wrap, saturate = rows[bits, "wrap"], rows[bits, "saturate"]
        assert wrap.first_persistent == saturate.first_persistent
        assert wrap.first_transient == saturate.first_transient
        # A wrapping register forgives what is transient, a saturating one nothing.
        assert wrap.changed == wrap.persistent
        assert saturate.changed > saturate.persistent
        assert wrap.graph_sha256 != saturate.graph_sha256


def test_table_and_files_are_whole(sweep: Sweep) -> None:
    assert {path.name for path in sweep.folder.iterdir()} == FILES
    with (sweep.folder / "accumulators.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["bits"], row["overflow"]) for row in found] == [
        (str(bits), rule) for bits in WIDTHS for rule in ("wrap", "saturate")
    ]
    for line, row in zip(found, sweep.record.rows, strict=True):
        assert int(line["persistent"]) == row.persistent
        assert float(line["top1"]) == row.main_score
        assert line["exact"] == ("yes" if row.exact else "no")
    text = (sweep.folder / "accumulators.md").read_text("utf-8")
    assert f"At {sweep.record.exact_from} bits nothing overflows" in text
    assert f"| 24 | saturate | {sweep.record.exact_score:.2f} |" in text
    assert "persistent" in sweep.process.out
    assert f"At {sweep.record.exact_from} bits nothing overflows" in sweep.process.out
    assert sweep.process.err.count("20/20") == 1 + sum(r.same_as is None for r in sweep.record.rows)


def test_finished_widths_are_taken_and_others_run(
    warm: Run, demo: Demo, sweep: Sweep, tmp_path: Path
) -> None:
    """As if killed before the last widths were run."""
    folder = tmp_path / "sweep"
    warm(*command(demo, folder), "--bits", "12-13")
    done = warm(*command(demo, folder), "--bits", "12-13,15")
    assert done.err.count("finished before") == 4
    assert "exact integers" not in done.err
    assert "13 bits, wrap: 20/20" not in done.err
    assert "15 bits, wrap: 20/20" in done.err
    again = load_sweep(folder)
    assert again is not None
    assert len(again.rows) == 6
    assert timeless(again) == timeless(sweep.record)[:6]
    others = {"command": [], "rows": []}
    assert again.model_copy(update=others) == sweep.record.model_copy(update=others)


def timeless(record: SweepRecord) -> list[SweepRow]:
    """Return the rows of a sweep without how long each took."""
    return [row.model_copy(update={"seconds": 0}) for row in record.rows]


def test_rows_of_other_images_or_another_network_are_not_taken(
    warm: Run, demo: Demo, sweep: Sweep, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep.folder, folder)
    done = warm(*command(demo, folder), "--bits", "14", "--rules", "wrap", "--limit", 10)
    assert "note: accumulators.json is of another network, other images" in done.err
    assert "finished before" not in done.err
    found = load_sweep(folder)
    assert found is not None
    assert found.images == 10
    assert [(row.bits, row.overflow) for row in found.rows] == [(14, "wrap")]


def test_figures_that_were_changed_since_are_not_taken(
    warm: Run, demo: Demo, sweep: Sweep, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    shutil.copytree(sweep.folder, folder)
    path = folder / "accumulators.json"
    text = path.read_text("utf-8")
    wrong = sweep.record.rows[0].persistent
    assert text.count(f'"persistent": {wrong},') == 1
    path.write_text(text.replace(f'"persistent": {wrong},', f'"persistent": {wrong + 1},'), "utf-8")
    done = warm(*command(demo, folder), "--bits", "12", "--rules", "wrap")
    assert "finished before" not in done.err
    found = load_sweep(folder)
    assert found is not None
    assert [row.persistent for row in found.rows] == [wrong]


def test_a_damaged_record_is_made_anew(warm: Run, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "accumulators.json").write_text("{", "utf-8")
    warm(*command(demo, tmp_path), "--bits", "24", "--rules", "saturate", "--limit", 4)
    found = load_sweep(tmp_path)
    assert found is not None
    assert [row.exact for row in found.rows] == [True]


def test_the_profile_is_the_run_s_own_if_it_is_shipped(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(**profile: str) -> tuple[str, str]:
        plain = json.loads((demo.folder / "run.json").read_text("utf-8"))
        plain["profile"] |= profile
        (tmp_path / "run.json").write_text(json.dumps(plain), "utf-8")
        return profile_of(tmp_path), capsys.readouterr().err

    assert profile_of(tmp_path) == "edge_npu_int8"
    assert "has no run.json that names another" in capsys.readouterr().err
    shipped = load_profile("narrow_acc_20").sha256()
    chosen, text = said(name="narrow_acc_20", sha256=shipped)
    assert chosen == "narrow_acc_20"
    assert "note: lowering for narrow_acc_20 (as run.json of" in text
    assert "other values" not in text
    assert "other values" in said(name="narrow_acc_20", sha256="ab" * 32)[1]
    chosen, text = said(name="my_npu")
    assert chosen == "edge_npu_int8"
    assert "my_npu, which run.json names, is no shipped one" in text
    (tmp_path / "run.json").write_text("{", "utf-8")
    assert profile_of(tmp_path) == "edge_npu_int8"
    assert "run.json: not a run" in capsys.readouterr().err


def test_a_model_that_the_profile_cannot_hold_is_refused(
    warm: Run, demo: Demo, tmp_path: Path
) -> None:
    done = warm(*command(demo, tmp_path), "--profile", "narrow_acc_20", code=3)
    assert "profile narrow_acc_20" in done.err
    done = warm(*command(demo, demo.folder), "--bits", "24", code=3)
    assert "holds a finished run" in done.err


def test_widths_and_rules_are_read_as_written() -> None:
    assert parse_register_widths("12-14,20, 16") == [12, 13, 14, 16, 20]
    assert parse_rules("saturate,wrap") == ["wrap", "saturate"]
    assert parse_rules("saturate") == ["saturate"]
    for text in ("7", "12-65", "20-16", "12-", "a", ""):
        with pytest.raises(typer.BadParameter, match="is no width or range"):
            parse_register_widths(text)
    with pytest.raises(typer.BadParameter, match="no overflow rule"):
        parse_rules("wrap,clip")
