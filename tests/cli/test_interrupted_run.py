# SPDX-License-Identifier: Apache-2.0
"""A run that was interrupted, then killed, then given again: nothing lost, nothing done twice."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from command_line import RUN_FILES, Demo, Finished, Forking, digests, record, stopped

Run = Callable[..., Finished]
QUICK = ("--method", "base_ptq", "--calib", 32)
JOB = ("--limit", 120, "--batch", 2, "--threads", 1, *QUICK)


class Story(NamedTuple):
    """One folder and what happened in it, in order."""

    folder: Path
    earlier: dict[str, str]
    interrupted: Finished
    after_interrupt: dict[str, str]
    killed: Finished
    after_kill: dict[str, str]
    left: Path  # a copy of the unfinished work that the kill left behind
    batches: dict[Path, int]  # finished before the kill, with the time of their writing
    rewritten: set[Path]
    finished: Finished


def batches(folder: Path) -> dict[Path, int]:
    found = {}
    for path in sorted(folder.glob(".work/evaluation-*/batch-*.npz")):
        with suppress(FileNotFoundError):  # a run that ends removes them meanwhile
            found[path] = path.stat().st_mtime_ns
    return found


@pytest.fixture(scope="module")
def story(
    demo: Demo, warm: Run, forking: Forking, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    folder = tmp_path_factory.mktemp("story")
    for name in RUN_FILES:
        shutil.copy(demo.folder / name, folder)
    earlier = digests(folder)
    command = (*demo.verify, *JOB, "--out", folder)

    def done(count: int) -> bool:
        return len(batches(folder)) >= count

    interrupted = stopped(*command, when=lambda: done(2), signal=signal.SIGINT)
    after_interrupt, reached = digests(folder), len(batches(folder))
    killed = forking.stopped(*command, when=lambda: done(reached + 5), signal=signal.SIGKILL)
    after_kill, kept = digests(folder), batches(folder)
    left = tmp_path_factory.mktemp("left")
    shutil.copytree(folder / ".work", left / ".work")

    rewritten: set[Path] = set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(warm, *command)
        while not running.done():
            now = batches(folder)
            rewritten |= {path for path, then in kept.items() if now.get(path, then) != then}
            time.sleep(0.01)
    finished = running.result()
    return Story(
        folder,
        earlier,
        interrupted,
        after_interrupt,
        killed,
        after_kill,
        left,
        kept,
        rewritten,
        finished,
    )


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(story: Story) -> None:
    assert story.interrupted.code == 130
    assert story.interrupted.err.endswith(
        "interrupted; the same command goes on with what was kept\n"
    )
    assert "Traceback" not in story.interrupted.err
    assert story.interrupted.out == ""


def test_the_files_of_an_earlier_run_survive_an_interrupt_and_a_kill(story: Story) -> None:
    assert story.killed.code == -signal.SIGKILL
    assert story.after_interrupt == story.earlier
    assert story.after_kill == story.earlier


def test_the_same_command_goes_on_where_it_was_killed(story: Story) -> None:
    assert len(story.batches) >= 7
    assert story.rewritten == set()
    assert "quantize" in story.interrupted.err
    assert "quantize" not in story.killed.err, "the quantized model was kept as well"
    assert "quantize" not in story.finished.err
    assert "evaluate: 120/120" in story.finished.err
    assert not (story.folder / ".work").exists()


def test_a_resumed_run_ends_as_if_nothing_had_happened(
    story: Story, demo: Demo, warm: Run, tmp_path: Path
) -> None:
    warm(*demo.verify, *JOB, "--out", tmp_path)
    resumed, straight = digests(story.folder), digests(tmp_path)
    for name in RUN_FILES:
        if not name.startswith(("run", "report", "manifest")):
            assert resumed[name] == straight[name], name
    assert record(story.folder) == record(tmp_path)
    assert set(resumed) == set(straight) == set(RUN_FILES)


@pytest.mark.parametrize("other", [("--w-bits", 8), ("--limit", 100)])
def test_another_command_takes_nothing_up_that_is_not_its_own(
    other: tuple[object, ...],
    story: Story,
    demo: Demo,
    warm: Run,
    tmp_path: Path,
) -> None:
    shutil.copytree(story.left / ".work", tmp_path / "left" / ".work")
    command = (*demo.verify, *JOB, *other, "--out")
    warm(*command, tmp_path / "left")
    warm(*command, tmp_path / "fresh")
    assert record(tmp_path / "left") == record(tmp_path / "fresh")
    assert digests(tmp_path / "left")["layers.csv"] == digests(tmp_path / "fresh")["layers.csv"]


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    at = len(content) // 2
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    path.write_bytes({"emptied": b"", "cut": content[:at], "a_bit_flipped": flipped}[how])


@pytest.mark.parametrize("how", ["emptied", "cut", "a_bit_flipped"])
def test_damaged_work_is_made_again(
    how: str, story: Story, demo: Demo, warm: Run, tmp_path: Path
) -> None:
    """Batches and the quantized model alike: never taken as they are, never in the way."""
    shutil.copytree(story.left / ".work", tmp_path / ".work")
    left = sorted(path for path in (tmp_path / ".work").rglob("*") if path.is_file())
    assert {path.name for path in left} >= {"batch-00000.npz", "seconds.json", "quantized.json"}
    for path in left:
        damaged(path, how)
    done = warm(*demo.verify, *JOB, "--out", tmp_path)
    assert "the model that an earlier run kept is damaged; quantizing again" in done.err
    assert record(tmp_path) == record(story.folder)
    for name in ("layers.csv", "graph.json", "quantized.json"):
        assert digests(tmp_path)[name] == digests(story.folder)[name], name


@pytest.mark.parametrize("name", ["quantized.json", "quantized.safetensors", "seconds.json"])
def test_a_kept_model_is_whole_or_made_again(
    name: str, story: Story, demo: Demo, warm: Run, tmp_path: Path
) -> None:
    shutil.copytree(story.left / ".work", tmp_path / ".work")
    [path] = (tmp_path / ".work").rglob(name)
    damaged(path, "a_bit_flipped")
    assert "quantizing again" in warm(*demo.verify, *JOB, "--out", tmp_path).err
    assert record(tmp_path) == record(story.folder)
