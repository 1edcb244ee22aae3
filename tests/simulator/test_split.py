# SPDX-License-Identifier: Apache-2.0
"""Every rule: what workers make of their rows, joined, is what one worker makes of all."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from small_graphs import S8, Draft, encoder_block

from simulator.gemm import backend
from simulator.graph.ops import SPECS, Add, FloatFunction, LayerNorm, MatMul, Op
from simulator.kernel_choice import Step, single_step
from simulator.ops.behaviour import SumCounts
from simulator.split import RULES, Cut, split_of
from simulator.split_run import local_kernel

WORKERS = 2


def steps_of(graph):
    return [single_step(op, graph, backend("numba"), portable=True) for op in graph.ops]


def cut_anywhere(shape):
    """Every dimension with room for two, cut in the middle and behind the first entry."""
    for axis, extent in enumerate(shape):
        for border in sorted({1, extent // 2}) if extent > 1 else ():
            yield Cut(axis=axis, borders=(0, border, extent))


def ways_to_be_given(graph, op: Op):
    """Nothing cut; the first operand; all activations alike; the second."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    fixed = [graph.is_constant(name) for name in op.operands]
    yield [None] * len(shapes)
    for cut in cut_anywhere(shapes[0]):
        yield [cut, *[None] * (len(shapes) - 1)]
        alike = [s[cut.axis : cut.axis + 1] == shapes[0][cut.axis : cut.axis + 1] for s in shapes]
        if len(shapes) > 1:
            yield [cut if a and not f else None for a, f in zip(alike, fixed, strict=True)]
    if len(shapes) > 1 and not fixed[1]:
        yield from ([None, cut, *[None] * (len(shapes) - 2)] for cut in cut_anywhere(shapes[1]))


def rows(codes, cut, worker, *, images):
    if cut is None:
        return codes
    return codes[(slice(None),) * (cut.axis + images) + (cut.rows(worker),)]


def assert_parts_are_the_whole(graph, step: Step, cuts, values):
    """Run a step whole and on the rows of every worker; compare codes and counts."""
    operands = [values[name] for name in step.operands]
    _, whole = step.kernel(operands)
    kernel = local_kernel(graph, cuts, step)
    parts = [
        kernel(
            [
                rows(values[name], cut, worker, images=not graph.is_constant(name))
                for name, cut in zip(step.operands, cuts.operands, strict=True)
            ]
        )[1]
        for worker in range(WORKERS)
    ]
    axis = cuts.result.axis + 1
    assert [part.codes.shape[axis] for part in parts] == np.diff(cuts.result.borders).tolist()
    joined = np.concatenate([part.codes for part in parts], axis=axis)
    assert joined.dtype == whole.codes.dtype
    assert np.array_equal(joined, whole.codes, equal_nan=whole.codes.dtype == np.float32)
    assert sum(part.saturated for part in parts) == whole.saturated
    sums = [part.sums for part in parts if part.sums]
    assert (reduce(SumCounts.merged, sums) if sums else None) == whole.sums


@pytest.mark.parametrize("op_type", RULES, ids=lambda op_type: op_type.__name__)
@pytest.mark.parametrize("portable", [True, False], ids=["portable", "chosen"])
def test_parts_are_the_whole_however_operands_are_cut(op_type, portable):
    shared = 0
    for build in CASES[op_type].values():
        d = Draft()
        build(d)
        graph = d.graph()
        op = graph.ops[-1]
        step = single_step(op, graph, backend("numba"), portable=portable)
        values = {**graph.constants, **operands_for(graph)}
        for given in ways_to_be_given(graph, op):
            cuts = RULES[op_type](op, graph, given, WORKERS)
            if cuts is not None:
                shared += 1
                assert_parts_are_the_whole(graph, step, cuts, values)
    assert shared


def test_every_op_has_a_rule_but_those_whose_sums_may_depend_on_the_number_of_rows():
    assert SPECS.keys() - RULES.keys() == {FloatFunction}


def test_a_block_is_cut_by_tokens_and_only_keys_and_values_are_exchanged():
    graph = encoder_block(tokens=9)
    split = split_of(graph, steps_of(graph), WORKERS)
    # The tokens of the class and of the image meet in a Concat, and a Mean ends it.
    assert split.exchanged == {"embed", "k", "v", "final"}
    assert split.of("scores") == Cut(axis=1, borders=(0, 4, 9))
    assert split.of("fc1") == Cut(axis=0, borders=(0, 4, 9))
    assert split.of("embedded") == Cut(axis=0, borders=(0, 4, 9))
    for whole in ("image", "tokens", "mean", "head"):
        assert split.of(whole) is None


def test_one_token_is_not_cut():
    d = Draft()
    x = d.input("image", (1, 8), S8)
    d.op(LayerNorm, "norm", x, gamma=[1] * 8, beta=[0] * 8)
    graph = d.graph()
    assert split_of(graph, steps_of(graph), WORKERS).of("norm") is None


def test_the_dimension_with_the_most_even_ranges_is_cut():
    def cut_of(*shape):
        d = Draft()
        x = d.input("image", shape, S8)
        d.op(Add, "twice", x, x)
        graph = d.graph()
        return split_of(graph, steps_of(graph), WORKERS).of("twice")

    assert cut_of(3, 197, 64) == Cut(axis=1, borders=(0, 98, 197))
    assert cut_of(4, 98, 64) == Cut(axis=0, borders=(0, 2, 4))
    assert cut_of(1, 1, 64) is None


def test_a_reshape_keeps_a_cut_that_does_not_pass_through_its_entries():
    d = Draft()
    x = d.input("image", (6, 4, 3), S8)
    norm = d.op(LayerNorm, "norm", x, gamma=[1] * 3, beta=[0] * 3)
    d.reshape("windows", norm, 2, 3, 4, 3)
    d.reshape("thirds", norm, 3, 2, 12)
    graph = d.graph("windows", "thirds")
    split = split_of(graph, steps_of(graph), WORKERS)
    assert split.of("norm") == Cut(axis=0, borders=(0, 3, 6))
    assert split.of("windows") == Cut(axis=0, borders=(0, 1, 2))
    assert split.of("thirds") is None
    assert split.exchanged == {"norm"}


def test_ops_of_one_kernel_are_cut_together_or_not_at_all():
    graph = encoder_block(tokens=9)
    ops = {op.name: op for op in graph.ops}

    def cuts_of(*names):
        group = tuple(ops[name] for name in names)
        made = set(names)
        operands = tuple(n for op in group for n in op.operands if n not in made)
        step = Step(ops=group, operands=operands, kernel=None)
        others = [step for step in steps_of(graph) if step.result not in made]
        at = next(i for i, other in enumerate(others) if other.result == graph_after(names[-1]))
        return split_of(graph, [*others[:at], step, *others[at:]], WORKERS).steps[names[-1]]

    def graph_after(name):
        names = [op.name for op in graph.ops]
        return names[names.index(name) + 1]

    attention = cuts_of("scores", "probabilities", "mix")
    tokens = Cut(axis=1, borders=(0, 4, 9))
    assert attention.operands == (tokens, None, None)
    assert attention.result == tokens
    # What a Mean takes of a Rescale are rows of everybody: no kernel of both can be shared.
    assert cuts_of("final", "mean").result is None
    assert isinstance(ops["mix"], MatMul)
