# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import reports.write
from aocq.records.run_folder import load_run, save_run
from reports.markdown import markdown
from reports.page import html
from reports.write import write_report
from simulator.errors import InputError


def test_report_is_two_files_and_the_page_is_returned(run, tmp_path):
    path = write_report(*run, tmp_path / "new folder")

    assert path == tmp_path / "new folder" / "report.html"
    assert path.read_text(encoding="utf-8") == html(*run)
    assert path.with_name("report.md").read_text(encoding="utf-8") == markdown(*run)
    assert sorted(file.name for file in path.parent.iterdir()) == ["report.html", "report.md"]


def test_report_of_a_saved_run_is_the_same(run, tmp_path):
    save_run(*run, tmp_path)

    assert html(*load_run(tmp_path)) == html(*run)


def test_existing_files_survive_a_failing_write(run, tmp_path, monkeypatch):
    path = write_report(*run, tmp_path)
    before = path.read_bytes()
    real = Path.write_text

    def torn(self, text, **options):
        real(self, text[: len(text) // 2], **options)
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_text", torn)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(*run, tmp_path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "report.md"]


def test_nothing_is_written_where_the_page_cannot_be_made(run, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no page")

    monkeypatch.setattr(reports.write, "html", broken)
    with pytest.raises(RuntimeError):
        write_report(*run, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reports_import_records_alone_of_the_model_side_and_no_pyplot():
    code = (
        "import sys, reports.write;"
        "print(*{'torch', 'timm', 'matplotlib.pyplot'} & sys.modules.keys());"
        "print(*(name for name in sys.modules if name.startswith('aocq.')"
        " and not name.startswith('aocq.records')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
