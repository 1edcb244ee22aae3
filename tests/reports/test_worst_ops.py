# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest

from reports.ops import block_of, by_block, first_below, measured, steepest_fall, worst_ops


def _with_sqnr(rows, values):
    return [
        row.model_copy(update={"sqnr_db": value})
        for row, value in zip(rows[: len(values)], values, strict=True)
    ]


def test_worst_first_and_ties_in_graph_order(run):
    rows = _with_sqnr(run[1], [5.0, None, -3.0, 5.0, math.inf, math.nan, 40.0])

    assert [op.row.index for op in worst_ops(rows)] == [2, 0, 3, 6]
    assert [op.row.index for op in worst_ops(rows, 2)] == [2, 0]


def test_change_is_against_the_measured_op_before(run):
    rows = _with_sqnr(run[1], [30.0, None, 10.0, 12.5])

    assert [op.change for op in measured(rows)] == [None, -20.0, 2.5]
    assert steepest_fall(rows).row.index == 2
    assert steepest_fall(_with_sqnr(run[1], [1.0, 2.0])) is None


def test_first_op_below_each_threshold(run):
    rows = _with_sqnr(run[1], [30.0, 20.0, 5.0, 25.0, -1.0, -9.0])

    assert [(level, op.row.index) for level, op in first_below(rows)] == [
        (20.0, 2),
        (10.0, 2),
        (0.0, 4),
    ]
    assert first_below(_with_sqnr(run[1], [30.0])) == []


@pytest.mark.parametrize(
    ("op", "block"),
    [
        ("blocks.3.attn.qkv", "blocks.3"),
        ("layers.0.blocks.1.norm", "layers.0.blocks.1"),
        ("layers.1.downsample.norm", "layers.1"),
        ("blocks.3.mlp.0.fc1", "blocks.3"),
        ("blocks.3", "blocks.3"),
        ("patch_embed.proj", "patch_embed"),
        ("head", "head"),
        ("", ""),
    ],
)
def test_block_of_a_dotted_name(op, block):
    assert block_of(op) == block


def test_block_totals_add_up_to_the_run(run):
    result, rows = run
    blocks = by_block(rows)

    assert sum(block.cycles for block in blocks) == result.cycles.total
    assert sum(block.macs for block in blocks) == result.graph.macs
    assert sum(block.ops for block in blocks) == len(rows)
    assert all(block.cycles_by_kind.total() == block.cycles for block in blocks)
    assert [block.name for block in blocks][4:6] == ["blocks.0", "blocks.1"]
