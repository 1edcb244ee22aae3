# SPDX-License-Identifier: Apache-2.0
"""Overflow on the command line: an error where the profile says so, counted apart elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Demo, Finished

from aocq.records.run_folder import load_run
from simulator.profile import profile_paths

Run = Callable[..., Finished]
NARROW = 'bits = 13, overflow = "saturate"'


def narrow(folder: Path, policy: str) -> Path:
    """Write a profile with 13-bit saturating registers and a policy."""
    text = profile_paths()["edge_npu_int8"].read_text("utf-8")
    for old, new in (
        ('bits = 32, overflow = "wrap"', NARROW),
        ('bias = "preload"', f'policy = "{policy}"\nbias = "preload"'),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / f"{policy}.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("profiles")
    return {policy: narrow(folder, policy) for policy in ("apply", "report", "error")}


def test_a_run_ends_with_1_at_the_first_op_that_must_not_overflow(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    small = ("--limit", 4, "--method", "base_ptq", "--calib", 16, "--out", tmp_path)
    done = warm(*demo.verify, *small, "--profile", profiles["error"], code=1)
    assert re.search(r"error: op \S+: \d+ sums overflowed the accumulator \(all:13 sat", done.err)
    assert "set accumulator.policy to" in done.err
    assert not (tmp_path / "run.json").exists()


def test_lowering_runs_nothing_and_the_graph_carries_the_policy(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    data = ("--data", demo.folder / "data" / "val", "--limit", 4, "--json")
    for policy in ("error", "apply"):
        warm("lower", demo.folder, "--profile", profiles[policy], "--out", tmp_path / policy)
    done = warm("simulate", tmp_path / "error", *data, code=1)
    applied = json.loads(warm("simulate", tmp_path / "apply", *data).out)
    first = next(entry for entry in applied["per_op"] if entry["changed"])
    assert f"error: op {first['op']}: {first['changed']} sums overflowed" in done.err
    assert done.out == ""


def test_simulate_tells_overflow_apart_as_the_main_job_does(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    small = ("--limit", 20, "--method", "base_ptq", "--calib", 16, "--max-drop", 100)
    warm(*demo.verify, *small, "--profile", profiles["apply"], "--out", tmp_path)
    result, rows = load_run(tmp_path)
    data = ("--data", demo.folder / "data" / "val", "--limit", 20)
    found = json.loads(warm("simulate", tmp_path, *data, "--json").out)
    overflow = result.overflow
    assert overflow.persistent
    assert overflow.transient
    for name in ("persistent", "transient", "changed", "least_headroom_bits"):
        assert found[name] == getattr(overflow, name), name
    assert found["overflowed"] == overflow.persistent + overflow.transient == overflow.events
    summed = [row for row in rows if row.sum_bits is not None]
    for entry, row in zip(found["per_op"], summed, strict=True):
        names = ("op", "persistent", "transient", "changed", "sum_bits", "headroom_bits")
        assert {name: entry[name] for name in names} == {name: getattr(row, name) for name in names}
    text = warm("simulate", tmp_path, *data).out
    assert f"{'persistent':20} {overflow.persistent}\n" in text
    assert f"{'least_headroom_bits':20} {overflow.least_headroom_bits}\n" in text
    assert "accumulators that overflowed:" in text
    worst = max(summed, key=lambda row: row.overflowed)
    assert text.index(worst.op) > text.index("accumulators that overflowed:")
    # The reports have the same.
    pages = [(tmp_path / name).read_text("utf-8") for name in ("report.md", "report.html")]
    for page in pages:
        assert f"{overflow.persistent:,}" in page
        assert f"{overflow.transient:,}" in page
    assert f"| `{worst.op}` | {worst.overflowed:,} | {worst.persistent:,} |" in pages[0]


def test_a_policy_that_reports_keeps_sums_exact_and_counts(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    data = ("--data", demo.folder / "data" / "val", "--limit", 20, "--json")
    warm("lower", demo.folder, "--profile", profiles["report"], "--out", tmp_path)
    found = json.loads(warm("simulate", tmp_path, *data).out)
    exact = json.loads(warm("simulate", demo.folder, *data).out)
    assert found["overflowed"] > 0
    assert exact["overflowed"] == 0
    assert (found["top1"], found["saturated"]) == (exact["top1"], exact["saturated"])
    assert found["least_headroom_bits"] == exact["least_headroom_bits"] + 13 - 32


def test_a_run_that_only_counts_what_would_change_sums_is_no_plain_yes(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    small = ("--limit", 4, "--method", "base_ptq", "--calib", 16, "--max-drop", 100)
    done = warm(*(*demo.verify, *small, "--profile", profiles["report"], "--out", tmp_path), code=1)
    result, _ = load_run(tmp_path)
    overflow = result.overflow
    assert overflow.policy == "report"
    assert overflow.changed
    told = f'{overflow.events} sums would overflow; accumulator.policy = "report" only counts them'
    assert result.verdict.failed == [told]
    assert f"gate failed: {told}" in done.err
    assert "policy report: counted only, sums stay exact" in " ".join(done.out.split())
    # The same network with registers that are wide enough.
    assert load_run(demo.folder)[0].overflow.policy == "apply"


def test_what_would_change_no_sum_is_only_counted(
    warm: Run, demo: Demo, profiles: dict[str, Path], tmp_path: Path
) -> None:
    from aocq.jobs.record import merely_reported, overflow_record
    from simulator.graph import load

    small = ("--limit", 4, "--method", "base_ptq", "--calib", 16, "--max-drop", 100)
    warm(*demo.verify, *small, "--profile", profiles["report"], "--out", tmp_path, code=1)
    rows = load_run(tmp_path)[1]
    graph = load(tmp_path)
    assert merely_reported(graph, rows) == overflow_record(graph, rows).events > 0
    unchanged = [row.model_copy(update={"changed": row.changed and 0}) for row in rows]
    assert merely_reported(graph, unchanged) == 0
    assert merely_reported(load(demo.folder), rows) == 0, "there, overflow takes effect"


def test_without_overflow_the_ops_with_least_headroom_are_shown(warm: Run, demo: Demo) -> None:
    text = warm("simulate", demo.folder, "--data", demo.folder / "data" / "val", "--limit", 4).out
    totals, _, table = text.partition("accumulators with least headroom:")
    headrooms = [int(line.split()[-1]) for line in table.splitlines() if re.search(r"\d+ *$", line)]
    assert headrooms == sorted(headrooms)
    assert len(headrooms) == 10
    assert f"{'least_headroom_bits':20} {headrooms[0]}\n" in totals


def test_the_version_is_printed(warm: Run) -> None:
    from importlib.metadata import version

    import aocq

    assert warm("--version").out == f"aocq {aocq.__version__}\n"
    assert aocq.__version__ == version("aocq")
