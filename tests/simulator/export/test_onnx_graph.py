# SPDX-License-Identifier: Apache-2.0
"""Every op in QDQ form means what it means in the graph; rounding is onnxruntime's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from exported import built, by_onnxruntime, emulated, inputs_of
from one_op_graphs import CASES
from small_graphs import Draft

from simulator.errors import InputError
from simulator.export.onnx_graph import RULES, describe
from simulator.export.real_numbers import factors
from simulator.golden.variants.trial import unit_of
from simulator.graph.ops import (
    SPECS,
    Add,
    AddShifted,
    Concat,
    DeferredSoftmax,
    Dequantize,
    FloatFunction,
    GroupExponent,
    GroupMaximum,
    GroupQuantize,
    GroupShift,
    Hadamard,
    InterpolatedLookup,
    L2Norm,
    LayerNorm,
    Lookup,
    MatMul,
    Mean,
    Mul,
    NormalizedMatMul,
    Op,
    Quantize,
    Rescale,
    Reshape,
    ScaledMatMul,
    Slice,
    Transpose,
)
from simulator.numerics.integer_type import IntType, Overflow

# Cases whose sums overflow on purpose, or that round several times: not what the form says.
OTHERWISE = (
    "saturat",
    "wrap",
    "levels",
    "bits in 9",
    "in 9 bits",
    "16 bits, multiplied",
    "coarse",
    "rounded twice",
    "no shift",
    "large",
    "31-bit",
    "Newton step",
    "of a vector, kept",
)


def cases(*kinds: type[Op]) -> list[tuple[type[Op], str]]:
    return [
        (kind, name)
        for kind in kinds
        for name in CASES[kind]
        if not any(word in name for word in OTHERWISE)
    ]


def graph_of(kind: type[Op], name: str):
    return built(CASES[kind][name])


# What no operator of ONNX computes: they are refused.
WITHOUT_A_FORM = {ScaledMatMul}


def test_every_op_has_a_form_or_is_refused():
    assert set(RULES) == set(SPECS) - WITHOUT_A_FORM
    for kind in WITHOUT_A_FORM:
        for name in CASES[kind]:
            draft = Draft()
            CASES[kind][name](draft)
            with pytest.raises(InputError, match=r"^y: \w+ has no form in ONNX"):
                describe(unit_of(draft.graph(), draft.ops[-1]), 1)


@pytest.mark.parametrize(("kind", "name"), cases(Lookup, Reshape, Slice, Transpose), ids=str)
def test_what_only_moves_or_looks_up_codes_is_exact(kind, name):
    graph = graph_of(kind, name)
    values = inputs_of(graph)
    assert (by_onnxruntime(graph, values) == emulated(graph, values)).all()


@pytest.mark.parametrize(
    ("kind", "name"),
    cases(
        *(MatMul, Rescale, Add, AddShifted, Mean, LayerNorm, L2Norm, Hadamard, Concat),
        DeferredSoftmax,
    ),
)
def test_codes_differ_by_ties_alone(kind, name):
    """Ties go to even there: few bits are shifted out here, so there are many."""
    graph = graph_of(kind, name)
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values) - emulated(graph, values).astype(np.int64))
    assert apart.max() <= (4 if len(graph.ops) > 1 else 1)  # what ties made of operands, enlarged
    assert (apart == 0).mean() > 0.6


@pytest.mark.parametrize("kind", [GroupMaximum, GroupExponent, GroupQuantize, GroupShift])
def test_scales_that_are_found_at_run_time_are_refused(kind):
    name = next(iter(CASES[kind]))
    with pytest.raises(InputError, match=r"y: group_\w+ scales each group .* at run time"):
        describe(graph_of(kind, name), 1)


@pytest.mark.parametrize("name", [name for _, name in cases(NormalizedMatMul)])
def test_normalized_products_differ_by_what_ties_made_of_values(name):
    """The values are made by a Rescale here, and a tie of one may be in every sum of a column."""
    graph = graph_of(NormalizedMatMul, name)
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values) - emulated(graph, values).astype(np.int64))
    op = graph.ops[-1]
    assert isinstance(op, NormalizedMatMul)
    factor = factors(graph, op.requantize).max() * 2**op.reciprocal_bits
    assert apart.max() <= np.ceil(factor)


@pytest.mark.parametrize("name", [name for _, name in cases(Mul)])
def test_products_of_codes_are_those_of_their_worth(name):
    graph = graph_of(Mul, name)
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values) - emulated(graph, values).astype(np.int64))
    # An operand made by a Rescale may differ by a code, which is multiplied.
    assert apart.max() <= 5
    assert (apart == 0).mean() > 0.7


@pytest.mark.parametrize("name", CASES[FloatFunction])
def test_functions_of_real_values_are_the_same(name):
    graph = graph_of(FloatFunction, name)
    values = inputs_of(graph)
    found, wanted = by_onnxruntime(graph, values), emulated(graph, values)
    assert np.allclose(found, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [Quantize, Dequantize])
def test_the_ways_between_codes_and_real_values_are_the_same(kind):
    for name in CASES[kind]:
        graph = graph_of(kind, name)
        values = inputs_of(graph)
        source = graph.tensors[graph.inputs[0]]
        if not source.is_float and source.code_type.bits > 16:
            with pytest.raises(InputError, match="has no code type in QDQ form"):
                describe(graph, 1)
            continue
        found, wanted = by_onnxruntime(graph, values), emulated(graph, values)
        assert np.allclose(found, wanted, rtol=1e-6, atol=1 if kind is Quantize else 1e-6), name


@pytest.mark.parametrize("offset", [0, 128])
def test_signed_codes_can_be_stored_as_unsigned_ones(offset):
    graph = graph_of(MatMul, "4-bit weights, transposed, per channel")
    values = inputs_of(graph)
    apart = np.abs(by_onnxruntime(graph, values, offset) - emulated(graph, values).astype(np.int64))
    assert apart.max() <= 1


def test_another_factor_is_another_file():
    graph = graph_of(MatMul, "weights")
    values = inputs_of(graph)
    (op,) = graph.ops
    constants = dict(graph.constants)
    constants[op.requantize.multiplier] = constants[op.requantize.multiplier] * 2
    other = by_onnxruntime(replace(graph, constants=constants), values)
    assert np.abs(other - emulated(graph, values)).max() > 10


def test_samples_of_no_function_are_refused():
    graph = graph_of(InterpolatedLookup, "rounded")
    with pytest.raises(InputError, match=r"^y: its table of 513 samples is that of no function"):
        describe(graph, 1)


def test_codes_without_a_worth_are_refused():
    graph = graph_of(Rescale, "8 bits")
    tensors = {**graph.tensors, "y": replace(graph.tensors["y"], scale=())}
    with pytest.raises(InputError, match="tensor y: has no scale"):
        describe(replace(graph, tensors=tensors), 1)


def rescaled(overflow, bits=8, shift=0):
    def build(d):
        d.op(Rescale, "y", d.input("a", (64,)), multiplier=[1], shift=[shift], **of_result)

    kind = IntType(bits=bits)
    of_result = {"overflow": overflow, "type": kind}
    return built(build)


@pytest.mark.parametrize("bits", [4, 8])
def test_what_saturates_symmetrically_has_no_lowest_code(bits):
    graph = rescaled(Overflow.SATURATE_SYMMETRIC, bits)
    values = inputs_of(graph)
    assert values.min() == -128
    found = by_onnxruntime(graph, values)
    assert found.min() == 1 - (1 << (bits - 1))
    assert (found == emulated(graph, values)).all()


def test_results_that_may_wrap_are_refused():
    with pytest.raises(
        InputError, match=r"^y: its codes wrap, and may be -64 to 64, outside of s4"
    ):
        describe(rescaled(Overflow.WRAP, 4, shift=1), 1)


def test_results_that_cannot_wrap_are_written():
    graph = rescaled(Overflow.WRAP)
    values = inputs_of(graph)
    assert (by_onnxruntime(graph, values) == emulated(graph, values)).all()


def test_sums_of_products_that_may_wrap_are_refused():
    graph = graph_of(MatMul, "weights")
    (op,) = graph.ops
    wrapping = replace(op, requantize=replace(op.requantize, overflow=Overflow.WRAP))
    with pytest.raises(InputError, match=r"^y: its codes wrap"):
        describe(replace(graph, ops=(wrapping,)), 1)
