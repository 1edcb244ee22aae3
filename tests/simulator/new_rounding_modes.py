# SPDX-License-Identifier: Apache-2.0
"""Run in a copy of the package whose table of rounding modes has more rows; tell what follows.

Arguments: ``portable`` or ``registers`` (which must be compiled), then names of the new modes.
Prints, as JSON, for every mode and path whether it is computed as defined, or that the path refused
it by name.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from fractions import Fraction
from itertools import product
from math import ceil, floor

import numpy as np
from one_op_graphs import CASES, assert_kernel_equals_reference, operands_for
from plain_profiles import changed
from simd_graphs import IN_REGISTERS
from small_graphs import Draft

from simulator.gemm import backend
from simulator.graph.canonical import canonical_json
from simulator.graph.decoding import decode
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op, Softmax, SoftmaxFloatTable
from simulator.numerics.float_requantization import RealRequantizer, requantize_real
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.requantization import Requantizer, requantize
from simulator.numerics.rescaling import Arithmetic, RescaleRule
from simulator.numerics.rounding import (
    ROUNDING_MODES,
    Rounding,
    divide,
    divide_kernel,
    offsets,
    round_real,
    round_real_kernel,
    shift_right,
    shift_right_kernel,
)
from simulator.ops import BEHAVIOURS
from simulator.simd.lanes.float_requantization import SimdFloatRequantizer
from simulator.simd.ops import FORMS, form

S8 = IntType(bits=8)
EIGHTHS = range(-40, 41)
GEMM = "blas"  # numba's is slow where nothing is compiled


def _half_toward_zero(value: Fraction) -> int:
    return ceil(value - Fraction(1, 2)) if value > 0 else floor(value + Fraction(1, 2))


DEFINITIONS: dict[str, Callable[[Fraction], int]] = {
    "ceiling": ceil,
    "half_toward_zero": _half_toward_zero,
    "to_odd": lambda value: floor(value) if floor(value) % 2 else ceil(value),
}


def numbers(rounding: Rounding) -> Iterator[tuple[str, bool]]:
    """Yield each path of a number, and whether it rounds eighths as defined."""
    expected = [DEFINITIONS[rounding](Fraction(value, 8)) for value in EIGHTHS]
    mode = ROUNDING_MODES[rounding].arguments
    parts = offsets(np.array([3]), rounding)[:, 0].tolist()
    column = np.array(EIGHTHS)[:, None]
    rule = RescaleRule(rounding=rounding, overflow=Overflow.SATURATE)
    in_float = replace(rule, arithmetic=Arithmetic.FLOAT32)
    fixed = Requantizer.build(
        rule, multiplier=np.array([1]), shift=np.array([3]), channels=1, zero_point=0, kind=S8
    )
    eighth = np.array([0.125], np.float32)
    real = RealRequantizer(rule=in_float, multiplier=eighth, zero_point=0, kind=S8)
    found = {
        "right shift": [shift_right(v, 3, rounding) for v in EIGHTHS],
        "right shift, kernel": [shift_right_kernel(v, 3, *parts) for v in EIGHTHS],
        "division": [divide(v, 8, rounding) for v in EIGHTHS],
        "division, kernel": [divide_kernel(v, 8, mode) for v in EIGHTHS],
        "real number": [round_real(v / 8, rounding) for v in EIGHTHS],
        "real number, kernel": [int(round_real_kernel(v / 8, mode)) for v in EIGHTHS],
        "requantization": [requantize(v, 1, 3, rule, 0, S8)[0] for v in EIGHTHS],
        "requantization, kernel": fixed(column)[0].ravel().tolist(),
        "float requantization": [
            requantize_real(v, eighth[0], in_float, 0, S8)[0] for v in EIGHTHS
        ],
        "float requantization, kernel": real(column)[0].ravel().tolist(),
    }
    for path, codes in found.items():
        yield path, codes == expected
    # Lanes of floats have one instruction for some modes, and no form of any other.
    yield "float requantization, SIMD: no form", SimdFloatRequantizer.of(real, 8) is None


def operations(rounding: Rounding) -> Iterator[tuple[str, bool]]:
    """Yield each op that rounds: reference and kernel are equal, files keep the mode."""
    for kind in CASES:
        graph = first_case(kind, rounding)
        if {field.name for field in fields(graph.ops[-1])} & {"rounding", "requantize"}:
            read = decode(canonical_json(graph), graph.constants)
            assert_kernel_equals_reference(read, operands_for(read, images=1), GEMM)
            yield kind.__name__, canonical_json(read) == canonical_json(graph)


def softmaxes(rounding: Rounding) -> Iterator[tuple[str, bool]]:
    """Yield whether another row of the table gives other probabilities."""
    for kind in (Softmax, SoftmaxFloatTable):
        codes = [
            assert_kernel_equals_reference(
                graph, operands_for(graph, images=1), GEMM
            ).codes.tolist()
            for graph in (first_case(kind, mode) for mode in (rounding, Rounding.FLOOR))
        ]
        yield f"{kind.__name__} is no longer floored", codes[0] != codes[1]


def first_case(kind: type[Op], rounding: Rounding) -> IntGraph:
    """Return the first of the small graphs of an op."""
    return case(kind, next(iter(CASES[kind])), rounding)


def case(kind: type[Op], name: str, rounding: Rounding) -> IntGraph:
    """Return a small graph of an op by its name."""
    draft = Draft(rounding, Overflow.SATURATE)
    CASES[kind][name](draft)
    return draft.graph()


def vector_forms(rounding: Rounding) -> Iterator[tuple[str, bool]]:
    """Yield each op's form in vector registers: equal to the reference, or refused."""
    for kind in FORMS:
        graph = case(kind, IN_REGISTERS, rounding)
        op, operands = graph.ops[-1], operands_for(graph, images=1)
        given = [(graph.constants | operands)[name] for name in op.operands]
        kernel = form(op, graph, backend("avx2"))
        if kernel is None:
            yield f"{kind.__name__}: refused", True
        else:
            images = [
                codes if graph.is_constant(name) else codes[0]
                for name, codes in zip(op.operands, given, strict=True)
            ]
            found, expected = kernel(given), BEHAVIOURS[kind].reference(op, graph, images)
            same = found.codes[0].tolist() == expected.codes.tolist()
            yield kind.__name__, same and found.saturated == expected.saturated


def profile(rounding: Rounding) -> Iterator[tuple[str, bool]]:
    """Yield whether a profile takes the word."""
    section = changed({"rescale.rounding": rounding.value}).rescale
    yield "profile", section.rounding is rounding


PATHS = {
    "portable": (numbers, operations, softmaxes, profile),
    "registers": (vector_forms,),
}


def main(kernels: str, names: list[str]) -> None:
    """Print what every path makes of each mode."""
    told = {
        f"{name}: {path}": followed
        for name, paths in product(names, PATHS[kernels])
        for path, followed in paths(Rounding(name))
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
