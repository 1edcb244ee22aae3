# SPDX-License-Identifier: Apache-2.0
"""The choice: by rates, with a margin, without importing torch for little; integers stay equal."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from small_graphs import S16, S32, SATURATE, WRAP, Draft, accumulator, encoder_block, input_codes

import simulator
from simulator import executor as executor_module
from simulator.errors import EnvironmentProblem
from simulator.executor import Executor
from simulator.gemm import BACKENDS, backend
from simulator.graph.ops import MatMul
from simulator.numerics import jit
from simulator.numerics.jit import has_avx2
from simulator.product_choice import (
    Choice,
    KeptRates,
    Kind,
    ProductClass,
    Rate,
    backends_in_use,
    check_backend,
    choose,
    choosing,
)
from simulator.product_choice.choosing import chosen

needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
USABLE = [name for name in BACKENDS if name != "avx2" or has_avx2()]
WHICH = ProductClass(kind=Kind.LAYER, weight_bits=8, rows=256, terms=192, columns=192)


def taken(**gops):
    rates = {name: Rate(gops=rate) for name, rate in gops.items()}
    return chosen(WHICH, rates, [*gops])


def layers(width=64, **changes):
    """Return a graph of two layers: one of eight bits, and one that nobody measures."""
    d = Draft()
    d.input("a", (197, 192))
    random = np.random.default_rng(0)
    b = d.constant("b", random.integers(-9, 9, (192, width)))
    factors = {"multiplier": (1 << 30,), "shift": (38,)}  # as profiles have them
    d.op(MatMul, "large", "a", b, bias=None, **factors, **changes)
    d.op(MatMul, "small", "large", d.constant("c", [[3, 4]] * width))
    return d.graph()


class Measurements(list):
    """What was measured, instead of measuring."""

    def __init__(self, monkeypatch, **gops):
        super().__init__()

        def measure(which, gemms):
            self.append((which, [gemm.name for gemm in gemms]))
            return {gemm.name: Rate(gops=gops.get(gemm.name, 1.0)) for gemm in gemms}

        monkeypatch.setattr(choosing, "measure", measure)


def nothing_kept(folder=None):
    return KeptRates.opened(folder, {})


# --- by rates -------------------------------------------------------------------------------------


def test_another_is_taken_where_it_is_faster_by_the_margin():
    assert taken(avx2=100, torch=120, blas=90).backend == "torch"
    assert taken(avx2=100, torch=120, blas=90).reason == "1.20 times as fast as avx2"
    assert taken(avx2=100, blas=150, torch=120).backend == "blas"
    close = taken(avx2=100, torch=105)
    assert close.backend == "avx2"
    assert close.reason == "0.95 times as fast as torch; another has to be 1.1 times as fast"
    assert taken(avx2=100, torch=50).reason == "2.00 times as fast as torch"


def test_a_bound_never_wins():
    rates = {"avx2": Rate(gops=100.0), "torch": Rate(gops=500.0, at_most=True)}
    choice = chosen(WHICH, rates, ["avx2", "torch"])
    assert choice.backend == "avx2"
    assert choice.reason.startswith("at least 0.20 times as fast as torch; another has to be")


def test_those_that_are_no_candidates_do_not_count():
    rates = {"avx2": Rate(gops=100.0), "torch": Rate(gops=500.0)}
    assert chosen(WHICH, rates, ["avx2"]).backend == "avx2"
    assert chosen(WHICH, rates, ["avx2"]).rates == {"avx2": rates["avx2"]}
    assert "nothing else" in chosen(WHICH, {}, ["blas"]).reason


# --- of a graph -----------------------------------------------------------------------------------


def test_every_class_is_measured_once_and_kept(monkeypatch, tmp_path):
    measured = Measurements(monkeypatch, avx2=3.0, blas=2.0)
    first = choose(layers(), kept=nothing_kept(tmp_path), without_torch=True)
    assert len(measured) == 1, "of two products one is too small"
    assert choose(layers(), kept=nothing_kept(tmp_path), without_torch=True) == first
    assert len(measured) == 1
    assert first["small"].reason.startswith("too small")
    assert [*first] == ["large", "small"]


@needs_avx2
def test_the_tiles_are_beaten_class_by_class(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(choosing, "may_try_torch", lambda: True)
    Measurements(monkeypatch, avx2=100.0, torch=300.0)
    choices = choose(layers(), kept=nothing_kept())
    assert [choice.backend for choice in choices.values()] == ["torch", "avx2"]
    assert backends_in_use(choices) == ("torch", "avx2"), "the most work first"
    without = choose(layers(), kept=nothing_kept(), without_torch=True)
    assert [choice.backend for choice in without.values()] == ["avx2", "avx2"]


@needs_avx2
def test_torch_is_not_tried_where_no_instruction_makes_it_fast(monkeypatch):
    pytest.importorskip("torch")
    measured = Measurements(monkeypatch, torch=1000.0)
    monkeypatch.setattr(jit, "cpu_features", lambda: {"avx2": True})
    choose(layers(), kept=nothing_kept())
    assert measured[0][1] == ["avx2", "blas"]
    monkeypatch.setattr(jit, "cpu_features", lambda: {"avx2": True, "amx-int8": True})
    choose(layers(), kept=nothing_kept())
    assert measured[1][1] == ["avx2", "blas", "torch"]


def test_without_avx2_libraries_and_the_loop_are_compared(monkeypatch):
    measured = Measurements(monkeypatch, numba=9.0)
    monkeypatch.setattr(choosing, "has_avx2", lambda: False)
    choices = choose(layers(), kept=nothing_kept(), without_torch=True)
    assert measured[0][1] == ["blas", "numba"]
    assert choices["large"].backend == "numba"
    assert choices["large"].reason == "9.00 times as fast as blas"


def test_where_nothing_is_compiled_nothing_is_measured(monkeypatch):
    measured = Measurements(monkeypatch)
    monkeypatch.setattr(choosing, "is_compiling", lambda: False)
    monkeypatch.setattr(choosing, "has_avx2", lambda: False)
    monkeypatch.setattr(choosing, "_first_usable", lambda: "blas")
    choices = choose(layers(), kept=nothing_kept())
    assert {choice.backend for choice in choices.values()} == {"blas"}
    assert measured == []


def test_codes_of_16_bits_are_left_to_the_first(monkeypatch):
    measured = Measurements(monkeypatch, blas=9.0)
    d = Draft()
    d.input("a", (197, 192), S16)
    d.op(MatMul, "y", "a", d.constant("b", np.ones((192, 192))), type=S32)
    choice = choose(d.graph(), kept=nothing_kept())["y"]
    assert "more than 8 bits" in choice.reason
    assert choice.backend == ("avx2" if has_avx2() else "blas")
    assert measured == []


def test_ops_of_portable_kernels_are_compared_by_their_sums(monkeypatch):
    measured = Measurements(monkeypatch)
    choose(layers(), kept=nothing_kept(), portable=True, without_torch=True)
    levels = accumulator((2, 11, SATURATE), (0, 32, WRAP))  # several registers: never one pass
    choose(layers(accumulator=levels), kept=nothing_kept(), without_torch=True)
    assert [which.kind for which, _ in measured] == [Kind.LAYER_SUMS, Kind.LAYER_SUMS]


def test_a_backend_that_fails_its_trial_is_not_taken_whatever_is_kept(monkeypatch):
    kept = nothing_kept()
    Measurements(monkeypatch, blas=3.0, numba=1.0)
    choose(layers(), kept=kept, without_torch=True)
    for rates in kept.rates.values():
        rates["torch"] = Rate(gops=99.0)
    usable = choosing.is_usable
    monkeypatch.setattr(choosing, "may_try_torch", lambda: True)
    monkeypatch.setattr(choosing, "is_usable", lambda name: name != "torch" and usable(name))
    assert choose(layers(), kept=kept)["large"].backend != "torch"


def test_one_backend_for_all_when_asked_for():
    choices = choose(layers(), "numba")
    assert {choice.backend for choice in choices.values()} == {"numba"}
    assert choices["large"].reason == "asked for: --gemm numba"
    with pytest.raises(EnvironmentProblem, match="'nonsense': choose auto, avx2, torch, blas"):
        choose(layers(), "nonsense")


def test_no_backend_at_all_is_an_error(monkeypatch):
    monkeypatch.setattr(choosing, "is_usable", lambda name: False)
    with pytest.raises(EnvironmentProblem, match="no matrix product on this CPU is exact"):
        check_backend("auto")


# --- torch is imported for something only ---------------------------------------------------------

# A folder with a module `torch` that tells that it was asked for, and is of no use.
ASKED = 'print("torch was asked for")\nraise ImportError("a false one")\n'
IMPORTING = """
import sys
sys.path[:0] = sys.argv[1:3]
import numpy as np
from simulator.graph.builder import GraphBuilder
from simulator.graph import load
from simulator.product_choice import KeptRates, Rate, choose, choosing, class_of
from pathlib import Path

