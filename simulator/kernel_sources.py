# SPDX-License-Identifier: Apache-2.0
"""The source files that a compiled kernel depends on: its module's import closure.

A kernel calls functions of the modules that its own imports, of those that they import, and so on.
Modules of :data:`FOLDERS` are followed; others hold no kernels, and nothing that kernels compile.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
IMPORTED = time.time_ns()  # before any module with kernels is
FOLDERS = ("numerics", "gemm", "ops", "simd")  # of the package: what holds kernels


@cache
def sources_digest(path: str, package: Path = PACKAGE) -> str:
    """Return the sha256 over a source file and all kernel modules in its import closure."""
    digest = hashlib.sha256()
    for source in sorted(import_closure(Path(path), package)):
        digest.update(f"{source.name} {source.stat().st_size}\n".encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


def edited_since_import(path: str, package: Path = PACKAGE, imported: int = IMPORTED) -> bool:
    """Tell whether a file of the closure is newer than the code that this process runs.

    What would be compiled is then not what the files say, in either direction. Times in the future
    are of another machine's clock, and tell nothing.
    """
    now = time.time_ns()
    try:
        return any(
            imported < source.stat().st_mtime_ns <= now
            for source in import_closure(Path(path), package)
        )
    except OSError:  # moved away meanwhile
        return True


def import_closure(path: Path, package: Path = PACKAGE) -> set[Path]:
    """Return a file and the kernel modules that it imports, directly or through others."""
    found: set[Path] = set()
    open_ones = [path]
    while open_ones:
        source = open_ones.pop()
        if source not in found:
            found.add(source)
            open_ones += _imported(source, package)
    return found


# ``from x import y, z`` over one line or in parentheses, and ``import x``: all digests take 0.06 s
# at a start, and with a parser 0.18 s. In a docstring an import is followed in vain.
_FROM = re.compile(r"^[ \t]*from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT = re.compile(r"^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)


@cache
def _imported(source: Path, package: Path) -> tuple[Path, ...]:
    """Return the kernel modules that a file imports by an absolute name, at any place in it."""
    text = source.read_text(encoding="utf-8")
    names = {name for found in _IMPORT.findall(text) for name in re.findall(r"[\w.]+", found)}
    for module, imported in _FROM.findall(text):
        names |= {module, *(f"{module}.{name}" for name in re.findall(r"\w+", imported))}
    return tuple(file for name in sorted(names) for file in _files_of(name, package))


def _files_of(module: str, package: Path) -> Iterator[Path]:
    """Yield the file of a module of the package, if it is one that may hold kernels."""
    top, _, rest = module.partition(".")
    parts = rest.split(".")
    if top == package.name and parts[0] in FOLDERS:
        place = package.joinpath(*parts)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file
