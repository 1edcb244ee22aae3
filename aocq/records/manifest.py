# SPDX-License-Identifier: Apache-2.0
"""The manifest of an output folder: each command's files with their sha256 (``manifest.json``).

A result is taken up again, or replaced as a whole, by what its manifest says of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.golden.manifest import read_manifest
from simulator.reading import read_text, regular_size

MANIFEST_NAME = "manifest.json"
# A plain name in the folder itself, no hidden one: what a manifest names may be removed.
FileName = Annotated[
    str, StringConstraints(pattern=r"^[^./\x00-\x1f\x7f][^/\x00-\x1f\x7f]{0,254}$")
]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Results that are made from another one in the same folder: they go when it is made anew.
DERIVED: Mapping[str, frozenset[str]] = MappingProxyType({"quantize": frozenset({"lower"})})


class Entry(BaseModel):
    """One command's result.

    identity : digest or words for what it was made from; the same request has the same one
    files : sha256 by name
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    identity: str
    files: dict[FileName, Digest]


class Manifest(BaseModel):
    """All results of a folder, by the command that made them.

    stale : files that go when the latest of the results takes its place, if they are still those
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    results: dict[str, Entry] = {}
    stale: dict[FileName, Digest] = {}

    @property
    def names(self) -> set[str]:
        """Every file that is named."""
        return {name for entry in self.results.values() for name in entry.files}

    def with_result(self, command: str, entry: Entry) -> Manifest:
        """Return the manifest once ``command`` has made a new result.

        Its predecessor and what was made from that go with all their files. Another result that
        loses a file to it is none any more; its other files are nobody's, and stay.
        """
        replaced = {command, *DERIVED.get(command, ())} & self.results.keys()
        gone = {
            name: digest
            for which in sorted(replaced)
            for name, digest in self.results[which].files.items()
            if name not in entry.files
        }
        kept = {
            name: other
            for name, other in self.results.items()
            if name not in replaced and not other.files.keys() & entry.files.keys()
        }
        results = {**kept, command: entry}
        return Manifest(results=results, stale=gone)


def load_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest; an empty one where there is none that can be read."""
    try:
        text = read_text(folder / MANIFEST_NAME)
        return Manifest.model_validate(strict_json.loads(text))
    except (InputError, OSError, ValueError):
        return Manifest()


def save_manifest(manifest: Manifest, folder: Path) -> None:
    """Write ``manifest.json`` into ``folder``."""
    write_text(
        folder / MANIFEST_NAME,
        strict_json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n",
    )


def file_digest(path: Path) -> str:
    """Return the sha256 of a file.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    regular_size(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file_of(path: Path, digest: str) -> bool:
    """Return whether there is a regular file with that sha256."""
    try:
        return file_digest(path) == digest
    except (InputError, OSError):
        return False


def is_whole(folder: Path, entry: Entry, but: Iterable[str] = ()) -> bool:
    """Return whether files are there as a manifest names them; ``but`` are not looked at."""
    return all(
        is_file_of(folder / name, digest) for name, digest in entry.files.items() if name not in but
    )


def refuse_foreign(folder: Path) -> None:
    """Refuse to mix results of any name with files that no manifest names.

    Raises
    ------
    InputError
        If there is such a file or folder, hidden ones aside.
    """
    known = {*load_manifest(folder).names, MANIFEST_NAME}
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in known and not path.name.startswith(".")
    )
    if foreign:
        _refuse_golden(folder)
        raise InputError(
            f"{folder}: holds {foreign[0]}, which no command is known to have written, and results "
            "would mix with it; name another folder with --out"
        )


def _refuse_golden(folder: Path) -> None:
    """Refuse golden vectors, which have a manifest of their own."""
    try:
        read_manifest(folder)
    except InputError:
        return
    raise InputError(
        f"{folder}: holds golden vectors, as `aocq golden record` and `aocq golden directed` write "
        "them; name another folder with --out"
    )
