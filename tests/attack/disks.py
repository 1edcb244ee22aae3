# SPDX-License-Identifier: Apache-2.0
"""Output on disks that are full, read-only or another user's."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from command_line import digests

from attack import forked, kills
from attack.judged import INPUT, Tally

NOBODY = 65534


def commands(demo: Path) -> dict[str, tuple[object, ...]]:
    """Return every command that writes, without ``--out``."""
    return {
        **kills.commands(demo),
        "report": ("report", demo),
        "compare": ("compare", demo),
        "figures": ("figures", demo, "--data", demo / "data" / "val", "--images", 2),
        "profiles new": ("profiles", "new", "mine", "--from", "edge_npu_int8"),
    }


def attack(demo: Path, root: Path, seed: int, tries: int) -> Iterator[Tally]:
    """Let every command write where it cannot, and where room ends at chance sizes."""
    yield _read_only(demo, root / "read-only")
    if os.geteuid() != 0:
        return  # the others need a disk of their own
    yield _another_users(demo, root / "another")
    yield _full(demo, root / "full", random.Random(seed), tries)
    yield _full_cache(demo, root / "full-cache")


def _out(name: str, folder: Path) -> Path:
    return folder / "mine.toml" if name == "profiles new" else folder


def _read_only(demo: Path, root: Path) -> Tally:
    """Below a file, on /proc, where no folder can be made."""
    tally = Tally(part="output that cannot be written")
    root.mkdir(parents=True)
    (root / "file").write_text("", "ascii")
    for name, command in commands(demo).items():
        for folder in (root / "file" / "below", Path("/proc/none"), root / ("n" * 300)):
            ended = forked.run(*command, "--out", _out(name, folder))
            tally.note(ended, f"{name} into {folder.name[:20]}", *_not(ended, INPUT))
    return tally


def _not(ended: forked.Ended, code: int) -> list[str]:
    return [] if ended.code == code else [f"ended with {ended.code}, not {code}"]


def _another_users(demo: Path, root: Path) -> Tally:
    """As a user who may read everything and write nowhere but to a cache."""
    tally = Tally(part="output in another user's folder")
    root.mkdir(parents=True)
    cache = root / "cache"
    cache.mkdir(mode=0o700)
    os.chown(cache, NOBODY, NOBODY)
    mine = root / "mine"
    mine.mkdir(mode=0o755)
    (mine / "kept").write_text("kept", "ascii")
    for folder in (*demo.parents, *root.parents):
        readable = folder.stat().st_mode & 0o005 == 0o005
        if not readable and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o005)

    def as_nobody() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    environment = {"AOCQ_CACHE_DIR": str(cache), "HOME": str(cache)}
    for name, command in commands(demo).items():
        ended = forked.run(
            *command, "--out", _out(name, mine / "out"), environment=environment, before=as_nobody
        )
        tally.note(ended, f"{name}, not allowed to write", *_not(ended, INPUT))
    if set(digests(mine)) != {"kept"}:
        tally.fault(f"written all the same: {sorted(digests(mine))}")
    return tally


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A disk of ``size`` at ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},nr_inodes=4096"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _full(demo: Path, root: Path, chance: random.Random, tries: int) -> Tally:
    """The disk fills up on the way; with room again, the same command ends as it should."""
    tally = Tally(part="a disk that fills up")
    for name, command in commands(demo).items():
        straight = root / "straight" / name
        straight.parent.mkdir(parents=True, exist_ok=True)
        forked.run(*command, "--out", _out(name, straight))
        if name == "profiles new":
            continue
        wanted = kills._lasting(straight)
        size = sum(path.stat().st_size for path in straight.rglob("*") if path.is_file())
        for _ in range(tries):
            disk = root / "disk"
            with small_disk(disk, f"{max(8, int(size * chance.uniform(0.05, 0.95)) // 1024)}k"):
                ended = forked.run(*command, "--out", disk / "out")
                tally.note(ended, f"{name}, disk full", *_not_lost(ended, disk / "out", wanted))
                subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
                again = forked.run(*command, "--out", disk / "out")
                tally.note(again, f"{name}, room again", *kills._differs(disk / "out", wanted))
    return tally


def _not_lost(ended: forked.Ended, folder: Path, wanted: dict[str, str]) -> list[str]:
    if ended.code == 0:
        return kills._differs(folder, wanted)
    half = kills._half_written(folder, {}, wanted)
    return [*half, *([] if ended.code in {3, 4} else [f"ended with {ended.code}"])]


def _full_cache(demo: Path, root: Path) -> Tally:
    """A cache without room costs compilation and nothing else."""
    tally = Tally(part="a full or read-only cache")
    command = ("simulate", demo, "--data", demo / "data" / "val", "--limit", 10, "--json")
    wanted = forked.run(*command).out
    disk = root / "disk"
    with small_disk(disk, "64k"):
        ended = forked.alone(*command, variables={"AOCQ_CACHE_DIR": str(disk / "cache")})
        tally.note(ended, "full cache", *["other integers"] * (ended.out != wanted))
    shutil.rmtree(root, ignore_errors=True)
    return tally
