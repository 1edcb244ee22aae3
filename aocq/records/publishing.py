# SPDX-License-Identifier: Apache-2.0
"""Results that replace earlier ones as a whole: by one process, in one step, or not at all.

New files are made in ``.work/complete``; the manifest, written last, says that they are complete.
Earlier files then go to ``.work/earlier``, ``run.json`` first, and the new ones take their places,
``run.json`` and the manifest last. A step that fails is taken back. A killed process leaves a state
that says by itself how far it was: whoever claims the folder next completes it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from aocq.records.claim import FOLDERS, WORK, held
from aocq.records.manifest import (
    MANIFEST_NAME,
    Entry,
    file_digest,
    is_file_of,
    load_manifest,
    save_manifest,
)
from aocq.records.run_folder import RUN_NAME
from simulator.errors import InputError
from simulator.files import cannot_be_written

__all__ = ["WORK", "claimed", "publish", "refuse_blocked", "staging"]

COMPLETE, EARLIER = FOLDERS


@contextmanager
def claimed(folder: Path, note: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Hold the sole right to publish into ``folder``; first end what a killed process began.

    Raises
    ------
    InputError
        If another process holds it, the folder cannot be written, or what was begun cannot be
        ended.
    """
    with held(folder):
        _recover(folder, note)
        try:
            yield
        finally:
            if not _pending(folder):
                shutil.rmtree(folder / WORK / COMPLETE, ignore_errors=True)


def staging(folder: Path) -> Path:
    """Return the empty folder where a result's files are made before they are published."""
    complete = folder / WORK / COMPLETE
    shutil.rmtree(complete, ignore_errors=True)
    try:
        complete.mkdir(parents=True)
    except OSError as error:
        raise cannot_be_written(complete, error) from error
    return complete


def publish(folder: Path, command: str, identity: str, keep: Collection[str] = ()) -> None:
    """Let the files in :func:`staging` take the place of ``command``'s earlier result.

    Parameters
    ----------
    identity
        what the result was made from, see :class:`aocq.records.manifest.Entry`
    keep
        files of the earlier result that belong to this one too, as the manifest names them

    Raises
    ------
    InputError
        If a file cannot be replaced. Everything in ``folder`` is as it was, and the new result
        waits for whoever claims the folder next.
    """
    complete = folder / WORK / COMPLETE
    before = load_manifest(folder)
    files = {path.name: file_digest(path) for path in sorted(complete.iterdir())}
    earlier = before.results.get(command)
    if earlier is not None:
        files = {name: earlier.files[name] for name in keep if name in earlier.files} | files
    entry = Entry(identity=identity, files=files)
    save_manifest(before.with_result(command, entry), complete)
    _move(folder)


def refuse_blocked(folder: Path, names: Collection[str]) -> None:
    """Refuse before any work what would stand in the way of publishing: folders of these names.

    Raises
    ------
    InputError
        If there is one.
    """
    for name in (*names, MANIFEST_NAME):
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise InputError(
                f"{folder / name}: is a folder, where a file is to be written; move it away, or "
                "name another folder with --out"
            )


def _pending(folder: Path) -> bool:
    return (folder / WORK / COMPLETE / MANIFEST_NAME).exists()


def _move(folder: Path) -> None:
    """Move earlier files away and complete ones to their places; forward from any state."""
    complete = folder / WORK / COMPLETE
    moves = _moves(folder)
    refuse_blocked(folder, [target.name for _, target in moves])
    done: list[tuple[Path, Path]] = []
    place = folder
    try:
        (folder / WORK / EARLIER).mkdir(exist_ok=True)
        for source, target in moves:
            place = folder / target.name
            done.append((source, target))  # before: Ctrl-C is raised after the rename it came in
            source.replace(target)
    except OSError as error:
        _take_back(done)
        raise InputError(
            f"{place}: cannot be replaced ({error.strerror or error}); the earlier result is as it "
            f"was, and the new one waits in {complete}: make way and give the same command again, "
            f"or delete {folder / WORK} to give it up"
        ) from error
    except BaseException:  # Ctrl-C
        _take_back(done)
        raise
    for left in (complete, folder / WORK / EARLIER):
        shutil.rmtree(left, ignore_errors=True)


def _moves(folder: Path) -> list[tuple[Path, Path]]:
    """Return what is still to be renamed, in order; told from what lies where."""
    complete, earlier = folder / WORK / COMPLETE, folder / WORK / EARLIER
    new = load_manifest(complete)
    # Others are in their places: kept, or moved already.
    waiting = {name for name in new.names if os.path.lexists(complete / name)}
    stale = {name for name, digest in new.stale.items() if is_file_of(folder / name, digest)}
    away = sorted(waiting | stale, key=lambda name: (name != RUN_NAME, name))
    come = sorted(waiting, key=lambda name: (name == RUN_NAME, name))
    return [
        *(
            (folder / name, earlier / name)
            for name in (*away, MANIFEST_NAME)
            if os.path.lexists(folder / name)
        ),
        *((complete / name, folder / name) for name in (*come, MANIFEST_NAME)),
    ]


def _take_back(done: Sequence[tuple[Path, Path]]) -> None:
    """Undo renames, the last one first; where one cannot be undone, the next claim goes forward."""
    with suppress(OSError):
        for source, target in reversed(done):
            if not os.path.lexists(source):  # the last one may not have been done
                target.replace(source)


def _recover(folder: Path, note: Callable[[str], None]) -> None:
    """End what a killed process began; take back what was damaged since."""
    complete, earlier = folder / WORK / COMPLETE, folder / WORK / EARLIER
    if not _pending(folder):
        # Left over from before the first move, or from after the last.
        for left in (complete, earlier):
            shutil.rmtree(left, ignore_errors=True)
        return
    try:
        if _is_sound(folder):
            _move(folder)
            note(f"{folder}: a finished result waited to be published; done")
            return
        for path in _come_first(folder):
            path.unlink()
        for path in sorted(earlier.glob("*"), key=lambda path: (path.name == RUN_NAME, path)):
            path.replace(folder / path.name)
        shutil.rmtree(complete)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: what an earlier command left unfinished cannot be ended "
            f"({error.strerror or error}); make way, or name another folder with --out"
        ) from error
    note(f"{folder}: a result that waited to be published is damaged; the earlier one is back")


def _fresh(folder: Path) -> dict[str, str]:
    """Return the files of the result that is being published, with their digests."""
    new = load_manifest(folder / WORK / COMPLETE)
    there = folder if os.path.lexists(folder / MANIFEST_NAME) else folder / WORK / EARLIER
    before = load_manifest(there).results
    return {
        name: digest
        for command, entry in new.results.items()
        if before.get(command) != entry
        for name, digest in entry.files.items()
    }


def _is_sound(folder: Path) -> bool:
    """Return whether all files of the new result are there, waiting or in their places."""
    complete = folder / WORK / COMPLETE
    fresh = _fresh(folder)
    waiting = {path.name for path in complete.iterdir()} - {MANIFEST_NAME}
    return bool(load_manifest(complete).results) and all(
        is_file_of((complete if name in waiting else folder) / name, fresh.get(name, ""))
        for name in waiting.union(fresh)
    )


def _come_first(folder: Path) -> list[Path]:
    """Return files of the new result that are in their places, where there were none before."""
    return [
        folder / name
        for name, digest in _fresh(folder).items()
        if not os.path.lexists(folder / WORK / COMPLETE / name)
        and not os.path.lexists(folder / WORK / EARLIER / name)
        and name not in load_manifest(folder / WORK / EARLIER).names
        and is_file_of(folder / name, digest)
    ]
