# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile files of a quantized model: refused with a place, or lowered and run.

What loads is lowered, or refused for what the chip cannot do; nothing ends in another error.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mutations import byte_mutants, json_mutants
from tiny_models import images, input_size
from tiny_quantized import TINY, tiny

from aocq.jobs.activations import before_and_after, stream_along_depth
from aocq.lowering import lower
from aocq.methods import QuantizedModel
from aocq.methods.storage import load, save
from simulator import graph as int_graph
from simulator.boundary import quantize
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.profile import NpuProfile, load_profile

PIXELS = images(1, input_size(TINY))
JSON, TENSORS = "quantized.json", "quantized.safetensors"


class Attacked:
    """A folder with a quantized model, and what becomes of its mutants."""

    def __init__(self, folder: Path, model: QuantizedModel, profile: NpuProfile) -> None:
        self.folder, self.profile = folder, profile
        # Many entries of one kind would take all the mutants.
        save(replace(model, log=model.log[:2]), folder)
        self.text = (folder / JSON).read_bytes()
        self.tensors = (folder / TENSORS).read_bytes()
        self.plain: dict[str, Any] = json.loads(self.text)
        self.found: Counter[str] = Counter()

    def attack(self, what: str, text: bytes, tensors: bytes | None = None) -> None:
        (self.folder / JSON).write_bytes(text)
        if tensors is not None:
            (self.folder / TENSORS).write_bytes(tensors)
        try:
            self.found[self._outcome()] += 1
        except Exception as error:
            error.add_note(f"mutant: {what}")
            raise

    def _outcome(self) -> str:
        try:
            model = load(self.folder)
        except InputError as error:
            refused = str(error)
        else:
            return self._loaded(model)
        assert refused.isprintable()
        assert JSON in refused
        return "refused"

    def _loaded(self, model: QuantizedModel) -> str:
        self.found["loaded"] += 1
        sampled = self.found["loaded"] % 10 == 1
        if sampled:
            _is_drawn(model)
        try:
            graph = lower(model, self.profile)
        except InputError:
            return "cannot be lowered"
        if sampled:
            _runs(graph, self.folder / "graph")
        return "lowered"


def _is_drawn(model: QuantizedModel) -> None:
    with suppress(InputError):  # steps that no sum of products has, as when it is lowered
        assert before_and_after(model, PIXELS, stream_along_depth(model.graph))


def _runs(graph: int_graph.IntGraph, folder: Path) -> None:
    assert int_graph.save(graph, folder) == int_graph.sha256(graph)
    again = int_graph.load(folder)
    source = again.tensors[again.inputs[0]]
    codes = quantize(PIXELS.numpy(), source)
    result = Executor(again, threads=1).run(codes).outputs[again.outputs[0]]
    assert result.shape == (1, *again.tensors[again.outputs[0]].shape)


@pytest.fixture
def attacked(tmp_path: Path) -> Attacked:
    return Attacked(tmp_path, tiny(), load_profile("edge_npu_int8"))


def test_mutants_of_the_json(attacked: Attacked) -> None:
    for what, plain in json_mutants(attacked.plain, seed=3, count=600):
        attacked.attack(what, json.dumps(plain).encode())
    assert attacked.found["refused"] > 300
    assert attacked.found["lowered"] > 30


@pytest.mark.parametrize(
    ("method", "profile"),
    [
        ("aocq", "ita_26b"),
        ("base_ptq", "litert_ref"),
        ("base_ptq", "gemmini_20b"),
        ("fq_vit", "edge_npu_int8"),
        ("ptq4vit_paper", "gemmini_20b"),
    ],
)
def test_mutants_of_other_methods_and_chips(tmp_path: Path, method: str, profile: str) -> None:
    attacked = Attacked(tmp_path, tiny(method, profile), load_profile(profile))
    for what, plain in json_mutants(attacked.plain, seed=4, count=200):
        attacked.attack(what, json.dumps(plain).encode())
    assert attacked.found["refused"] > 100
    assert attacked.found["lowered"] > 2


def test_bytes_of_the_json(attacked: Attacked) -> None:
    for what, text in byte_mutants(attacked.text, seed=5, count=600):
        attacked.attack(what, text)
    assert attacked.found["refused"] > 300


def test_bytes_of_the_tensors(attacked: Attacked) -> None:
    """With the hash that belongs to them, so that what is in them counts."""
    hashes = 0
    for what, tensors in byte_mutants(attacked.tensors, seed=6, count=600):
        sha256 = hashlib.sha256(tensors).hexdigest()
        hashes += sha256 != attacked.plain["tensors_sha256"]
        text = json.dumps({**attacked.plain, "tensors_sha256": sha256})
        attacked.attack(what, text.encode(), tensors)
    assert hashes > 420
    assert attacked.found["refused"] > 150
    assert attacked.found["lowered"] > 30


def test_two_edits_at_once(attacked: Attacked) -> None:
    """A name changed wherever it stands, or two places of a file."""
    for what, plain in _edited_twice(attacked.plain, seed=7, count=200):
        attacked.attack(what, json.dumps(plain).encode())
    assert attacked.found["refused"] > 100


def _edited_twice(plain: Any, seed: int, count: int) -> Iterator[tuple[str, Any]]:
    chance = random.Random(seed)
    for first, once in json_mutants(plain, seed, count):
        if isinstance(once, dict):
            ((second, twice),) = json_mutants(once, chance.randrange(1 << 30), 1)
            yield f"{first}; {second}", twice
