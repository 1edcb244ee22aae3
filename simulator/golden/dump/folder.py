# SPDX-License-Identifier: Apache-2.0
"""The dump of a device or a simulator: which of its files has which array of a golden folder.

Files are found by their names (``tensors/NAME.npy``, ``NAME.hex``) or by a mapping file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simulator.errors import InputError
from simulator.golden.dump.mapping import ENDINGS, Format, MappedArray
from simulator.golden.dump.values import DumpedArray, read_dumped
from simulator.golden.formats import lanes_of
from simulator.golden.manifest import RESULT, ArrayRole, Manifest, OpEntry
from simulator.graph.names import printable, quoted

_OF_ONE_ARRAY = (Format.NPY, Format.HEX, Format.RAW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """The arrays of a dump by the paths of the golden folder's files.

    Attributes
    ----------
    sources
        path in the golden folder to the file that has it, and how it is read
    unknown
        files that are of no array of the golden folder
    """

    manifest: Manifest
    sources: Mapping[str, MappedArray]
    folder: Path
    unknown: Sequence[str] = field(default=())

    def has(self, path: str) -> bool:
        """Tell whether the dump has an array of the golden folder."""
        return path in self.sources

    def read(self, path: str) -> DumpedArray:
        """Return the values of an array.

        Raises
        ------
        InputError
            If its file is damaged, or no file of its format.
        """
        source = self.sources[path]
        return read_dumped(self.folder / source.file, source, self.manifest.files[path])


def find_dump(
    manifest: Manifest, place: Path, mapping: Sequence[MappedArray] | None = None
) -> Dump:
    """Return which arrays a dump has.

    Parameters
    ----------
    place
        the dump's folder, or its one file
    mapping
        what its files hold; by their names if none is given

    Raises
    ------
    InputError
        If there is nothing to compare, or the mapping names what the golden folder has not.
    """
    if not place.exists():
        raise InputError(f"{place}: not found; name the folder of a dump, or a file of it")
    folder = place if place.is_dir() else place.parent
    if mapping is not None:
        sources = dict(_mapped(manifest, mapping))
        unknown: list[str] = []
    else:
        sources, unknown = _by_name(manifest, place)
    if not sources:
        paths = manifest.files
        results_first = sorted(paths, key=lambda path: paths[path].role is not ArrayRole.RESULT)
        some = ", ".join(results_first[:3])
        raise InputError(
            f"{place}: has no file named as one of the golden folder ({some} …), with one of the "
            f"endings {', '.join(ENDINGS)}; name what its files hold with --map"
        )
    return Dump(manifest=manifest, sources=sources, folder=folder, unknown=unknown)


def _mapped(
    manifest: Manifest, mapping: Sequence[MappedArray]
) -> Iterator[tuple[str, MappedArray]]:
    files: dict[str, str] = {}
    for source in mapping:
        arrays = manifest.entry(source.op).arrays
        if source.array not in arrays:
            raise InputError(
                f"op {quoted(source.op)}: has no array {quoted(source.array)} in the golden "
                f"folder; it has {', '.join(arrays)}"
            )
        path = arrays[source.array]
        if path in files:  # one op's result, and another's operand
            raise InputError(
                f"{printable(files[path])} and {printable(source.file)} are both mapped to {path}; "
                "name one of them"
            )
        files[path] = source.file
        yield path, source


def _by_name(manifest: Manifest, place: Path) -> tuple[dict[str, MappedArray], list[str]]:
    """Return sources by the names of files, and the files that have no such name.

    An array has one file: of two, in whatever formats, either could be a stale one.
    """
    known = _names(manifest)
    found: dict[str, list[MappedArray]] = {}
    unknown = []
    folder = place if place.is_dir() else place.parent
    for file in sorted(folder.rglob("*")) if place.is_dir() else [place]:
        form = ENDINGS.get(file.suffix.lower())
        if form not in _OF_ONE_ARRAY or not file.is_file():
            continue
        relative = file.relative_to(folder).as_posix()
        path = _golden_path(relative.removesuffix(file.suffix), known)
        if path is None:
            unknown.append(printable(relative))
            continue
        entry, key = known[path.removesuffix(".npy")]
        lanes = _lanes(manifest, path) if form is Format.HEX else 1
        source = MappedArray(op=entry.name, array=key, file=relative, format=form, lanes=lanes)
        found.setdefault(path, []).append(source)
    return {path: _only(path, sources) for path, sources in found.items()}, unknown


def _only(path: str, sources: Sequence[MappedArray]) -> MappedArray:
    """Return the one source of an array; InputError where two files have it."""
    if len(sources) > 1:
        raise InputError(
            f"{printable(sources[0].file)} and {printable(sources[1].file)} are both named as "
            f"{path}; remove one, or name what files hold with --map"
        )
    return sources[0]


def _names(manifest: Manifest) -> dict[str, tuple[OpEntry, str]]:
    """Return the first op and key of every array by its path without the ending."""
    found: dict[str, tuple[OpEntry, str]] = {}
    for entry in manifest.ops:
        for key, path in entry.arrays.items():
            name = path.removesuffix(".npy")
            if name not in found or key == RESULT:
                found[name] = (entry, key)
    return found


def _golden_path(name: str, known: Mapping[str, tuple[OpEntry, str]]) -> str | None:
    """Return the golden path of a file without its ending: the same, or the same last parts."""
    if name in known:
        return f"{name}.npy"
    parts = name.split("/")
    for start in range(1, len(parts)):  # hex/tensors/NAME
        if "/".join(parts[start:]) in known:
            return f"{'/'.join(parts[start:])}.npy"
    for room in ("tensors", "inner"):
        if f"{room}/{parts[-1]}" in known:
            return f"{room}/{parts[-1]}.npy"
    return None


def _lanes(manifest: Manifest, path: str) -> int:
    """Return the elements in a word, as the golden folder's own hex files have them."""
    return lanes_of(manifest.files[path].bits, manifest.word_bits)[0]
