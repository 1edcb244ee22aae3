# SPDX-License-Identifier: Apache-2.0
"""Images that several workers share give the bits and the counts of one worker."""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import SimpleQueue

import numpy as np
import pytest
from one_op_graphs import CASES
from small_graphs import (
    S8,
    SATURATE,
    Draft,
    accumulator,
    encoder_block,
    exponentials,
    input_codes,
)

from simulator.executor import Executor
from simulator.graph import verify
from simulator.graph.ops import Add, Lookup, MatMul, Softmax
from simulator.numerics.jit import has_avx2
from simulator.split import Cut, split_of
from simulator.split_run import Exchange, _Endings


def assert_same_runs(graph, images, threads, *, taps=(), **options):
    """Compare every output, tap and count with those of one worker; return the latter."""
    codes = input_codes(graph, images)
    alone = Executor(graph, threads=1, **options).run(codes, taps=taps)
    shared = Executor(graph, threads=threads, **options).run(codes, taps=taps)
    assert shared.counts == alone.counts
    for mine, theirs in ((shared.outputs, alone.outputs), (shared.taps, alone.taps)):
        assert mine.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert mine[name].dtype == tensor.dtype
            assert np.array_equal(mine[name], tensor, equal_nan=tensor.dtype == np.float32), name
            assert mine[name].flags.c_contiguous or name in graph.outputs
    return alone


