# SPDX-License-Identifier: Apache-2.0
"""Things of the wrong sort where files are wanted, odd names, and terminals of few characters."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from command_line import AOCQ

from attack import files, forked
from attack.judged import Tally

CLOSING = ("head -c 1", "true")  # after the first byte, and before it
SECONDS = 10.0  # of a command that meets a thing from which reading never ends


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(f"/proc/self/fd/{here}/{path.name}")  # short, whatever the folder
    os.close(here)


# How a file is replaced: each takes the path, at which there is nothing.
THINGS: dict[str, Callable[[Path], None]] = {
    "a named pipe": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/full": lambda path: path.symlink_to("/dev/full"),
    "an empty file": lambda path: path.touch(),
    "a socket": _socket,
    "16 GiB of nothing": lambda path: _sparse(path, 16 << 30),
    "words": lambda path: _write(path, b"version https://git-lfs.github.com/spec/v1\noid x\n"),
    "a page": lambda path: _write(path, b"<!DOCTYPE html><html><body>404</body></html>"),
}
NAMES = (
    *(b"\xff\xfe", b"\x1b[2J\x1b]0;x\x07", "größe €".encode(), b"new\nline"),
    *(b"n" * 251, b" ", b"-x"),
)


def attack(demo: Path, root: Path, seed: int, count: int) -> Iterator[Tally]:
    """Replace every kind of file by every thing, name images oddly, narrow the terminal."""
    del seed, count  # nothing is drawn: all of it is tried
    good = root / "good"
    files.prepare(demo, good)
    yield _things(good, root / "things")
    yield _names(good, root / "names")
    yield _outputs(demo, root / "outputs")
    yield _terminals(good, root / "terminals")


def _things(good: Path, work: Path) -> Tally:
    tally = Tally(part="things that are no files")
    for kind in {kind.file: kind for kind in files.KINDS}.values():
        for thing, put in THINGS.items():
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(good, work)
            (work / kind.file).unlink()
            put(work / kind.file)
            for command in dict.fromkeys((kind.commands[0], kind.commands[-1])):
                parts = [part.replace("{}", str(work)) for part in command.split()]
                ended = forked.run(*parts, seconds=SECONDS)
                tally.note(ended, f"{kind.file} is {thing}")
    return tally


def _outputs(demo: Path, root: Path) -> Tally:
    """Outputs and folders of work that are links: nothing behind them is lost."""
    tally = Tally(part="links where output belongs")
    root.mkdir()
    victim = root / "victim"
    for number, command in enumerate((("report", demo), ("compare", demo), ("lower", demo))):
        for name in ("", ".work", ".work/complete", ".work/earlier", ".work/lock"):
            for target in (victim, victim / "precious", root / "nowhere", root / "loop"):
                shutil.rmtree(victim, ignore_errors=True)
                victim.mkdir()
                (victim / "precious").write_text("precious", "ascii")
                out = root / f"{number}-{name.replace('/', '-')}-{target.name}"
                place = out / name if name else out
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(place if target.name == "loop" else target)
                ended = forked.run(*command, "--out", out, seconds=SECONDS)
                lost = not (victim / "precious").is_file()
                lost = lost or (victim / "precious").read_text("ascii") != "precious"
                others = ["a file behind a link was lost"] * lost
                tally.note(ended, f"{name or '--out'} leads to {target.name}", *others)
    return tally


def _names(good: Path, work: Path) -> Tally:
    """Images, folders, profiles, outputs of odd names: they work, or a message says why not."""
    tally = Tally(part="odd names")
    for name in NAMES:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(good, work)
        odd = os.fsdecode(name)
        (work / "few" / "0" / "0.png").rename(work / "few" / "0" / (odd[:200] + ".png"))
        (work / "chip.toml").rename(work / (odd[:200] + ".toml"))
        (work / "few" / "1" / (odd[:200] + "b.png")).write_bytes(b"no image")
        for command in (
            ("simulate", work / "graph", "--data", work / "few", "--out", work / odd),
            ("simulate", work / "graph", "--data", work / "few", "--skip-bad-images"),
            ("profiles", "validate", work / (odd[:200] + ".toml")),
            ("lower", work / "quantized", "-p", work / (odd[:200] + ".toml"), "--out", work / odd),
            ("inspect", work / odd),
            ("report", work / "run", "--out", work / odd),
            (
                *("verify", "vit_nano_digits", "--data", work / "few", "--calib", 8),
                *("--method", "base_ptq", "--skip-bad-images", "--out", work / "v" / odd),
            ),
            ("simulate", work / "graph", "--inputs", work / "codes.npy", "--tap", odd,
             "--out", work / "t"),
            ("profiles", "show", odd),
            ("quantize", odd, "--calib-data", work / "few", "--out", work / "q"),
        ):  # fmt: skip
            tally.note(forked.run(*command), f"the name {name!r}")
    return tally


def _terminals(good: Path, work: Path) -> Tally:
    """Commands in processes of their own, on terminals that know few characters."""
    tally = Tally(part="terminals and pipes")
    shutil.copytree(good, work)
    odd = os.fsdecode(b"\xffgr\xc3\xb6\xe2\x82\xac")
    (work / "graph").rename(work / odd)
    commands = (
        ("inspect", work / odd),
        ("inspect", work / "no" / odd),
        ("cost", work / odd),
        ("report", work / "run", "--markdown"),
        ("profiles", "list"),
    )
    for variables in (
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX"},
    ):
        for command in commands:
            tally.note(forked.alone(*command, variables=variables), f"{variables}")
    chosen = [(command, how) for command in commands[:1] + commands[2:] for how in CLOSING]
    for command, how in chosen:
        text = f'{" ".join(AOCQ)} "$@" | {how}; exit ${{PIPESTATUS[0]}}'
        ended = forked.alone(*command, start=("bash", "-c", text, "bash"))
        closed = ended.code in {0, 141, -13}
        tally.codes[ended.code] += 1
        if not closed or "Traceback" in ended.err or "Exception" in ended.err:
            tally.fault(f"a closed pipe: {ended.arguments}: {ended.code} {ended.err[-300:]}")
    return tally


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
