# SPDX-License-Identifier: Apache-2.0
"""Coverage: what vectors tell apart, and what they reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_graphs import S4, S8, U8, Draft
from trials import one_layer

from simulator.golden.coverage.of_op import OpCoverage, Verdict, op_coverage, unit_coverage
from simulator.golden.coverage.text import by_op, by_variant, markdown, summary
from simulator.golden.coverage.ties import count_ties
from simulator.golden.variants.all_of import Trial, unit_of
from simulator.golden.variants.constants import entry_variants
from simulator.graph.ops import Lookup, Softmax


def verdict(coverage: OpCoverage, name: str) -> Verdict:
    (row,) = (row for row in coverage.rows if row.variant == name)
    return row.verdict


def test_exact_ties_are_counted_by_sign() -> None:
    scaled = np.array([[8, 24, -8, 7, 9, 0, 4, -4, 12]])
    assert count_ties(scaled, np.array([4])) == (1, 2)
    assert count_ties(scaled, np.array([0])) == (0, 0)
    assert count_ties(np.array([[4, 4], [-4, 1]]), np.array([3, 1])) == (1, 2)


def test_vectors_without_ties_do_not_tell_rounding_to_the_nearest_apart() -> None:
    trial = one_layer([[1], [-9]], [4])
    whole = op_coverage(trial)
    assert verdict(whole, "rounding=half_away") is Verdict.TOLD_APART
    ties = count_ties(trial.scaled, trial.shifts)
    assert (whole.reached.negative_ties, whole.reached.positive_ties) == ties
    assert min(ties) > 0
    dropped = (trial.scaled & 15) != 8
    without = Trial(trial.unit, (trial.operands[0][dropped[:, 0, 0]], *trial.operands[1:]))
    part = op_coverage(without)
    assert part.reached.negative_ties == part.reached.positive_ties == 0
    assert verdict(part, "rounding=half_away") is Verdict.NOT_TOLD
    assert verdict(part, "rounding=floor") is Verdict.TOLD_APART
    assert "rounding=half_away" in {row.variant for row in part.missing}
    together = unit_coverage("unit", [without, trial])
    assert verdict(together, "rounding=half_away") is Verdict.TOLD_APART
    assert together.reached.codes == without.truth.size + trial.truth.size


def test_ends_of_types_and_clipped_codes() -> None:
    reached = op_coverage(one_layer([[1], [-9]], [4])).reached
    assert reached.operand_ends == {"a": (True, True)}
    assert reached.shifts == (4,)
    assert reached.saturated_low == 0
    wide = op_coverage(one_layer([[20], [-9]], [4])).reached
    assert wide.saturated_low > 0
    assert wide.saturated_high > 0


def test_entries_of_a_table() -> None:
    draft = Draft()
    draft.input("a", (4,), S4)
    draft.op(Lookup, "y", "a", table=[*range(16)], type=S8)
    unit = unit_of(draft.graph(), draft.ops[-1])
    some = Trial.of(unit, {"a": np.array([[-8, 7, 0, 0]], np.int8)})
    every = Trial.of(unit, {"a": np.arange(-8, 8, dtype=np.int8).reshape(4, 4)})
    part, whole = op_coverage(some), op_coverage(every)
    assert part.reached.entries == {"table": (3, 16)}
    assert verdict(part, "table[any]") is Verdict.NOT_TOLD
    assert verdict(whole, "table[any]") is Verdict.TOLD_APART
    wrong = [*entry_variants(unit, "table", iter(range(16)))]
    assert len(wrong) == 32
    assert all((variant.codes(every) != every.truth).any() for variant in wrong)
    assert any((variant.codes(some) == some.truth).all() for variant in wrong)


def test_entries_that_are_computed_with_are_only_read() -> None:
    draft = Draft()
    draft.input("a", (2,), S4)
    table = [(1 << 20) >> code for code in range(16)]
    draft.op(Softmax, "y", "a", table=table, reciprocal_bits=40, shift=32, type=U8)
    unit = unit_of(draft.graph(), draft.ops[-1])
    every = Trial.of(unit, {"a": np.array([[7, 7 - code] for code in range(16)], np.int8)})
    wrong = [*entry_variants(unit, "table", iter(range(16)))]
    assert any((variant.codes(every) == every.truth).all() for variant in wrong)
    whole = op_coverage(every)
    (row,) = (row for row in whole.rows if row.variant == "table[any]")
    assert (row.verdict, row.differing) == (Verdict.READ, 0)
    assert row.reason == "table entries read: 16 of 16"
    assert row not in whole.missing
    assert summary([whole])[1].endswith("; all entries are read of 1 more tables")
    part = op_coverage(Trial(unit, (every.operands[0][:-1],)))
    (row,) = (row for row in part.rows if row.variant == "table[any]")
    assert row in part.missing
    assert row.reason == "table entries read: 15 of 16"


def test_tables_of_coverage() -> None:
    found = op_coverage(one_layer([[1], [-9]], [4]))
    titles, rows = by_variant([found, found])
    assert titles == [
        "mistake",
        "what",
        "told apart",
        "proven equal",
        "entries read",
        "not told apart",
    ]
    (row,) = (row for row in rows if row[0] == "rounding=half_away")
    assert row[2:] == ["2", "0", "0", "0"]
    assert "bias=doubled" not in {row[0] for row in rows}
    assert "bias=doubled" in {row[0] for row in by_variant([found], all_rows=True)[1]}
    (line,) = by_op([found])[1]
    assert line[0] == "y"
    assert summary([found])[0].startswith("256 results of 1 ops; 256 are shifted and rounded, ")
    text = markdown([found])
    assert "| rounding=half_away | rounds ties away from zero | 1 | 0 | 0 | 0 |" in text


def test_units_of_a_graph_say_which_ops_they_stand_for() -> None:
    alone = op_coverage(one_layer([[1], [-9]], [4]))
    assert "stands for" not in by_op([alone])[0]
    unit = replace(alone, op="matmul", stands_for=("fc1", "fc2", "head", "qkv"))
    titles, (row, other) = by_op([unit, alone])
    assert (titles[1], row[1], other[1]) == ("stands for", "fc1, fc2 and 2 more", "")
    assert "| matmul | fc1, fc2, head, qkv | matmul |" in markdown([unit])
