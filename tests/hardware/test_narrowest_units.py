# SPDX-License-Identifier: Apache-2.0
"""Units of rotations, groups and products of levels with the fewest bits that they can have."""

from __future__ import annotations

import numpy as np
import pytest
from one_op_graphs import operands_with_images
from simulators import run_testbench
from small_graphs import S4, U8, Draft, random_codes

from simulator.export.rtl.folder import bench_files, write_files
from simulator.export.rtl.vectors import of_operands
from simulator.golden.one_op import of_op
from simulator.graph import verify
from simulator.graph.ops import (
    DeferredSoftmax,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    NormalizedMatMul,
)
from simulator.numerics.integer_type import IntType

S1, S2, U1 = IntType(bits=1), IntType(bits=2), IntType(bits=1, signed=False)


def _quantize(d, maxima=U1, shift=0):
    """A reciprocal of one bit where the numerator is 1."""
    d.input("a", (2, 4), S1)
    d.operand("m", (2, 2), maxima)
    d.op(GroupQuantize, "y", "a", "m", group=2, numerator=1 << shift, shift=shift)


def _shift(d):
    d.input("a", (2, 4), S1, -1)
    d.operand("e", (2, 4), U1)
    d.op(GroupShift, "y", "a", "e", group=1)


def _levels(d, terms, reciprocal_bits):
    """Sums of one bit where there is one term."""
    d.input("a", (2, terms), U1)
    d.operand("b", (terms, 2), S4)
    fields = {"reciprocal_bits": reciprocal_bits, "shift": (reciprocal_bits,)}
    d.op(NormalizedMatMul, "y", "a", "b", levels=[1, 0], **fields)


def _one(op, kind, shape=(2, 4), zero_point=0, **given):
    def build(d):
        d.input("a", shape, kind, zero_point)
        d.op(op, "y", "a", **given)

    return build


CASES = {
    "a reciprocal of one bit": _quantize,
    "a reciprocal of one bit, wide maxima": lambda d: _quantize(d, U8),
    "a reciprocal of two bits": lambda d: _quantize(d, shift=1),
    "a shift": _shift,
    "one level": lambda d: _levels(d, 1, 0),
    "levels": lambda d: _levels(d, 3, 1),
    "a maximum": _one(GroupMaximum, S2, zero_point=1, group=2),
    "an exponent": _one(GroupExponent, S2, group=1, bits=2),
    "a trimmed exponent": _one(GroupExponent, S2, zero_point=1, group=1, bits=2, trim=1),
    "a trim of more bits than there are": _one(GroupExponent, S2, group=1, bits=2, trim=7),
    "a logarithm": _one(DeferredSoftmax, S1, (3, 2), shift=0, type=U1),
    "a rotation of one": _one(Hadamard, S1, order=1, shift=(0,)),
    "a rotation of twelve": _one(Hadamard, S1, (2, 12), -1, order=12),
}


@pytest.mark.parametrize("case", CASES)
def test_the_narrowest_units(needs, tmp_path, case):
    needs("iverilog")
    draft = Draft()
    CASES[case](draft)
    graph = draft.graph()
    assert verify(graph) == []
    one = of_op(graph.ops[-1], graph)
    names = operands_with_images(graph)
    operands = {
        name: random_codes(graph.tensors[name], 20, seed) for seed, name in enumerate(names)
    }
    vectors = of_operands(one, operands)
    assert len(np.unique(vectors.result)) > 1
    folder = tmp_path / "bench"
    folder.mkdir()
    write_files(folder, bench_files(vectors))
    outcome = run_testbench(folder, "icarus", None, stalls=True)
    assert outcome.passed, outcome.text
    assert outcome.checked == vectors.result.size
