# SPDX-License-Identifier: Apache-2.0
"""What is said where a run's folder is not one."""

from __future__ import annotations

from pathlib import Path

import pytest

from aocq.records.run_folder import RUN_NAME, load_run
from simulator.errors import InputError


def test_a_run_is_named_by_its_folder(tmp_path: Path) -> None:
    file = tmp_path / RUN_NAME
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_run(file)
    said = f"{file}: is no folder; name the run's folder, which holds {RUN_NAME}"
    assert str(caught.value) == said


def test_a_folder_that_does_not_exist_is_named_with_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nosuch/run\.json: cannot be read \(No such file"):
        load_run(tmp_path / "nosuch")
