# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import time
from types import CodeType
from typing import Any

import pytest

from simulator import kernel_sources
from simulator.executor import Executor
from simulator.kernel_sources import (
    FOLDERS,
    PACKAGE,
    edited_since_import,
    import_closure,
    sources_digest,
)
from simulator.ops.add import add_rows


@pytest.fixture
def package(tmp_path):
    """A package of four modules: a kernel, what it calls, what that calls, and a stranger."""
    root = tmp_path / "simulator"
    for name, text in {
        "ops/add.py": "from simulator.numerics.rounding import shift\nfrom math import pi\n",
        "numerics/rounding.py": "from simulator.numerics import jit\n",
        "numerics/jit.py": "import simulator.graph.op\n",
        "graph/op.py": "from simulator.numerics.stranger import x\n",
        "numerics/stranger.py": "x = 1\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def digest(package):
    sources_digest.cache_clear()
    return sources_digest(str(package / "ops" / "add.py"), package)


def test_the_closure_is_what_is_imported_directly_and_through_others(package):
    found = import_closure(package / "ops" / "add.py", package)
    assert {path.relative_to(package).as_posix() for path in found} == {
        *("ops/add.py", "numerics/rounding.py", "numerics/jit.py"),
    }


@pytest.mark.parametrize("name", ["ops/add.py", "numerics/rounding.py", "numerics/jit.py"])
def test_an_edit_in_the_closure_leads_to_another_digest(package, name):
    before = digest(package)
    assert digest(package) == before
    text = (package / name).read_text()
    (package / name).write_text(f"{text}# edited\n")
    assert digest(package) != before
    (package / name).write_text(text)
    assert digest(package) == before


@pytest.mark.parametrize("name", ["graph/op.py", "numerics/stranger.py"])
def test_an_edit_elsewhere_leads_to_the_same_digest(package, name):
    before = digest(package)
    (package / name).write_text("y = 2\n")
    assert digest(package) == before


def test_a_kernel_that_is_called_is_in_the_closure():
    found = {p.relative_to(PACKAGE).as_posix() for p in import_closure(PACKAGE / "ops" / "add.py")}
    assert {"ops/add.py", "numerics/rounding.py", "numerics/requantization.py"} <= found


def _functions(module: Any) -> list[Any]:
    held = vars(module).values()
    return [value.py_func for value in held if hasattr(value, "py_func")]


def _names(code: CodeType) -> set[str]:
    inner = [_names(part) for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*inner)


def test_kernels_use_nothing_of_modules_that_are_not_followed():
    """What they compile from elsewhere would change without the digest."""
    assert Executor is not None  # all kernels are imported
    kernels = [
        function
        for name, module in sorted(sys.modules.items())
        if name.startswith(tuple(f"simulator.{folder}." for folder in FOLDERS))
        for function in _functions(module)
    ]
    assert add_rows.py_func in kernels
    for function in kernels:
        for name in _names(function.__code__):
            used = function.__globals__.get(name)
            origin = getattr(getattr(used, "py_func", used), "__module__", None) or ""
            if origin.startswith("simulator."):
                assert origin.split(".")[1] in FOLDERS, (function.__qualname__, name, origin)


STALE = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from simulator.numerics.rounding import shift_right_kernel
from simulator.numerics.output_stage import output_stage_kernel

source = Path(sys.argv[1]) / "simulator" / "numerics" / "rounding.py"
if sys.argv[2] == "edit":
    text = source.read_text()
    source.write_text(text.replace("return rounded >> shift", "return 1 + (rounded >> shift)"))
    assert source.read_text() != text
print(output_stage_kernel(16, (1, 0, 0, 0, 0, -128, 127, False))[0])
"""


def test_code_of_before_an_edit_is_not_kept_as_that_of_after_it(tmp_path):
    """An edit of a callee between a process's imports and its first call."""
    shutil.copytree(PACKAGE, tmp_path / "simulator")
    environment = {**os.environ, "AOCQ_CACHE_DIR": str(tmp_path / "cache")}

    def printed(what):
        command = [sys.executable, "-c", STALE, str(tmp_path), what]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert printed("edit") == ["8"]
    assert printed("run") == ["9"]


def test_a_file_of_a_clock_that_is_ahead_is_not_edited(package):
    files = import_closure(package / "ops" / "add.py", package)

    def edited(mtime, imported):
        for file in files:
            os.utime(file, ns=(mtime, mtime))
        return edited_since_import(str(package / "ops" / "add.py"), package, imported)

    now = time.time_ns()
    assert edited(now, now - 1)
    assert not edited(now, now)
    assert not edited(now + 10**15, now - 1)


def parsed_imports(source):
    """The kernel modules of a file's import statements, by Python's own parser."""
    names = set()
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {file for name in names for file in kernel_sources._files_of(name, PACKAGE)}


@pytest.mark.parametrize(
    "source",
    [path for folder in FOLDERS for path in sorted((PACKAGE / folder).rglob("*.py"))],
    ids=lambda path: path.relative_to(PACKAGE).as_posix(),
)
def test_imports_are_those_that_a_parser_finds(source):
    assert set(kernel_sources._imported(source, PACKAGE)) == parsed_imports(source)
