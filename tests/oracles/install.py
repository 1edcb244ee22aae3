# SPDX-License-Identifier: Apache-2.0
"""Make the oracles' virtual environments: ``python tests/oracles/install.py``.

Does nothing where they are up to date: a stamp file per environment holds what was installed.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

from environments import HERE, folder, python

REQUIREMENTS = {
    "lite": "lite.txt",
    "tosa": "tosa.txt",
    "rtl": "rtl.txt",
    "scalesim": "scale_sim.txt",
    "vela": "vela.txt",
    "gradcam": "grad_cam.txt",
}
# May be gone from the registry: (environment, requirements).
OPTIONAL = {"lite": "tflite_micro.txt"}


def _pip(environment: str, requirements: str) -> int:
    command = [str(python(environment)), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    return subprocess.run([*command, "-r", str(HERE / requirements)], check=False).returncode


def _wanted(environment: str) -> str:
    files = [REQUIREMENTS[environment], OPTIONAL.get(environment)]
    return "".join((HERE / file).read_text() for file in files if file) + sys.version


def install(environment: str) -> None:
    """Make one environment, or leave it as it is.

    Raises
    ------
    SystemExit
        If a package that is not optional cannot be installed.
    """
    place = folder() / environment
    stamp = place / ".installed"
    wanted = _wanted(environment)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"oracles: {place}", flush=True)
    venv.create(place, clear=True, with_pip=True)
    if _pip(environment, REQUIREMENTS[environment]):
        raise SystemExit(f"oracles: {REQUIREMENTS[environment]} cannot be installed")
    optional = OPTIONAL.get(environment)
    if optional and _pip(environment, optional):
        # No stamp: the next call tries again.
        print(f"oracles: {optional} cannot be installed; its tests will say so", file=sys.stderr)
        return
    stamp.write_text(wanted)


def main() -> None:
    """Install every environment."""
    Path(folder()).mkdir(parents=True, exist_ok=True)
    for environment in REQUIREMENTS:
        install(environment)


if __name__ == "__main__":
    main()
