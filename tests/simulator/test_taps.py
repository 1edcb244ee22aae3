# SPDX-License-Identifier: Apache-2.0
"""Taps by name and by pattern, and what is said where there is no such tensor."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph import IntGraph
from simulator.taps import activations, tensors_named


def test_names_and_patterns_come_in_the_order_of_the_graph(block: IntGraph) -> None:
    names = activations(block)
    assert tensors_named(block, ()) == []
    assert tensors_named(block, ("*",)) == names
    assert tensors_named(block, (names[3], names[1], names[3])) == [names[1], names[3]]
    found = tensors_named(block, ("h*", "image"))
    assert found == [name for name in names if name[0] == "h" or name == "image"]
    assert len(found) > 1
    assert tensors_named(block, ("[h]ea?",)) == ["head"]


def test_a_constant_is_told_from_a_name_that_is_none(block: IntGraph) -> None:
    for pattern, said in (("positions", "is a constant"), ("posi*", "matches constants only")):
        with pytest.raises(InputError, match=f"tap {pattern[:4]}.*: {said} of graph small") as told:
            tensors_named(block, (pattern,))
        assert "its codes are in graph.safetensors" in str(told.value)
    for wrong in ("haed", "heads*"):
        with pytest.raises(InputError, match=r"has no such tensor; nearest: .*head"):
            tensors_named(block, ("head", wrong))
    with pytest.raises(InputError, match="has no such tensor; `aocq inspect` lists them"):
        tensors_named(block, ("",))


def test_all_taps_of_a_pattern_are_what_they_are_alone(block: IntGraph) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (2, 4, 4)).astype(np.uint8)
    executor = Executor(block, threads=1)
    every = executor.run(codes, taps=tensors_named(block, ("*",))).taps
    assert list(every) == activations(block)
    np.testing.assert_array_equal(every["image"], codes)
    for name in activations(block):
        np.testing.assert_array_equal(executor.run(codes, taps=[name]).taps[name], every[name])
