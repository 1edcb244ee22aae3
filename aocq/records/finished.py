# SPDX-License-Identifier: Apache-2.0
"""Finished runs: published whole, taken up by whoever asks for the same, judged by other gates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from aocq.records.layers import LayerRow
from aocq.records.manifest import MANIFEST_NAME, is_file_of, is_whole, load_manifest
from aocq.records.publishing import publish, staging
from aocq.records.run import RunResult
from aocq.records.run_folder import LAYERS_NAME, REPORT_NAMES, RUN_NAME, load_record, load_run
from simulator.errors import InputError
from simulator.files import write_text

COMMAND = "verify"  # in the folder's manifest, whatever command made the run
Run = tuple[RunResult, list[LayerRow]]
# Writes the pages of a run into a folder.
Draw = Callable[[RunResult, Sequence[LayerRow], Path], object]


def finished_run(folder: Path, identity: str) -> Run | None:
    """Return the run in ``folder`` if it answers the request of this identity and is as written.

    Its pages are not looked at: they can be drawn again.
    """
    entry = load_manifest(folder).results.get(COMMAND)
    if entry is None or entry.identity != identity or not is_whole(folder, entry, REPORT_NAMES):
        return None
    try:
        return load_run(folder)
    except InputError:
        return None


def whole_run(folder: Path) -> RunResult | None:
    """Return the record of the run in ``folder``, whatever request it answers, if it is whole.

    For folders that are named by all that their run depends on.
    """
    entry = load_manifest(folder).results.get(COMMAND)
    if entry is None or not is_whole(folder, entry, REPORT_NAMES):
        return None
    try:
        return load_record(folder)
    except InputError:
        return None


def note_changes(folder: Path, note: Callable[[str], None]) -> None:
    """Say which files of a run are not what the run wrote; their figures are nobody's word."""
    entry = load_manifest(folder).results.get(COMMAND)
    for name in (RUN_NAME, LAYERS_NAME):
        if (
            entry is not None
            and name in entry.files
            and not is_file_of(folder / name, entry.files[name])
        ):
            note(
                f"{folder / name}: is not what the run wrote ({MANIFEST_NAME} has another sha256); "
                "nothing vouches for its figures"
            )


def note_replaced(folder: Path, note: Callable[[str], None]) -> None:
    """Say so where ``folder`` has a finished run, which another request's will replace."""
    try:
        found = load_record(folder) if (folder / RUN_NAME).exists() else None
    except InputError:  # nothing of ours
        return
    if found is not None:
        note(f"replaces the finished run of {found.model.name} on {found.profile.name} in {folder}")


def has_pages(folder: Path) -> bool:
    """Return whether a run's pages, too, are as they were written."""
    entry = load_manifest(folder).results.get(COMMAND)
    return entry is not None and entry.files.keys() >= {*REPORT_NAMES} and is_whole(folder, entry)


def redraw(
    folder: Path, result: RunResult, rows: Sequence[LayerRow], draw: Draw, *, record: bool
) -> None:
    """Write the pages of the run in ``folder`` again, in one step with its record.

    Parameters
    ----------
    record
        whether ``run.json`` is to say what ``result`` says, too
    """
    complete = staging(folder)
    if record:
        write_text(complete / RUN_NAME, result.to_json())
    draw(result, rows, complete)
    entry = load_manifest(folder).results.get(COMMAND)
    if entry is None:  # a run of an older version, which stays one
        publish(folder, "report", result.graph.sha256)
        return
    # A folder that was edited answers no request, even when its record is new.
    identity = entry.identity if is_whole(folder, entry, REPORT_NAMES) else ""
    publish(folder, COMMAND, identity, keep=entry.files)
