# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in: golden arrays beside tests, compared by type, shape and every value.

``golden.check("name", array)`` holds an array to ``golden/TEST_MODULE/name.npy`` beside the test,
``golden.check_run(graph, inputs)`` what the emulator computes; ``pytest --golden-update`` writes
the files. pytest imports this module in every run, so that it imports nothing but pytest itself.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from simulator.graph import IntGraph

_USED = "golden"  # the property of a test's report; xdist's workers send it along
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 100
_LISTED = 20  # stale files that the summary names


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--golden-update``."""
    group = parser.getgroup("golden", "golden arrays (aocq)")
    group.addoption(
        "--golden-update",
        action="store_true",
        help="write the golden arrays of the tests that run, instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the reports of all tests, in whichever process they run."""
    config.pluginmanager.register(_Summary(config), "golden_summary")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare arrays with golden files beside the test: ``golden.check("name", array)``."""
    return Golden(request.node, update=request.config.getoption("--golden-update"))


class Golden:
    """The golden arrays of one test."""

    def __init__(self, test: pytest.Item, *, update: bool) -> None:
        self._test = test
        self._update = update
        self._seen: set[Path] = set()

    @property
    def folder(self) -> Path:
        """Folder of the golden files of the test's module: ``golden/MODULE`` beside it."""
        return self._test.path.parent / "golden" / self._test.path.stem

    def path(self, name: str, *, shared: bool = False) -> Path:
        """Return the file of an array: ``NAME.npy``, of a parametrised test ``NAME/CASE.npy``.

        Parameters
        ----------
        name
            letters, digits, ``_``, ``.`` and ``-``
        shared
            whether all cases of a parametrised test have one file, as two simulators of one unit do
        """
        __tracebackhide__ = True
        if not _PLAIN.fullmatch(name) or len(name) > _LONGEST:
            raise ValueError(
                f"golden array {name!r}: a name has letters, digits, '_', '.' and '-', and at "
                f"most {_LONGEST} of them"
            )
        case = getattr(self._test, "callspec", None)
        if case is None or shared:
            return self.folder / f"{name}.npy"
        return self.folder / name / f"{_file_name(case.id)}.npy"

    def check(self, name: str, array: Any, *, shared: bool = False) -> None:
        """Fail unless an array equals the golden one in type, shape and every value.

        Parameters
        ----------
        name
            the array's name, once in a test
        array
            a numpy array, or what has a ``dtype`` and becomes one
        shared
            see :meth:`path`
        """
        __tracebackhide__ = True
        self._check(name, array, {}, shared=shared)

    def check_run(
        self,
        graph: IntGraph | Path | str,
        inputs: Any,
        *,
        name: str | None = None,
        taps: Sequence[str] = (),
    ) -> None:
        """Fail unless the emulator computes the golden codes of a graph.

        Parameters
        ----------
        graph
            a graph, its folder or its ``graph.json``
        inputs
            codes [images, ...] of its input, or the ``.npy`` file of them
        name
            begins the names of the arrays, NAME.TENSOR; the graph's own if left out
        taps
            further tensors, names or patterns (``blocks.0.*``): the first one that differs, in the
            order of the graph, is where to look
        """
        __tracebackhide__ = True
        from simulator.golden.emulated import emulated

        run = emulated(graph, inputs, taps)
        for tensor, codes in run.codes.items():
            self._check(f"{name or run.graph_name}.{tensor}", codes, run.about, shared=False)

    def _check(self, name: str, value: Any, about: Mapping[str, str], *, shared: bool) -> None:
        __tracebackhide__ = True
        from simulator.golden import kept_arrays

        path = self.path(name, shared=shared)
        if path in self._seen:
            raise ValueError(f"golden array {name!r}: checked twice in one test; give it two names")
        self._seen.add(path)
        array = kept_arrays.as_array(value)
        became = kept_arrays.write(path, array, about) if self._update else ""
        digest = hashlib.sha256(kept_arrays.content_of(array)).hexdigest()
        self._test.user_properties.append((_USED, [str(path), became, digest]))
        problem = None if self._update else kept_arrays.problem(path, array, about)
        if problem is not None:
            pytest.fail(
                f"golden array {name!r}: {problem}\n"
                f"  if this is meant: pytest --golden-update '{self._test.nodeid}'"
            )


def _file_name(case: str) -> str:
    """Return the id of a case as a file name, with a digest where it is none itself."""
    if _PLAIN.fullmatch(case) and len(case) <= _LONGEST:
        return case
    digest = hashlib.sha256(case.encode(errors="surrogatepass")).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", case).strip("-")[:_LONGEST]
    return f"{plain}-{digest}" if plain else digest


class _Summary:
    """What all tests of a run did with golden files: written ones, conflicts, stale ones."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._uses: dict[str, list[tuple[str, str]]] = defaultdict(list)  # path: (became, digest)
        self._modules: set[str] = set()  # files of tests, relative to the root
        self._whole = True  # every test of every module ran and passed
        self._conflicts: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take up a test's module, and the golden files that it used."""
        self._modules.add(report.nodeid.split("::")[0])
        if report.outcome != "passed":
            self._whole = False
        if report.when != "teardown":
            return
        for key, value in report.user_properties:
            if key == _USED:
                path, became, digest = map(str, cast("list[str]", value))
                self._uses[path].append((became, digest))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note that the run is none of all tests."""
        self._whole = self._whole and not items

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where two checks wrote different arrays into one file."""
        if not self._config.getoption("--golden-update"):
            return
        self._conflicts = [
            path for path, uses in self._uses.items() if len({digest for _, digest in uses}) > 1
        ]
        if self._conflicts and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which golden files were written, and which no test used."""
        became = [word for uses in self._uses.values() for word, _ in uses]
        lines = [
            f"{path}: two checks wrote different arrays; give them different names"
            for path in self._conflicts
        ]
        counts = {word: became.count(word) for word in ("written", "changed", "unchanged")}
        if self._config.getoption("--golden-update") and became:
            lines.append(", ".join(f"{count} {word}" for word, count in counts.items()))
        stale = [*self._stale()]
        lines += [f"not used by any test: {path}" for path in stale[:_LISTED]]
        if len(stale) > _LISTED:
            lines.append(f"and {len(stale) - _LISTED} more that no test used")
        if lines:
            terminalreporter.section("golden arrays")
            for line in lines:
                terminalreporter.line(line)

    def _stale(self) -> Iterator[Path]:
        """Yield golden files that nobody asked for, of modules whose tests all ran and passed."""
        narrowed = any("::" in str(argument) for argument in self._config.args)
        if narrowed or not self._whole:
            return
        used = {Path(path).resolve() for path in self._uses}
        known = {_module_folder(path) for path in used}
        for folder in sorted(known | {*self._folders()}):
            for path in sorted(folder.rglob("*.npy")):
                written = folder in known or path.with_suffix(".json").is_file()
                if path not in used and written:
                    yield path

    def _folders(self) -> Iterator[Path]:
        """Yield ``golden/MODULE`` of the modules whose tests ran, whether they use it or not."""
        for module in self._modules:
            path = (self._config.rootpath / module).resolve()
            yield path.parent / "golden" / path.stem


def _module_folder(path: Path) -> Path:
    """Return ``golden/MODULE`` of a golden file."""
    return path.parent if path.parent.parent.name == "golden" else path.parent.parent
