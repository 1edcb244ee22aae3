# SPDX-License-Identifier: Apache-2.0
"""Kills at chance moments of every command that writes: the same command must end as if alone."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from command_line import RUN_FILES, digests

from attack import forked
from attack.judged import Tally

QUICK = ("--preset", "fast")
# What differs from run to run: times, the command's own text.
VARYING = ("run.json", "report.html", "report.md")
VARYING_SUFFIXES = (".lock", ".md", ".html", ".csv", ".svg", ".png")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def commands(demo: Path) -> dict[str, tuple[object, ...]]:
    """Return what is killed, without ``--out``."""
    data = ("--data", demo / "data" / "val")
    calibration = ("--calib-data", demo / "data" / "calib")
    model = ("vit_nano_digits",)
    job = (*calibration, "--calib", 32, *QUICK)
    return {
        "demo": ("demo", *QUICK),
        "verify": ("verify", *model, *data, *job, "--limit", 60, "--batch", 2),
        "quantize": ("quantize", *model, *job),
        "lower": ("lower", demo),
        "simulate": ("simulate", demo, *data, "--limit", 60, "--tap", "blocks.0.add"),
        "accumulators": ("accumulators", demo, *data, "--limit", 30, "--bits", "14,16,20"),
        "targets": (
            *("targets", *model, *data, *job, "--limit", 20),
            *("--method", "base_ptq", "--profiles", "edge_npu_int8,gemmini_20b"),
        ),
        "table2": ("table2", *model, *data, *job, "--limit", 20, "--methods", "base_ptq,fq_vit"),
        "figures": ("figures", demo, *data, "--images", 2),
        "report": ("report", demo),
        "compare": ("compare", demo),
    }


def attack(demo: Path, root: Path, seed: int, kills: int) -> Iterator[Tally]:
    """Kill every command at chance moments, ``kills`` times in all, and run it to its end."""
    chosen = commands(demo)
    for number, (name, command) in enumerate(chosen.items()):
        share = kills // len(chosen) + (number < kills % len(chosen))
        yield _attack_command(name, command, demo, root / name, random.Random(seed + number), share)


def _attack_command(
    name: str,
    command: Sequence[object],
    demo: Path,
    root: Path,
    chance: random.Random,
    kills: int,
) -> Tally:
    tally = Tally(part=f"kills of {name}")
    straight = forked.run(*command, "--out", root / "straight")
    tally.note(straight, f"{name}, not killed")
    wanted = _lasting(root / "straight")
    folder, earlier = root / "killed", {}
    fresh = True
    for _ in range(kills):
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            earlier = _earlier_run(name, demo, folder)
        by = chance.choice(SIGNALS)
        after = chance.uniform(0.01, straight.seconds)
        running = forked.start(*command, "--out", folder)
        ended = running.wait(kill_after=after, by=by)
        what = f"{name}, signal {by} after {after:.3f} s"
        tally.note(ended, what, *_half_written(folder, earlier, wanted), killed=ended.code < 0
                   or ended.code in {130, 143})  # fmt: skip
        fresh = ended.code == 0 or chance.random() < 0.3
        if fresh:
            again = forked.run(*command, "--out", folder)
            tally.note(again, f"{what}, then again", *_differs(folder, wanted))
    return tally


def _earlier_run(name: str, demo: Path, folder: Path) -> dict[str, str]:
    """Put an earlier run into the folder of commands that replace one; return its digests."""
    if name not in {"verify", "demo"}:
        return {}
    folder.mkdir(parents=True)
    for file in RUN_FILES:
        shutil.copy(demo / file, folder)
    for path in demo.glob("*.json"):  # whatever else vouches for a run
        shutil.copy(path, folder)
    return _lasting(folder)


def _lasting(folder: Path) -> dict[str, str]:
    """The digests of what a command leaves that are the same for every run of it."""
    found = digests(folder) if folder.is_dir() else {}
    return {name: digest for name, digest in found.items() if _lasts(name)}


def _lasts(name: str) -> bool:
    path = Path(name)
    varying = path.suffix in VARYING_SUFFIXES and path.name != "layers.csv"
    varying = varying or path.name in VARYING
    return not varying and (path.suffix != ".json" or path.name in {"graph.json", "quantized.json"})


def _half_written(folder: Path, earlier: dict[str, str], wanted: dict[str, str]) -> list[str]:
    """Say which files are neither of the earlier run nor of the new one, nor all of one."""
    now = _lasting(folder)
    strange = [
        name
        for name, digest in now.items()
        if digest not in {earlier.get(name), wanted.get(name)} and ".tmp" not in name
    ]
    found = [f"{name} is neither of the earlier run nor of this one" for name in strange]
    if (folder / "run.json").exists() and not strange:
        of_one = any(
            all(now.get(name) == digest for name, digest in run.items())
            for run in (earlier, wanted)
        )
        if not of_one:
            found.append("run.json stands beside files of two runs")
    return found


def _differs(folder: Path, wanted: dict[str, str]) -> list[str]:
    """Say what is not as an undisturbed run leaves it."""
    now = _lasting(folder)
    found = [f"{name} differs from an undisturbed run's" for name in wanted
             if now.get(name) != wanted[name]]  # fmt: skip
    left = [path.name for path in folder.rglob("*.tmp")]
    return [*found, *(f"{name} was left behind" for name in left)]
