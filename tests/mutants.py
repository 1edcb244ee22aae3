# SPDX-License-Identifier: Apache-2.0
"""Change the arithmetic in one place at a time and see whether a test notices.

Every kernel's constants, shifts, comparisons, sums, bounds and flags are changed in turn, and every
rounding mode takes the place of every other. Each mutant is a copy of the sources with that one
change; the tests that belong to its file run on it, without compilation, until the first fails.
Kernels in vector registers are LLVM: they and what calls them run compiled, which takes longer.
A mutant that no test kills is a survivor. Survivors that compute the same as the original are
listed, with the reason, in ``equivalent_mutants.txt``; any other makes the script end with 1.

Run:  python tests/mutants.py [--only numerics/rounding.py] [--jobs 2] [--list]
"""

from __future__ import annotations

import argparse
import ast
import copy
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1", "AOCQ_THREADS": "1"}
sys.dont_write_bytecode = True

import hypothesis  # noqa: E402  (this and the next take long to import: forks then have them)
import numba  # noqa: E402, F401
import numpy as np  # noqa: E402, F401
import pydantic  # noqa: E402, F401
import pytest  # noqa: E402
import safetensors.numpy  # noqa: E402, F401

FORK = multiprocessing.get_context("fork")
ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "simulator"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
SECONDS = 90  # of one run of tests, five times what the longest takes: loops may be endless
COMPILED_SECONDS = 600
DECORATORS = {"kernel", "compiled"}

# The tests that look at a file first: cheap ones of its own. What they let live meets LATER.
NUMERICS = "tests/simulator/numerics"
FIRST: dict[str, tuple[str, ...]] = {
    "gemm/portable.py": ("tests/simulator/test_gemm.py", "-k", "largest_products and numba"),
    "ops/float_function.py": ("tests/simulator/ops/test_float_ops.py", "-k", "known_functions"),
    "numerics/inverse_square_root.py": (f"{NUMERICS}/test_inverse_square_root.py",),
    "numerics/rounding.py": (f"{NUMERICS}/test_rounding.py",),
}
EVERY_OP = "tests/simulator/ops/test_kernels.py::test_kernel_equals_reference_in_every_mode"
LATER = (
    f"{NUMERICS}/test_requantization.py",
    EVERY_OP,
    "tests/simulator/ops/test_known_values.py",
    "tests/simulator/ops/test_softmax_algorithms.py",
    "tests/simulator/ops/test_elementwise_ops.py",
)
# Of the ops' tests, those whose names contain this: files that are not named as their ops.
OPS = {
    "add": "Add and not AddShifted",
    "common_scale": "AddShifted or SquaredDifference",
    "layernorm": "LayerNorm and not Bisection",
    "mul": "Mul and not MatMul",
    "quantize": "Quantize",
    "rows": "SoftmaxGemmlowp or SoftmaxIta",
    "softmax": "Softmax and not (Gemmlowp or Lut or Float or IBert or Ita or Log2 or Deferred)",
    "softmax_ibert": "IBert",
    "softmax_lut513": "Lut513",
}
# Kernels that only run compiled, by how their paths begin, and their tests.
SIMD = "tests/simulator/simd"
PRODUCTS = (f"{SIMD}/product", f"{SIMD}/ops/test_simd_matmul.py", "tests/simulator/test_gemm.py")
COMPILED: dict[str, tuple[str, ...]] = {
    "gemm/avx2.py": PRODUCTS,
    "simd/product/": PRODUCTS,
    "simd/lanes/": (SIMD,),
    "simd/ops/common_scale.py": (f"{SIMD}/ops/test_simd_joins.py",),
    "simd/ops/mul.py": (f"{SIMD}/ops/test_simd_joins.py",),
    "simd/ops/": (f"{SIMD}/ops/test_simd_ops.py",),
}
# What holds of compiled kernels only: compilation itself, and sums of plain integers that wrap.
LEFT_OUT = (
    "--deselect=tests/simulator/numerics/test_jit.py",
    "--deselect=tests/simulator/ops/test_elementwise_ops.py::test_widest_polynomial",
)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the file, what it was, what it is, and the whole mutated source."""

    path: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """How the list of equivalent mutants names it."""
        return f"{self.path}: {self.before} -> {self.after}"


SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
CALLS = {"min": "max", "max": "min"}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in a node's place."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SWAPPED:
        changed = copy.deepcopy(node)
        changed.op = SWAPPED[type(node.op)]()  # type: ignore[assignment]
        yield changed
        if isinstance(node.op, (ast.LShift, ast.RShift)):
            changed = copy.deepcopy(node)
            field = "right" if isinstance(changed, ast.BinOp) else "value"
            setattr(changed, field, ast.BinOp(getattr(changed, field), ast.Add(), ast.Constant(1)))
            yield changed
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        changed = copy.deepcopy(node)
        changed.ops[0] = SWAPPED[type(node.ops[0])]()  # type: ignore[call-overload]
        yield changed
    elif isinstance(node, ast.Name) and node.id in CALLS:
        yield ast.Name(CALLS[node.id], node.ctx)
    elif isinstance(node, ast.If) and isinstance(node.test, ast.Name):
        changed = copy.deepcopy(node)
        changed.test = ast.UnaryOp(ast.Not(), node.test)
        yield changed


class Replacer(ast.NodeTransformer):
    """Puts one node in another's place."""

    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace the target, look into everything else."""
        if node is self.target:
            return ast.copy_location(self.replacement, node)
        return self.generic_visit(node)


def mutated(tree: ast.Module, node: ast.AST, replacement: ast.AST) -> str:
    """Return the source with one node replaced; the tree stays as it is."""
    memo: dict[int, object] = {}
    duplicate = copy.deepcopy(tree, memo)
    changed = Replacer(memo[id(node)], replacement).visit(duplicate)  # type: ignore[arg-type]
    return ast.unparse(ast.fix_missing_locations(changed))


def kernels(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the compiled functions of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            names = {item.id for item in node.decorator_list if isinstance(item, ast.Name)}
            if names & DECORATORS:
                yield node


def index_constants(function: ast.FunctionDef) -> set[int]:
    """Return the constants that are indices of arrays and shapes: no arithmetic."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript):
            found |= {id(item) for item in ast.walk(node.slice) if isinstance(item, ast.Constant)}
    return found


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of one file's kernels."""
    tree = ast.parse(path.read_text("utf-8"))
    name = path.relative_to(SOURCES).as_posix()
    for function in kernels(tree):
        indices = index_constants(function)
        body = function.body[1:] if ast.get_docstring(function) else function.body
        for statement in body:
            for node in ast.walk(statement):
                if id(node) in indices:
                    continue
                for replacement in changes(node):
                    place = _statement_of(statement, node)
                    yield Mutant(
                        path=name,
                        line=getattr(node, "lineno", 0),
                        before=f"{function.name}: {place}",
                        after=ast.unparse(replacement),
                        source=mutated(tree, node, replacement),
                    )
    yield from constants_of(name, tree)
    if name == "numerics/rounding.py":
        yield from swapped_modes(name, tree)