@pytest.mark.parametrize("tokens", [2, 3, 4, 9])
@pytest.mark.parametrize("images", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_workers_tokens_and_images_gives_the_same_bits(tokens, images, threads):
    graph = encoder_block(tokens=tokens)
    assert_same_runs(graph, images, threads)
    assert_same_runs(graph, images, threads, taps=[op.name for op in graph.ops])


@pytest.mark.parametrize("gemm", ["avx2", "blas", "numba"])
@pytest.mark.parametrize("bits", [9, 12, 14])
def test_narrow_accumulators_are_counted_alike(gemm, bits):
    block = encoder_block(seed=3, tokens=7)
    narrow = accumulator((0, bits, SATURATE))
    ops = (
        replace(op, accumulator=narrow) if hasattr(op, "accumulator") else op for op in block.ops
    )
    graph = replace(block, ops=tuple(ops))
    assert verify(graph) == []
    alone = assert_same_runs(graph, 1, 2, gemm=gemm)
    assert sum(found.overflowed for found in alone.counts.values()) > 0


def grouped(tokens):
    """A graph whose attention is one kernel, and a layer with its table another."""
    rng = np.random.default_rng(tokens)
    d = Draft()
    d.input("image", (tokens, 24), S8)
    q, k, v = (d.slice(name, "image", 8 * i, 8 * i + 8, axis=1) for i, name in enumerate("qkv"))
    factor = {"multiplier": ((1 << 30) + 77,)}
    d.op(MatMul, "scores", q, k, transpose_b=True, shift=(39,), **factor)
    bias = d.constant("bias", rng.integers(-128, 128, (tokens, tokens)).tolist(), S8)
    d.op(Add, "biased", "scores", bias, multiplier_a=(5,), multiplier_b=(3,), shift=2)
    table = exponentials(8, largest=(1 << 30) - 1, half_life=9)
    d.op(Softmax, "probabilities", "biased", table=table, reciprocal_bits=60, shift=52)
    d.op(MatMul, "context", "probabilities", v, shift=(37,), **factor)
    weight = d.constant("weight", rng.integers(-128, 128, (8, 16)).tolist(), S8)
    d.op(MatMul, "layer", "context", weight, shift=(39,), **factor)
    d.op(Lookup, "curve", "layer", table=(rng.permutation(256) - 128).tolist())
    return d.graph()


@pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
@pytest.mark.parametrize("tokens", [9, 16, 27])
def test_steps_of_several_ops_are_shared(tokens):
    graph = grouped(tokens)
    executor = Executor(graph, gemm="avx2", threads=2)
    groups = [[op.name for op in step.ops] for step in executor._steps if len(step.ops) > 1]
    assert groups == [["scores", "biased", "probabilities", "context"], ["layer", "curve"]]
    split = split_of(graph, executor._steps, 2)
    assert split.of("context") == split.of("curve") == Cut(axis=0, borders=(0, tokens // 2, tokens))
    for images in (1, 2, 3):
        assert_same_runs(graph, images, 2, gemm="avx2")
        assert_same_runs(graph, images, 3, gemm="avx2")
    assert_same_runs(graph, 1, 2, gemm="avx2", taps=["probabilities"])


def one_input_cases():
    for op_type, builds in CASES.items():
        for name, build in builds.items():
            d = Draft()
            build(d)
            graph = d.graph()
            if len(graph.inputs) == 1:
                yield pytest.param(graph, id=f"{op_type.__name__}-{name}")


@pytest.mark.parametrize("graph", list(one_input_cases()))
def test_every_op_gives_the_same_bits_and_counts(graph):
    assert_same_runs(graph, 1, 2, gemm="numba")


def failing_in(executor, name, fails):
    """Let the step that makes a tensor fail where ``fails()``."""

    def step_or_failure(step):
        def kernel(operands):
            if fails():
                raise RuntimeError("a broken kernel")
            return step.kernel(operands)

        return replace(step, kernel=kernel) if step.result == name else step

    executor._steps = [step_or_failure(step) for step in executor._steps]


@pytest.mark.parametrize("caller", [True, False])
@pytest.mark.parametrize("name", ["embed", "qkv", "fc1"])
@pytest.mark.parametrize("threads", [2, 3])
def test_a_failure_of_any_worker_reaches_the_caller(block, caller, name, threads):
    """The others wait for its rows, and must not wait for ever; the next run works."""
    executor = Executor(block, threads=threads)
    steps = executor._steps
    main = threading.main_thread()
    failing_in(executor, name, lambda: (threading.current_thread() is main) == caller)
    with pytest.raises(RuntimeError, match="a broken kernel"):
        executor.run(input_codes(block, 1))
    executor._steps = steps
    assert executor.run(input_codes(block, 1)).outputs["head"].shape == (1, 4)


class TakenThenInterrupted(SimpleQueue):
    """Hands nothing over: Ctrl-C comes between the queue and the caller."""

    def get(self, block=True, timeout=None):
        super().get(block, timeout)
        raise KeyboardInterrupt


def test_an_interrupt_that_takes_the_news_of_an_ending_with_it_is_survived():
    endings = _Endings(news=TakenThenInterrupted())
    endings.note(None)
    threading.Timer(0.05, endings.note, (RuntimeError("a broken kernel"),)).start()
    first, *others = endings.of_all(2)
    assert isinstance(first, KeyboardInterrupt)
    assert isinstance(others[-1], RuntimeError)


@pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
def test_a_run_with_taps_beside_another_one_gets_its_own_steps():
    """The other run gets in wherever the executor remembers something."""
    graph = grouped(9)
    codes = input_codes(graph, 1)
    between = []

    class Interrupted(Executor):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if between:
                between.pop()
                self.run(codes)

    executor = Interrupted(graph, gemm="avx2", threads=2)
    expected = executor.run(codes, taps=["biased"]).taps["biased"]
    between.append("another thread")
    found = executor.run(codes, taps=["biased"]).taps["biased"]
    assert not between
    assert np.array_equal(found, expected)


def test_messages_arrive_in_every_other_inbox():
    exchange = Exchange.between(3)
    codes = np.arange(3)
    exchange.send(1, ("k", 1, codes))
    for receiver in (0, 2):
        name, sender, sent = exchange.receive(receiver, 1, 1)
        assert (name, sender) == ("k", 1)
        assert sent is codes
    assert all(inbox.empty() for inbox in exchange.inboxes)


def test_a_message_is_waited_for_longer_than_anybody_stays_awake():
    exchange = Exchange.between(2)
    later = threading.Timer(0.2, exchange.send, (1, ("v", 1, np.zeros(1))))
    later.start()
    message = exchange.receive(0, 1, 1)
    later.join()
    assert message is not None
    assert message[0] == "v"
