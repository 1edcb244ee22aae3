# SPDX-License-Identifier: Apache-2.0
"""A virtual environment with this project's wheel and the packages that it declares, and no others.

Packages are those of the running interpreter, by links: nothing is fetched. What the wheel needs
and does not declare is not there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]


def wheel(folder: Path) -> Path:
    """Build the project's wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("aocq-*.whl")
    return built


def closed_environment(folder: Path, built: Path, *tools: str) -> Path:
    """Return the interpreter of a new environment.

    Parameters
    ----------
    built
        the wheel
    tools
        distributions that the user installs beside it, as ``pytest``
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(asked, check=True, capture_output=True, text=True).stdout[:-1])
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    install = ["install", "-q", "--no-deps", "--no-index", str(built)]
    subprocess.run([*pip, *install], check=True)
    (own,) = packages.glob("aocq-*.dist-info")
    for name in sorted(_closure([*_needed(Distribution.at(own)), *tools])):
        for entry in _roots(distribution(name)):
            if not (packages / entry.name).exists():
                (packages / entry.name).symlink_to(entry)
    return python


def _needed(of: Distribution) -> list[str]:
    """Return the distributions that one needs without extras, on this platform."""
    from packaging.requirements import Requirement

    found = [Requirement(text) for text in of.requires or ()]
    return [r.name for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]


def _closure(names: list[str]) -> set[str]:
    found: set[str] = set()
    left = [*names]
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name not in found:
            found.add(name)
            left += _needed(distribution(name))
    return found


def _roots(of: Distribution) -> set[Path]:
    """Return what a distribution has right in site-packages."""
    files = [Path(str(of.locate_file(file))) for file in of.files or ()]
    base = Path(str(of.locate_file("")))
    tops = {path.relative_to(base).parts[0] for path in files if base in path.parents}
    return {base / top for top in tops if top not in {"..", "__pycache__"}}
