# SPDX-License-Identifier: Apache-2.0
"""Pages that are drawn again: a record that was edited by hand is no finished run after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aocq.records.finished import COMMAND, finished_run, redraw
from aocq.records.gates import Gates, judged
from aocq.records.layers import LayerRow
from aocq.records.publishing import publish, staging
from aocq.records.run import RunResult
from aocq.records.run_folder import RUN_NAME, load_run, save_run
from reports.write import write_report

KEY = "the request"


def again(folder: Path, *, record: bool) -> None:
    result, rows = load_run(folder)
    redraw(folder, judged(result, Gates(max_drop=99.0)), rows, write_report, record=record)


@pytest.fixture
def folder(run: tuple[RunResult, list[LayerRow]], tmp_path: Path) -> Path:
    complete = staging(tmp_path)
    save_run(*run, complete)
    write_report(*run, complete)
    publish(tmp_path, COMMAND, KEY)
    return tmp_path


@pytest.mark.parametrize("record", [False, True])
def test_a_run_that_was_judged_again_answers_its_request(folder: Path, record: bool) -> None:
    again(folder, record=record)
    assert finished_run(folder, KEY) is not None


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("times", [1, 2])
def test_a_record_edited_by_hand_answers_none(folder: Path, record: bool, times: int) -> None:
    path = folder / RUN_NAME
    text = path.read_text("utf-8")
    images = load_run(folder)[0].accuracy.images
    edited = text.replace(f'"images": {images}', f'"images": {images + 1}')
    assert edited != text
    path.write_text(edited, "utf-8")
    for _ in range(times):
        again(folder, record=record)
    assert finished_run(folder, KEY) is None
