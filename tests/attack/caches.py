# SPDX-License-Identifier: Apache-2.0
"""What is kept for later, spoiled: kernels, batches and decisions of unfinished runs."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from mutations import byte_mutants

from attack import forked, kills
from attack.judged import Tally


def attack(demo: Path, root: Path, seed: int, tries: int) -> Iterator[Tally]:
    """Spoil the cache of kernels, then what an unfinished run keeps."""
    yield _kernels(demo, root / "kernels", random.Random(seed), max(2, tries // 10))
    yield _work(demo, root / "work", random.Random(seed), tries)


def _kernels(demo: Path, root: Path, chance: random.Random, tries: int) -> Tally:
    """Damaged kernels are compiled again: the same integers, and no word of trouble."""
    tally = Tally(part="a damaged cache of kernels")
    command = ("simulate", demo, "--data", demo / "data" / "val", "--limit", 10, "--json")
    wanted = forked.run(*command).out
    cache = root / "cache"

    def ended() -> None:
        alone = forked.alone(*command, variables={"AOCQ_CACHE_DIR": str(cache)})
        tally.note(alone, "kernels", *["other integers"] * (alone.out != wanted))

    root.mkdir(parents=True)
    ended()
    for _ in range(tries):
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        if not files:
            tally.fault("nothing was kept")
            return tally
        other = chance.choice(files).read_bytes()
        for path in files:
            content = path.read_bytes()
            kind = chance.randrange(5)
            if kind == 0:
                path.write_bytes(other)  # another kernel's
            elif kind == 1:
                path.write_bytes(b"")
            elif content:
                ((_, spoiled),) = byte_mutants(content, chance.randrange(1 << 30), 1)
                path.write_bytes(spoiled)
        ended()
    return tally


def _work(demo: Path, root: Path, chance: random.Random, tries: int) -> Tally:
    """Whatever an unfinished run keeps is checked: the run ends as an undisturbed one."""
    tally = Tally(part="damaged work of an unfinished run")
    command = kills.commands(demo)["verify"]
    straight = forked.run(*command, "--out", root / "straight")
    wanted = kills._lasting(root / "straight")
    other = root / "other"  # unfinished work of another request, under the same names
    forked.start(*command, "--w-bits", 3, "--out", other).wait(kill_after=straight.seconds * 0.8)
    for number in range(tries):
        folder = root / "spoiled"
        shutil.rmtree(folder, ignore_errors=True)
        running = forked.start(*command, "--out", folder)
        running.wait(kill_after=straight.seconds * chance.uniform(0.3, 0.95))
        files = sorted(path for path in (folder / ".work").rglob("*") if path.is_file())
        files = [path for path in files if path.name != "lock"]
        for path in chance.sample(files, min(len(files), 3)):
            _spoil(path, other, chance)
        ended = forked.run(*command, "--out", folder)
        others = kills._differs(folder, wanted)
        if ended.code != 0:
            others.append(f"ended with {ended.code}")
        names = [path.name for path in files][:5]
        tally.note(ended, f"damaged work, try {number}: {names}", *others)
    return tally


def _spoil(path: Path, other: Path, chance: random.Random) -> None:
    """Change bytes of a file, or put something else in its place."""
    kind = chance.choice(("bytes", "bytes", "another's", "link", "pipe", "large"))
    theirs = [found for found in other.rglob(path.name) if found.is_file()]
    content = path.read_bytes() or b"x"
    path.unlink()
    if kind == "another's" and theirs:
        shutil.copy(chance.choice(theirs), path)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 33)
    else:
        ((_, spoiled),) = byte_mutants(content, chance.randrange(1 << 30), 1)
        path.write_bytes(spoiled)
