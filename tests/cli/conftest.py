# SPDX-License-Identifier: Apache-2.0
"""One demo run for all tests of the session, and copies of it that may be spoiled."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, RUN_FILES, Demo, Finished, aocq, digests


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "run"
    return Demo(folder, aocq("demo", "--out", folder))


@pytest.fixture(scope="session")
def warm() -> Iterator[Callable[..., Finished]]:
    """Runs ``aocq`` as :func:`command_line.aocq` does, with torch and timm already loaded."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("warm_process.py")],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, answers = process.stdin, process.stdout

    def run(*arguments: object, code: int = 0) -> Finished:
        start = time.monotonic()
        print(json.dumps([str(part) for part in arguments]), file=requests, flush=True)
        answer = json.loads(answers.readline())
        finished = Finished(**answer, seconds=time.monotonic() - start)
        finished.check(code)
        return finished

    yield run
    requests.close()
    answers.close()
    assert process.wait(timeout=60) == 0


@pytest.fixture
def earlier_run(demo: Demo, tmp_path: Path) -> Iterator[Path]:
    """A folder with a finished run, which the test must leave as it is."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    for name in RUN_FILES:
        shutil.copy(demo.folder / name, folder)
    before = digests(folder)
    yield folder
    assert digests(folder) == before


@pytest.fixture(scope="session")
def few_images(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes new folders with three images of every digit."""

    def make() -> Path:
        folder = tmp_path_factory.mktemp("few")
        for digit in sorted((demo.folder / "data" / "val").iterdir()):
            (folder / digit.name).mkdir()
            for path in sorted(digit.iterdir())[:3]:
                shutil.copy(path, folder / digit.name)
        return folder

    return make
