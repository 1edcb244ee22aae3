# SPDX-License-Identifier: Apache-2.0
"""Two commands at once: in one folder, and with one empty cache of kernels."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from attack import forked, kills
from attack.judged import INPUT, Tally


def attack(demo: Path, root: Path, seed: int, pairs: int) -> Iterator[Tally]:
    """Start pairs of commands that share a folder, then processes that share an empty cache."""
    yield _one_folder(demo, root / "folder", random.Random(seed), pairs)
    yield _one_cache(demo, root / "cache", max(1, pairs // 8))


def _one_folder(demo: Path, root: Path, chance: random.Random, pairs: int) -> Tally:
    """One of the two is refused, or both come after one another; what is left is of one."""
    tally = Tally(part="two commands in one folder")
    chosen = kills.commands(demo)
    straight = {}
    for name, command in chosen.items():
        forked.run(*command, "--out", root / "straight" / name)
        straight[name] = kills._lasting(root / "straight" / name)
    for _ in range(pairs):
        names = chance.choices(list(chosen), k=2)
        folder = root / "shared"
        shutil.rmtree(folder, ignore_errors=True)
        running = []
        for name in names:
            running.append(forked.start(*chosen[name], "--out", folder))
            time.sleep(chance.uniform(0, 0.5))
        ended = [process.wait() for process in running]
        codes = [end.code for end in ended]
        others = []
        if 0 not in codes:
            others.append("neither ended well")
        if not set(codes) <= {0, INPUT}:
            others.append(f"codes {codes}")
        now = kills._lasting(folder)
        for name, end in zip(names, ended, strict=True):
            last = end.code == 0 and codes.count(0) == 1
            if last and any(now.get(file) != digest for file, digest in straight[name].items()):
                others.append(f"what {name} left is not what it leaves alone")
        for end in ended:
            tally.note(end, f"{' beside '.join(names)}", *others)
            others = []
    return tally


def _one_cache(demo: Path, root: Path, times: int) -> Tally:
    """Two processes that compile into one cache say what a third says with a cache of its own."""
    tally = Tally(part="two processes filling one cache")
    root.mkdir(parents=True)
    codes = root / "codes.npy"
    np.save(codes, np.random.default_rng(1).integers(-128, 128, (4, 3, 8, 8), np.int8))
    command = ("simulate", demo, "--inputs", codes, "--json", "--gemm", "numba")
    wanted = forked.run(*command).out
    for number in range(times):
        cache = {"AOCQ_CACHE_DIR": str(root / f"cache-{number}")}
        # In processes of their own: a fork has its kernels compiled.
        with ThreadPoolExecutor(2) as pool:
            started = [pool.submit(forked.alone, *command, variables=cache) for _ in range(2)]
        third = forked.alone(*command, variables=cache)  # what was kept is what it loads
        for ended in (*(one.result() for one in started), third):
            others = [] if (ended.code, ended.out) == (0, wanted) else ["other integers"]
            tally.note(ended, f"cache {number}", *others)
    return tally