graph = load(Path(sys.argv[3]))
choosing.may_try_torch = lambda: True
first = "avx2" if choosing.has_avx2() else "blas"
ROUNDS = {
    "slower": (90.0, 0.1, False, False),
    "too little": (115.0, 0.2, False, False),
    "not wanted": (115.0, 0.1, True, False),
    "sums alone": (115.0, 0.1, False, True),
    "worth it": (115.0, 0.1, False, False),
}
for name, (gops, worth, without_torch, portable) in ROUNDS.items():
    print(name)
    choosing.WORTH_AN_IMPORT = worth
    which = class_of(graph.ops[0], graph, one_pass=not portable)
    kept = KeptRates.opened(None, {})
    plain = {other: Rate(gops=50.0) for other in ("avx2", "blas", "numba")}
    kept.rates[which] = {**plain, first: Rate(gops=100.0), "torch": Rate(gops=gops)}
    if first == "blas" and not portable:  # without AVX2 there is no op of one pass
        choosing.is_one_pass = lambda op, graph: True
    choices = choose(graph, kept=kept, without_torch=without_torch, portable=portable)
    assert choices["large"].backend == first
assert "torch" not in sys.modules
"""


def test_torch_is_imported_only_where_it_saves_a_tenth(tmp_path):
    from simulator.graph import save

    save(layers(), tmp_path / "graph")
    (tmp_path / "torch.py").write_text(ASKED, "utf-8")
    root = str(Path(simulator.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING, root, str(tmp_path), str(tmp_path / "graph")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        *("slower", "too little", "not wanted", "sums alone", "worth it"),
        "torch was asked for",
    ]


# --- integers -------------------------------------------------------------------------------------


def mixed(backends):
    """Return a choice that gives the products of a graph one backend after the other."""

    def choose_in_turns(graph, gemm, **_):
        names = cycle(backends)
        return {
            op.name: Choice(backend=next(names), reason="a test")
            for op in graph.ops
            if isinstance(op, MatMul)
        }

    return choose_in_turns


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("turn", range(len(USABLE)))
def test_mixed_backends_give_the_same_integers(monkeypatch, narrow, turn):
    graph = encoder_block()
    if narrow:
        level = accumulator((0, 12, SATURATE))
        ops = [replace(op, accumulator=level) if isinstance(op, MatMul) else op for op in graph.ops]
        graph = replace(graph, ops=tuple(ops))
    codes, taps = input_codes(graph, 11), [op.name for op in graph.ops]
    expected = Executor(graph, gemm="numba", portable=True, threads=1).run(codes, taps=taps)
    monkeypatch.setattr(executor_module, "choose", mixed(USABLE[turn:] + USABLE[:turn]))
    executor = Executor(graph, threads=2)
    assert set(executor.backends) == set(USABLE)
    found = executor.run(codes, taps=taps)
    assert found.counts == expected.counts
    for name in taps:
        assert np.array_equal(found.taps[name], expected.taps[name]), name


def test_every_product_is_multiplied_by_its_backend(monkeypatch):
    used = set()

    class Noted:
        def __init__(self, name):
            self.name = name

        def prepare(self, b):
            used.add((self.name, b.shape))
            return backend(self.name).prepare(b)

    graph = encoder_block()
    monkeypatch.setattr(executor_module, "choose", mixed(["blas", "numba"]))
    monkeypatch.setattr(executor_module, "backend", Noted)
    executor = Executor(graph, threads=1)
    executor.run(input_codes(graph, 1))
    wanted = set()
    for op in graph.ops:
        if isinstance(op, MatMul):
            shape = graph.tensors[op.b].shape[-2:]
            terms_first = shape[::-1] if op.transpose_b else shape
            wanted.add((executor.choices[op.name].backend, terms_first))
    assert used == wanted
    assert {name for name, _ in used} == {"blas", "numba"}