def constants_of(name: str, tree: ast.Module) -> Iterator[Mutant]:
    """Yield every change of a number that the module itself holds and its kernels read."""
    read = {
        node.id
        for function in kernels(tree)
        for node in ast.walk(function)
        if isinstance(node, ast.Name)
    }
    for statement in tree.body:
        if not isinstance(statement, ast.Assign):
            continue
        named = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
        if not named & read:
            continue
        for node in ast.walk(statement.value):
            for replacement in changes(node) if isinstance(node, ast.Constant) else ():
                yield Mutant(
                    path=name,
                    line=node.lineno,
                    before=f"{ast.unparse(statement).splitlines()[0]} [{ast.unparse(node)}]",
                    after=ast.unparse(replacement),
                    source=mutated(tree, node, replacement),
                )


def _statement_of(statement: ast.stmt, node: ast.AST) -> str:
    """Return the innermost statement that a node is in, its first line as text, and the node."""
    place = statement
    for candidate in ast.walk(statement):  # outer ones come first
        inside = any(inner is node for inner in ast.walk(candidate))
        if isinstance(candidate, ast.stmt) and inside and candidate is not node:
            place = candidate
    return f"{ast.unparse(place).splitlines()[0]} [{ast.unparse(node).splitlines()[0]}]"


def swapped_modes(name: str, tree: ast.Module) -> Iterator[Mutant]:
    """Yield the tables of rounding modes with one mode's formula in another's place."""
    for statement in tree.body:
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if statement.target.id != "ROUNDING_MODES":
            continue
        table = next(node for node in ast.walk(statement) if isinstance(node, ast.Dict))
        for key, value in zip(table.keys, table.values, strict=True):
            for other in table.values:
                if other is not value and key is not None:
                    yield Mutant(
                        path=name,
                        line=value.lineno,
                        before=f"{statement.target.id}[{ast.unparse(key)}]",
                        after=ast.unparse(other),
                        source=mutated(tree, value, other),
                    )


def first_tests(path: str) -> tuple[str, ...]:
    """Return the arguments of pytest that name the cheap tests of a file."""
    for beginning, tests in COMPILED.items():
        if path.startswith(beginning):
            return tests
    if path in FIRST:
        return FIRST[path]
    folder, _, file = path.removesuffix(".py").rpartition("/")
    if folder != "ops":
        return (f"tests/simulator/{folder}/test_{file}.py",)
    named = OPS.get(file, "".join(part.title() for part in file.split("_")))
    return (EVERY_OP, "-k", named)


