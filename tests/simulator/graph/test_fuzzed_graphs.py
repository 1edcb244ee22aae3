# SPDX-License-Identifier: Apache-2.0
"""Damaged graphs: each is refused in words, or is another graph that can be used in every way."""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzzed_graphs import classifier, constant_mutants, one_op_of_every_type, write
from mutations import byte_mutants, json_mutants
from safetensors.numpy import load_file
from small_graphs import encoder_block, input_codes

from simulator.boundary import dequantize, quantize
from simulator.cost import estimate
from simulator.errors import AocqError
from simulator.executor import Executor, run_reference
from simulator.graph import IntGraph, load, save, text, verify
from simulator.graph.meta import graph_meta
from simulator.graph.storage import JSON_NAME, TENSORS_NAME
from simulator.profile import load_profile

CHIP = load_profile("edge_npu_int8")
GRAPHS = {"classes": classifier, "block": encoder_block, "every op": one_op_of_every_type}
COUNTS = {"classes": 400, "block": 150, "every op": 250}
COMPARED = 6  # every so many with plain Python integers, which are slow
LARGEST_RUN = 10**5  # elements of a tensor
MORE_MEMORY = 300_000  # KiB that a test may take beside what a sound graph does

every_graph = pytest.mark.parametrize("name", GRAPHS)


class Attack:
    """Tries mutants one after the other, and counts what became of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: Counter[str] = Counter()
        self.attempt("as it was")
        assert self.outcomes == {"used": 1}
        self.before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def attempt(self, what: str) -> None:
        try:
            graph = load(self.folder)
        except AocqError as error:
            self._is_a_message(what, str(error))
            self.outcomes["refused"] += 1
            return
        assert verify(graph) == [], what
        assert all(line.isprintable() for line in text(graph).splitlines()), what
        assert estimate(graph, CHIP).total_cycles >= 0, what
        self.outcomes[self._run(graph, what)] += 1

    def _is_a_message(self, what: str, message: str) -> None:
        assert str(self.folder) in message, what
        assert message.isprintable(), what
        assert len(message) < 4000, what

    def _run(self, graph: IntGraph, what: str) -> str:
        if max(tensor.size for tensor in graph.tensors.values()) > LARGEST_RUN:
            return "large"
        codes = input_codes(graph, 1)
        meta, source = graph_meta(graph), graph.tensors[graph.inputs[0]]
        if meta is not None:
            pixels = np.linspace(-1, 1, source.size).reshape(1, *meta.preprocessing["input_size"])
            codes = quantize(pixels, source)
        try:
            outputs = Executor(graph, gemm="numba", threads=1).run(codes).outputs
        except AocqError:
            return "overflowed"
        if self.outcomes["used"] % COMPARED == 0:
            expected = run_reference(graph, codes[0])
            for name in graph.outputs:
                if not graph.tensors[name].is_float:
                    assert np.array_equal(outputs[name][0], expected[name]), what
        if meta is not None:
            name = graph.outputs[0]
            scores = dequantize(outputs[name], graph.tensors[name])
            assert scores.shape[-1] == meta.classes, what
            assert np.isfinite(scores).all(), what
        return "used"

    def finish(self) -> None:
        """Both kinds of outcome are there, and no mutant took much memory."""
        assert self.outcomes["refused"] > 20, self.outcomes
        assert self.outcomes["used"] > 10, self.outcomes
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - self.before
        assert grown < MORE_MEMORY, f"{grown} KiB"


@pytest.fixture
def attack(tmp_path: Path) -> Callable[[str], Attack]:
    def begin(name: str) -> Attack:
        save(GRAPHS[name](), tmp_path)
        return Attack(tmp_path)

    return begin


@every_graph
def test_damaged_values(attack: Callable[[str], Attack], name: str) -> None:
    """One value of ``graph.json`` is another, and its text canonical again."""
    attacked = attack(name)
    plain = json.loads((attacked.folder / JSON_NAME).read_text(encoding="utf-8"))
    for what, changed in json_mutants(plain, seed=1, count=COUNTS[name]):
        write(changed, attacked.folder)
        attacked.attempt(what)
    attacked.finish()


@every_graph
def test_damaged_constants(attack: Callable[[str], Attack], name: str) -> None:
    """One constant has other codes, another shape or type, and the JSON says so."""
    attacked = attack(name)
    plain = json.loads((attacked.folder / JSON_NAME).read_text(encoding="utf-8"))
    constants = load_file(attacked.folder / TENSORS_NAME)
    for what, changed, codes in constant_mutants(plain, constants, 2, COUNTS[name] // 3):
        write(changed, attacked.folder, codes)
        attacked.attempt(what)
    attacked.finish()


@pytest.mark.parametrize("file", [JSON_NAME, TENSORS_NAME])
def test_damaged_bytes(attack: Callable[[str], Attack], file: str) -> None:
    """Nearly all are refused: the JSON is not canonical, or a hash is not that of the codes."""
    attacked = attack("classes")
    path = attacked.folder / file
    whole = path.read_bytes()
    for what, changed in byte_mutants(whole, seed=3, count=600):
        path.write_bytes(changed)
        attacked.attempt(what)
    assert attacked.outcomes["refused"] > 540, attacked.outcomes
