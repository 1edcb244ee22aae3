# SPDX-License-Identifier: Apache-2.0
"""One demo run for all tests of the session, and copies of it that may be spoiled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import RUN_FILES, Demo, Finished, Forking, aocq, digests
from filelock import FileLock


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run by the first worker that asks for it; nobody writes into its folder."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, finished = shared / "demo" / "run", shared / "demo.json"
    with FileLock(shared / "demo.lock"):
        if not finished.exists():
            finished.write_text(json.dumps(aocq("demo", "--out", folder)._asdict()), "utf-8")
    return Demo(folder, Finished(**json.loads(finished.read_text("utf-8"))))


@pytest.fixture(scope="session")
def forking() -> Iterator[Forking]:
    """Begins every command with torch and timm already loaded."""
    process = Forking(torch=True)
    yield process
    process.close()


@pytest.fixture(scope="session")
def warm(forking: Forking) -> Callable[..., Finished]:
    """Runs ``aocq`` as :func:`command_line.aocq` does, with torch and timm already loaded."""
    return forking.run


@pytest.fixture(scope="session")
def without_torch() -> Iterator[Callable[..., Finished]]:
    """Runs ``aocq`` in processes that find neither torch nor timm."""
    forking = Forking(torch=False)
    yield forking.run
    forking.close()


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
