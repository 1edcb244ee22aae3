# SPDX-License-Identifier: Apache-2.0
"""Build and run SystemVerilog under Verilator and Icarus."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RUNTIME = ("verilated", "verilated_timing", "verilated_threads")
# Ours are a few small modules, which run for seconds: what counts is that they compile quickly.
OPTIMIZATION = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O2 CFG_CXXFLAGS_PCH_I=-include"
C_FLAGS = "-std=c++20 -fcoroutines"
_TINY = """\
module tiny;
  initial begin
    #1 $finish;
  end
endmodule
"""
_COUNTS = re.compile(r"^(\d+) words checked, (\d+) mismatches", re.MULTILINE)


def environment() -> dict[str, str]:
    """Return the environment of a process that calls ``verilator``, where it is installed.

    It calls scripts of its own by the names of Python.
    """
    import environments

    root = environments.package_folder("rtl", "verilator")
    if root is None:
        return {**os.environ}
    path = os.pathsep.join(
        [str(root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    )
    return {**os.environ, "VERILATOR_ROOT": str(root), "PATH": path}


def run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it printed, both streams as one."""
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment(),
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def check(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command that must succeed."""
    done = run(command, folder)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def build_runtime(folder: Path) -> None:
    """Compile Verilator's own parts into ``folder``."""
    folder.mkdir(exist_ok=True)
    (folder / "tiny.sv").write_text(_TINY)
    flags = ["--binary", "--timing", "-MAKEFLAGS", OPTIMIZATION, "-CFLAGS", C_FLAGS]
    check(["verilator", *flags, "-j", "2", "tiny.sv"], folder)
    for name in RUNTIME:
        (folder / "obj_dir" / f"{name}.o").rename(folder / f"{name}.o")
    shutil.rmtree(folder / "obj_dir")


def seed_runtime(runtime: Path, objects: Path) -> list[str]:
    """Copy the compiled parts to where a build makes its objects; return the flags to use them."""
    objects.mkdir(parents=True, exist_ok=True)
    for name in RUNTIME:
        shutil.copy(runtime / f"{name}.o", objects)
    old = " ".join(f"-o {name}.o" for name in RUNTIME)
    return ["-MAKEFLAGS", f"{OPTIMIZATION} {old}"]


def verilate(
    folder: Path,
    sources: Sequence[str | Path],
    top: str,
    runtime: Path,
    *,
    parameters: Mapping[str, int] | None = None,
    options: Sequence[str] = ("-Wall",),
) -> Path:
    """Build ``top`` under Verilator in ``folder``; return the program."""
    given = [f"-G{name}={value}" for name, value in (parameters or {}).items()]
    flags = seed_runtime(runtime, folder / "obj_dir")
    command = ["verilator", "--binary", "--timing", *options, *flags, "-CFLAGS", C_FLAGS, *given]
    check([*command, "--top-module", top, "-o", top, *sources], folder)
    return folder / "obj_dir" / top


def icarus(
    folder: Path,
    sources: Sequence[str | Path],
    top: str,
    *,
    parameters: Mapping[str, int] | None = None,
) -> Path:
    """Build ``top`` under Icarus in ``folder``; return the program, which ``vvp`` runs."""
    given = [f"-P{top}.{name}={value}" for name, value in (parameters or {}).items()]
    check(["iverilog", "-g2012", "-s", top, *given, "-o", f"{top}.vvp", *sources], folder)
    return folder / f"{top}.vvp"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a testbench that ``aocq export rtl`` wrote said of its device."""

    passed: bool
    checked: int
    mismatches: int
    text: str


def run_testbench(folder: Path, simulator: str, runtime: Path, *, stalls: bool = False) -> Outcome:
    """Run ``make SIMULATOR`` in the folder of a testbench."""
    options = ["STALLS=+stalls"] if stalls else []
    if simulator == "verilator":
        name, flags = seed_runtime(runtime, folder / ".build" / "obj_dir")
        options.append(f'VERILATOR_FLAGS={name} "{flags}"')
    done = run(["make", simulator, *options], folder)
    counts = _COUNTS.search(done.stdout)
    checked, mismatches = (int(count) for count in counts.groups()) if counts else (0, 0)
    return Outcome(done.returncode == 0, checked, mismatches, done.stdout)
