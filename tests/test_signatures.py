# SPDX-License-Identifier: Apache-2.0
"""Functions take few parameters, but for those that are compiled."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("aocq", "simulator", "reports", "benchmarks")
MOST_PARAMETERS = 10
# Decorators of functions that numba compiles: they take arrays one by one. Inner functions of an
# intrinsic are its code generators.
COMPILED = {"kernel", "compiled", "intrinsic"}


def sources() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def called(decorator: ast.expr) -> str:
    """The last word of a decorator: ``kernel`` of ``@jit.kernel(inline=True)``."""
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return decorator.attr if isinstance(decorator, ast.Attribute) else ast.unparse(decorator)


def is_compiled(function: ast.FunctionDef) -> bool:
    return bool(COMPILED & {called(decorator) for decorator in function.decorator_list})


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Every function that is not compiled, methods and inner functions included."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            if is_compiled(node):
                continue
            yield node
        yield from functions(node)


def parameters(function: ast.FunctionDef) -> int:
    """How many parameters a function has, but for the object or class that it belongs to."""
    of = function.args
    named = [*of.posonlyargs, *of.args, *of.kwonlyargs]
    return len([argument for argument in named if argument.arg not in {"self", "cls"}])


@pytest.mark.parametrize("path", [*sources()], ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_take_few_parameters(path: Path) -> None:
    many = {
        function.name: parameters(function)
        for function in functions(ast.parse(path.read_text("utf-8")))
        if parameters(function) > MOST_PARAMETERS
    }
    assert many == {}, f"{path.relative_to(ROOT)}: group what belongs together in a dataclass"


def test_what_is_compiled_is_told_by_its_decorators() -> None:
    text = "@jit.kernel\ndef a(b): ...\n@kernel(inline=True)\ndef c(d): ...\n@cache\ndef e(f): ..."
    found = [function for function in ast.parse(text).body if isinstance(function, ast.FunctionDef)]
    assert [is_compiled(function) for function in found] == [True, True, False]
    (e,) = functions(ast.parse(text))
    assert (e.name, parameters(e)) == ("e", 1)
