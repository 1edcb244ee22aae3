# SPDX-License-Identifier: Apache-2.0
"""Graphs of one op each, compiled with the C model's headers and run as a process.

The process takes the operands of every image on its standard input, and answers with the number of
codes that did not fit and the codes. It is compiled with all checks for undefined behaviour: the
first one that strikes ends it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import simulator.c_model
from simulator.export.c_calls import function_body
from simulator.export.c_text import array_lines, c_type
from simulator.graph import IntGraph
from simulator.numerics.float_type import Array

HEADERS = Path(simulator.c_model.__file__).parent
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
CHECKED = ("-fsanitize=undefined", "-fno-sanitize-recover")
COMPILERS = tuple(name for name in ("gcc", "clang") if shutil.which(name)) or ("gcc",)


class StoppedByCheck(AssertionError):
    """The check for undefined behaviour, or the program itself, ended a run."""


class Outcome(NamedTuple):
    """What C computed: codes [images, ...], and how many did not fit."""

    codes: Array
    saturated: int


@dataclass(frozen=True)
class OpCase:
    """An op, the last of its graph, and its operands [images, ...] by name."""

    graph: IntGraph
    operands: Mapping[str, Array]

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(next(iter(self.operands.values())))

    def input_bytes(self) -> Iterator[bytes]:
        """Yield the operands of one image after the other."""
        for image in range(self.images):
            for codes in self.operands.values():
                yield np.ascontiguousarray(codes[image]).tobytes()


def run_ops(
    cases: Sequence[OpCase],
    folder: Path,
    *,
    compiler: str = COMPILERS[0],
    headers: Path = HEADERS,
) -> list[Outcome]:
    """Compile the cases' ops as one program in ``folder``, run it, return what each computed.

    Raises
    ------
    StoppedByCheck
        If the run ended before its end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, program = folder / "ops.c", folder / "ops"
    source.write_text("\n".join(_program(cases)) + "\n", encoding="utf-8")
    compile_c(compiler, [source], program, headers, optimization="-O1")
    done = subprocess.run(
        [program],
        input=b"".join(part for case in cases for part in case.input_bytes()),
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise StoppedByCheck(done.stderr.decode())
    return list(_outcomes(cases, done.stdout))


def compile_c(
    compiler: str,
    sources: Sequence[Path],
    program: Path,
    headers: Path = HEADERS,
    *,
    optimization: str = "-O2",
    checked: bool = True,
) -> None:
    """Compile without a warning."""
    flags = [*STRICT, *(CHECKED if checked else ()), optimization, "-I", str(headers)]
    command = [compiler, *flags, "-o", str(program), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}


def _outcomes(cases: Sequence[OpCase], output: bytes) -> Iterator[Outcome]:
    """Take the output apart."""
    at = 0
    for case in cases:
        result = case.graph.result(case.graph.ops[-1])
        dtype = result.type.dtype
        codes: list[Array] = []
        saturated = 0
        for _ in range(case.images):
            saturated += int(np.frombuffer(output, np.uint64, 1, at)[0])
            codes.append(np.frombuffer(output, dtype, result.size, at + 8).reshape(result.shape))
            at += 8 + result.size * dtype.itemsize
        yield Outcome(np.stack(codes), saturated)
    assert at == len(output)


def _program(cases: Sequence[OpCase]) -> Iterator[str]:
    """Yield the lines of a program that computes each case for all of its images."""
    yield from ('#include "aocq.h"', "#include <stdio.h>", "")
    room = max(_room(case) for case in cases)
    yield f"static unsigned char memory[{room}];"
    yield ""
    for number, case in enumerate(cases):
        yield from _case(number, case)
    yield from (
        "static int images(uint64_t (*op)(void), int count, size_t input, size_t output)",
        "{",
        "    for (; count > 0; count--) {",
        "        uint64_t misfits;",
        "        if (fread(memory, 1, input, stdin) != input)",
        "            return 1;",
        "        misfits = op();",
        "        if (fwrite(&misfits, sizeof misfits, 1, stdout) != 1)",
        "            return 1;",
        "        if (fwrite(memory + input, 1, output, stdout) != output)",
        "            return 1;",
        "    }",
        "    return 0;",
        "}",
        "",
        "int main(void)",
        "{",
        "    int failed = 0;",
    )
    for number, case in enumerate(cases):
        size, result = _bytes(case)
        yield f"    failed |= images(op_{number}, {case.images}, {size}, {result});"
    yield from ("    return failed;", "}")


def _bytes(case: OpCase) -> tuple[int, int]:
    """Return the bytes of all operands of an image, and of its result."""
    result = case.graph.result(case.graph.ops[-1])
    operands = sum(codes[0].nbytes for codes in case.operands.values())
    return operands, result.size * result.type.dtype.itemsize


def _room(case: OpCase) -> int:
    return sum(_bytes(case))


def _case(number: int, case: OpCase) -> Iterator[str]:
    """Yield an op's constants and the function that computes it."""
    graph, op = case.graph, case.graph.ops[-1]
    place, at = {}, 0
    for name, codes in case.operands.items():
        place[name] = f"memory + {at}"
        at += codes[0].nbytes
    place[op.name] = f"memory + {at}"
    read = {*op.constants, *(name for name in op.operands if graph.is_constant(name))}
    for index, name in enumerate(sorted(read)):
        constant = graph.constants[name]
        place[name] = f"constant_{number}_{index}"
        kind = c_type(graph.tensors[name].code_type)
        yield f"static const {kind} {place[name]}[{constant.size}] = {{"
        yield from (*array_lines(constant), "};")
    yield f"static uint64_t op_{number}(void)"
    yield from ("{", *function_body(op, graph, place.__getitem__), "}", "")


def mismatches(one: NDArray[np.integer], other: NDArray[np.integer]) -> int:
    """Return how many codes differ; arrays of different types or shapes do in all."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return max(one.size, other.size)
    return int(np.count_nonzero(one != other))


def record_vectors(
    request: pytest.FixtureRequest, unit: str, compared: int, wrong: int = 0
) -> None:
    """Add a line to the summary of a test run: how many results of a unit were compared."""
    from tally import COUNTS

    request.node.user_properties.append((COUNTS, ["C model", unit, compared, wrong]))
