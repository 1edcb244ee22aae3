# SPDX-License-Identifier: Apache-2.0
"""Errors of tokens: by hand, and which tensors they are of."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_quantized import tiny, tiny_graph

from aocq.capture.token_grid import TokenGrid
from aocq.jobs.token_errors import StreamTensor, stream_behind_blocks, token_errors
from aocq.lowering import lower
from simulator.profile import load_profile

GRID = TokenGrid(prefix=1, rows=2, columns=1)


def test_an_error_is_a_share_of_the_tokens_norm():
    real = np.array([[3.0, 4.0], [0.0, 5.0], [5.0, 0.0]])  # norms of 5
    integer = real + [[0.0, 0.0], [0.6, 0.8], [0.0, 2.0]]
    tensor = StreamTensor(block="b", name="x", grid=GRID)
    assert token_errors(tensor, {"x": real}, {"x": integer}) == pytest.approx([0, 0.2, 0.4])


def test_rotations_do_not_change_errors():
    random = np.random.default_rng(2)
    real, integer = random.normal(size=(2, 3, 8))
    rotation, _ = np.linalg.qr(random.normal(size=(8, 8)))
    tensor = StreamTensor(block="b", name="x", grid=GRID)
    plain = token_errors(tensor, {"x": real}, {"x": integer})
    turned = token_errors(tensor, {"x": real @ rotation}, {"x": integer @ rotation})
    assert plain == pytest.approx(turned, abs=1e-12)
    assert plain.min() > 0


def test_a_stream_of_nothing_has_no_error():
    nothing = {"x": np.zeros((3, 2))}
    tensor = StreamTensor(block="b", name="x", grid=GRID)
    assert token_errors(tensor, nothing, nothing).tolist() == [0, 0, 0]


def test_the_stream_is_looked_at_behind_every_block():
    graph = lower(tiny(), load_profile("edge_npu_int8"))
    found = stream_behind_blocks(tiny_graph(), graph)
    assert [each.block for each in found] == ["stem", "blocks.0"]
    assert {each.grid for each in found} == {TokenGrid(prefix=1, rows=2, columns=2)}