def run_tests(tests: tuple[str, ...], folder: Path) -> bool:
    """Return whether all tests pass on the sources in ``folder``, in a process of their own."""
    if tests in COMPILED.values():
        return _pass_compiled(tests, folder)
    process = FORK.Process(target=_in_a_fork, args=(tests, folder))
    process.start()
    process.join(SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode == 0


def _pass_compiled(tests: tuple[str, ...], folder: Path) -> bool:
    """Return whether the tests of the vector kernels pass on a copy."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_DISABLE_JIT"}
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(folder)]
    command = [sys.executable, "-m", "pytest", *arguments, *tests]
    with tempfile.TemporaryDirectory() as cache:
        environment["AOCQ_CACHE_DIR"] = cache
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                check=False,
                capture_output=True,
                timeout=COMPILED_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def _in_a_fork(tests: tuple[str, ...], folder: Path) -> None:
    """Run pytest on a copy; the parent has imported what takes long, and nothing of ours."""
    os.chdir(folder)
    sys.path[0] = str(folder)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    # The first failure is enough: no search for the smallest example.
    found = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=found, database=None)
    hypothesis.settings.load_profile("mutants")
    # The plain loop's probe takes a minute without compilation, and proves what the tests do.
    from simulator.gemm import selection

    selection.is_exact = lambda gemm: True
    arguments = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--rootdir", str(folder)]
    for warning in ("RuntimeWarning", "pytest.PytestAssertRewriteWarning"):
        arguments += ["-W", f"ignore::{warning}"]
    arguments += [*LEFT_OUT, *tests]
    os._exit(int(pytest.main(arguments)))


def survives(mutant: Mutant, copies: list[Path], known: Mapping[str, str], *, quick: bool) -> bool:
    """Run a mutant's tests in a copy of the tree that no other worker uses.

    One that is known to compute the same meets the cheap tests only, to see that it still does.
    """
    folder = copies.pop()
    target = folder / "simulator" / mutant.path
    original = target.read_text("utf-8")
    try:
        target.write_text(mutant.source, "utf-8")
        if not run_tests(first_tests(mutant.path), folder):
            return False
        if quick or mutant.key in known or mutant.path.startswith(tuple(COMPILED)):
            return True
        return run_tests(LATER, folder)
    finally:
        target.write_text(original, "utf-8")
        copies.append(folder)


def copy_of_the_tree(folder: Path) -> Path:
    """Copy what the tests of the chip need."""
    for name in ("simulator", "tests", "hw_profiles", "aocq", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "samples")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def known_equivalents() -> dict[str, str]:
    """Return the reasons of mutants that compute the same as the original, by key."""
    if not EQUIVALENT.exists():
        return {}
    lines = [line for line in EQUIVALENT.read_text("utf-8").splitlines() if "\t" in line]
    return dict(line.split("\t", 1) for line in lines)


def main() -> int:
    """Make the mutants, run them, say which live."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only files whose path contains this")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument(
        "--quick", action="store_true", help="cheap tests of each file only: more stay alive"
    )
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    options = parser.parse_args()
    found = [
        mutant
        for path in sorted(SOURCES.rglob("*.py"))
        if options.only in path.as_posix()
        for mutant in mutants_of(path)
    ]
    if options.list:
        print(*(f"{mutant.line:5} {mutant.key}" for mutant in found), sep="\n")
        print(f"{len(found)} mutants")
        return 0
    known = known_equivalents()
    with tempfile.TemporaryDirectory() as temporary:
        copies = [copy_of_the_tree(Path(temporary) / str(job)) for job in range(options.jobs)]
        for tests in sorted({first_tests(mutant.path) for mutant in found} | {LATER}):
            if not run_tests(tests, copies[0]):
                print(f"the unchanged sources fail {' '.join(tests)}: mend that first")
                return 1
        with ThreadPoolExecutor(options.jobs) as pool:
            alive = list(
                _watched(
                    pool.map(lambda one: survives(one, copies, known, quick=options.quick), found),
                    found,
                )
            )
    survivors = [mutant for mutant, lives in zip(found, alive, strict=True) if lives]
    unexplained = [mutant for mutant in survivors if mutant.key not in known]
    print(f"\n{len(found)} mutants, {len(found) - len(survivors)} killed, {len(survivors)} alive")
    for mutant in survivors:
        print(f"alive: {mutant.key}\n       {known.get(mutant.key, 'NOT EXPLAINED')}")
    return 1 if unexplained else 0


def _watched(results: Iterator[bool], found: list[Mutant]) -> Iterator[bool]:
    for index, (lives, mutant) in enumerate(zip(results, found, strict=True), start=1):
        if lives or index % 10 == 0:
            word = f"alive: {mutant.key}" if lives else ""
            print(f"{index}/{len(found)} {word}", file=sys.stderr, flush=True)
        yield lives


if __name__ == "__main__":
    sys.exit(main())
