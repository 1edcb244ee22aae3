# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: ``run.json`` and ``layers.csv``, written and read back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from aocq.records.fields import first_mistake
from aocq.records.layers import LayerRow, layers_csv, read_layers
from aocq.records.run import RunResult
from simulator import strict_json
from simulator.errors import InputError
from simulator.files import write_text
from simulator.reading import read_text

RUN_NAME = "run.json"
LAYERS_NAME = "layers.csv"
REPORT_NAMES = ("report.html", "report.md")


def save_run(result: RunResult, rows: list[LayerRow], folder: Path) -> None:
    """Write ``layers.csv`` and then ``run.json`` into ``folder``."""
    write_text(folder / LAYERS_NAME, layers_csv(rows))
    write_text(folder / RUN_NAME, result.to_json())


def load_run(folder: Path) -> tuple[RunResult, list[LayerRow]]:
    """Read a run folder.

    Raises
    ------
    InputError
        If ``run.json`` or ``layers.csv`` is missing or is not what :func:`save_run` writes.
    """
    result = load_record(folder)
    with _reading(folder / LAYERS_NAME) as path:
        rows = read_layers(read_text(path))
        if len(rows) != result.graph.ops:
            raise ValueError(f"{len(rows)} ops, {RUN_NAME} says {result.graph.ops}")
    return result, rows


def load_record(folder: Path) -> RunResult:
    """Read the record of a run folder, without the rows of its ops.

    Raises
    ------
    InputError
        If ``run.json`` is missing or is not what :func:`save_run` writes.
    """
    with _reading(folder / RUN_NAME) as path:
        text = read_text(path)
        strict_json.loads(text)  # refuses what pydantic's reader lets pass: a key twice, 1e999
        return RunResult.model_validate_json(text, strict=True)


@contextmanager
def _reading(path: Path) -> Iterator[Path]:
    """Turn what can go wrong with a file of a run into an InputError that names it."""
    try:
        yield path
    except NotADirectoryError as error:
        raise InputError(
            f"{path.parent}: is no folder; name the run's folder, which holds {RUN_NAME}"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); a run folder is what `aocq verify --out` "
            "writes"
        ) from error
    except ValidationError as error:
        raise InputError(f"{path}: not a run of format 1: {first_mistake(error)}") from error
    except ValueError as error:  # text that is not UTF-8 too
        raise InputError(
            f"{path}: not a run of format 1: {error}; make the run again, or take a whole copy"
        ) from error


def refuse_run_folder(folder: Path) -> None:
    """Refuse to put other files into a finished run, whose record vouches for what is there.

    Raises
    ------
    InputError
        If ``folder`` holds a ``run.json``.
    """
    if os.path.lexists(folder / RUN_NAME):  # False, too, for what no file can be named
        raise InputError(
            f"{folder}: holds a finished run ({RUN_NAME}), whose files belong together; name "
            "another folder with --out"
        )
