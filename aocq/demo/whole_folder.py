# SPDX-License-Identifier: Apache-2.0
"""Folders of files that are written completely, or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


def write_whole_folder(
    folder: Path, files: Sequence[Path], write: Callable[[Path], None], what: str
) -> None:
    """Make a folder with all of ``files``.

    They are written beside ``folder`` and renamed into place together, so that ``folder`` never
    holds a part of them, even where two processes write it at once. Where all files are there
    already, nothing is touched.

    Parameters
    ----------
    folder : Path
        The folder to make, with its parents. It may exist if it is empty or complete.
    files : sequence of Path
        Relative to the folder.
    write : callable
        Writes the files into a folder of another name, which it makes.
    what : str
        What they are, for the error.

    Raises
    ------
    FileExistsError
        If ``folder`` is a file, or holds something else than all of the files: it is the
        caller's, and is left as it is.
    """
    if _is_complete(folder, files):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as staging:
        # One level down, since the temporary folder itself is readable by its owner alone.
        written = Path(staging) / "images"
        write(written)
        try:
            written.rename(folder)
        except OSError as error:
            if not _is_complete(folder, files):  # else another process was quicker: as good
                message = f"{folder} exists and is not the complete set of {what}"
                raise FileExistsError(message) from error


def _is_complete(folder: Path, files: Sequence[Path]) -> bool:
    return all((folder / relative).is_file() for relative in files)
