# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from fuzzed_graphs import classifier
from small_graphs import Draft

from simulator.graph import verify
from simulator.graph.names import LONGEST_NAME, is_name, quoted

NAMES = ["a", "_", "0", "blocks.0.attn.qkv", "add_1", "L-R", "x.-y", "a" * LONGEST_NAME]
NOT_NAMES = [
    *("", ".", "..", ".hidden", "a..b", "a.", "../escaped", "a/../b", "/tmp/escaped", "a/b"),
    *("a\\b", "-rf", " a", "a ", "a b", "a\n", "a\x00", "\x1b[2J", "\x07", "\x7f", "é", "ａ", "٣"),
    *("a:b", "a*", "a?", '"a"', "$a", "~", "\ud800", "\u202e", "a" * (LONGEST_NAME + 1)),
]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert is_name(name)
    assert quoted(name) == name


@pytest.mark.parametrize("name", NOT_NAMES)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)
    assert quoted(name).isprintable()
    assert len(quoted(name)) < 100
    quoted(name).encode("ascii")


@pytest.mark.parametrize("value", [None, 3, [1, "\x1b"], {"\x07": 1}, "x" * 10**6, [0] * 10**6])
def test_what_is_quoted_can_be_printed(value: object) -> None:
    assert quoted(value).isprintable()
    assert len(quoted(value)) < 100


@pytest.mark.parametrize("name", NOT_NAMES)
def test_graphs_and_everything_in_them_have_names(name: str) -> None:
    graph = classifier()
    for part in ("name", "profile"):
        (problem,) = verify(replace(graph, **{part: name}))
        assert quoted(name) in problem
        assert problem.startswith("graph " if part == "name" else "profile ")
    d = Draft()
    d.input("a", (4,))
    d.reshape(name, "a", 2, 2)
    (problem,) = verify(d.graph())
    assert problem.startswith(f"tensor {quoted(name)}: is no name; wanted 1 to 200 letters")


def test_names_of_every_length_that_is_allowed_fit_a_file(tmp_path) -> None:
    (tmp_path / f"{'a' * LONGEST_NAME}.00000.npy").touch()
    (tmp_path / f".{'a' * LONGEST_NAME}.00000.npy.1234567.tmp").touch()


def test_a_tensor_is_declared_under_its_own_name() -> None:
    graph = classifier()
    tensors = {**graph.tensors, "pool": replace(graph.tensors["pool"], name="fc")}
    assert verify(replace(graph, tensors=tensors)) == ["tensor pool: is declared as fc"]
