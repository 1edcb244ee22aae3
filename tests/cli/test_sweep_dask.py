# SPDX-License-Identifier: Apache-2.0
"""``aocq sweep`` by a cluster of two worker processes, or in parts: the table of one machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from command_line import AOCQ, ENVIRONMENT, Demo, Finished, aocq

sys.path.insert(0, str(Path(__file__).parents[1] / "aocq" / "sweeps"))
from dask_cluster import cluster

TABLES = ("sweep.csv", "sweep.json", "sweep.md")
PLAN = """
[[network]]
name = "vit_nano_digits"

[data.digits]
evaluate = "{0}/val"
calibrate = "{0}/calib"
images = 16
calibration_images = 16

[sweep]
methods = ["base_ptq"]
recipes = ["w8a8", "w3a8"]
profiles = ["edge_npu_int8", "narrow_acc_20"]
"""
LONGEST = 120.0  # seconds for what should take a few


@pytest.fixture(scope="module")
def plan(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "plan.toml"
    path.write_text(PLAN.format(demo.folder / "data"), "utf-8")
    return path


@pytest.fixture(scope="module")
def whole(plan: Path) -> Path:
    """The sweep by one worker process of this machine; one chip has no weights of three bits."""
    out = plan.parent / "whole"
    aocq("sweep", plan, "--workers", 1, "--out", out, code=3)
    return out


def kill_a_worker_at_a_run(out: Path, workers: set[int]) -> int:
    """End, by SIGKILL, the Dask worker that makes a run after the first; return its number."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        if [*out.glob("runs/*/run.json")]:
            for path in out.glob("runs/*/lease.json"):
                if (path.parent / "run.json").exists():
                    continue
                try:
                    maker = psutil.Process(json.loads(path.read_text("utf-8"))["process"])
                    parent = maker.ppid()
                    maker.suspend()  # lest it end before its parent
                except (OSError, ValueError, psutil.Error):  # just ended, or just begun
                    continue
                try:
                    if path.exists() and not (path.parent / "run.json").exists():
                        assert parent in workers
                        os.kill(parent, signal.SIGKILL)
                        return parent
                finally:
                    maker.resume()
        time.sleep(0.01)
    raise TimeoutError("no run was made")


def test_the_table_of_a_cluster_one_of_whose_workers_was_killed_is_that_of_one_machine(
    plan: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    with cluster(tmp_path) as found:
        command = subprocess.Popen(
            [*AOCQ, "sweep", plan, "--dask", found.address, "--out", out],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        kill_a_worker_at_a_run(out, {worker.pid for worker in found.workers})
        _, err = command.communicate(timeout=LONGEST)
    assert command.returncode == 3, err
    assert "ended in the middle, or could not be reached any more (1 of 3): again" in err
    assert "Traceback" not in err
    for name in TABLES:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert not [*out.rglob("lease.json"), *out.rglob("deaths.json"), *out.glob(".cluster-*")]


def test_parts_made_apart_and_put_together_are_the_whole(
    plan: Path, whole: Path, tmp_path: Path
) -> None:
    together = tmp_path / "together"
    for number in (1, 2):
        part = tmp_path / f"part{number}"
        aocq(
            "sweep",
            plan,
            "--workers",
            1,
            "--shard",
            f"{number}/2",
            "--out",
            part,
            code=(0, 3)[number - 1],
        )
        assert len(json.loads((part / "sweep.json").read_text("utf-8"))["rows"]) == 2
        shutil.copytree(part / "runs", together / "runs", dirs_exist_ok=True)
    done = aocq("sweep", plan, "--out", together, code=3)
    assert done.err.count("(finished before)") == 4
    for name in TABLES:
        assert (together / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--dask", "tcp://127.0.0.1:9", "--workers", 2), 2, "--workers is for this machine alone"),
        (("--dask", "nowhere.json"), 3, "nowhere.json: cannot be read"),
        (("--shard", "3/2"), 2, "I from 1 to N, such as 1/4"),
        (("--shard", "first"), 2, "I from 1 to N, such as 1/4"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(
    plan: Path,
    without_torch: Callable[..., Finished],
    options: tuple[object, ...],
    code: int,
    told: str,
    tmp_path: Path,
) -> None:
    done = without_torch("sweep", plan, *options, "--out", tmp_path / "out", code=code)
    assert told in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()
