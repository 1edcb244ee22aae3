# SPDX-License-Identifier: Apache-2.0
"""What a figure was computed with: versions of packages, and a digest of this project's sources."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import aocq
import simulator

PACKAGES = ("aocq", "torch", "timm", "numpy", "numba", "safetensors", "pillow")


@cache
def code_digest() -> str:
    """Return a digest of this project's own sources: a version does not change with every edit.

    Without it, a run that was interrupted would go on with the decisions of other code.
    """
    digest = hashlib.sha256()
    for package in (aocq, simulator):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a figure may depend on.

    Raises
    ------
    PackageNotFoundError
        If one of them is not installed.
    """
    return {"python": python_version(), **{name: version(name) for name in PACKAGES}}
