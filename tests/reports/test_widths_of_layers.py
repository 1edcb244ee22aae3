# SPDX-License-Identifier: Apache-2.0
"""What reports say of runs whose layers have bits of their own."""

from __future__ import annotations

from built_run import build_with_costs

from aocq.records.run import RunResult
from reports.layer_widths import parameters_at, rules, widths
from reports.rows import run_row
from reports.tables import scheme, summary_rows

RULES = {"blocks.*.mlp.fc2": {"w": 8, "a": 8}, "head": {"a": 16}, "<b>": {"w": 3}}
LAYERS = [
    {"op": "blocks.0.mlp.fc2", "a_bits": 8, "b_bits": 8},
    {"op": "<b>", "a_bits": 8, "b_bits": 3},
    {"op": "head", "a_bits": 16, "b_bits": 4},
]


def mixed() -> RunResult:
    """A run of W4A8 with rules, which moreover has the name of one that the paper has."""
    plain = build_with_costs()[0].model_dump()
    plain["model"] |= {"name": "deit_tiny_patch16_224", "arguments": {}, "parameters": 5_717_416}
    plain["method"] |= {"name": "aocq", "weight_bits": 4, "activation_bits": 8}
    plain["method"] |= {"recipe": {"layers": RULES}, "layers": LAYERS}
    plain["memory"]["model_size_bytes"] = 5_717_416 * 5 // 8
    return RunResult(**plain)


def test_rules_are_told_in_a_line_and_the_scheme_is_mixed() -> None:
    result = mixed()
    line = "blocks.*.mlp.fc2 W8A8, head A16, <b> W3"
    assert rules(result.method) == line
    assert widths(result.method) == "W4A8 mixed"
    assert dict(summary_rows(result))["layers"] == line
    assert scheme(result) == "aocq W4A8 mixed"
    assert parameters_at(result) == "5.00 bits on average"


def with_rules(rules_: object, layers: object) -> RunResult:
    plain = mixed().model_dump()
    plain["method"] |= {"recipe": {"layers": rules_}, "layers": layers}
    return RunResult(**plain)


def test_rules_that_others_override_everywhere_are_not_told() -> None:
    fc2 = [{"op": f"blocks.{block}.mlp.fc2", "a_bits": 8, "b_bits": 8} for block in range(2)]
    result = with_rules({"blocks.*.mlp.fc2": {"w": 8}, "blocks.0.*.fc2": {"w": 4}}, fc2)
    assert rules(result.method) == "blocks.*.mlp.fc2 W8"
    assert widths(result.method) == "W4A8 mixed"


def test_exceptions_from_rules_are_told() -> None:
    fc2 = [{"op": "blocks.1.mlp.fc2", "a_bits": 8, "b_bits": 8}]
    given = {"blocks.*.mlp.fc2": {"w": 8}, "blocks.0.mlp.fc2": {"w": 4}, "head": {"w": 4}}
    assert rules(with_rules(given, fc2).method) == "blocks.*.mlp.fc2 W8, blocks.0.mlp.fc2 W4"


def test_rules_that_say_what_holds_for_all_make_nothing_mixed() -> None:
    result = with_rules({"head": {"w": 4}}, [])
    assert rules(result.method) == ""
    assert widths(result.method) == "W4A8"
    assert "layers" not in dict(summary_rows(result))
    assert run_row(result, {}, "run").paper_top1 is not None
    factors = with_rules({"blocks.0": {"alpha": "exact"}}, [])
    assert rules(factors.method) == "blocks.0 alpha exact"
    assert widths(factors.method) == "W4A8"
    narrow = [{"op": "head", "a_bits": 16, "b_bits": 4}]
    assert rules(with_rules({"*": {"w": 4}, "head": {"a": 16}}, narrow).method) == "head A16"


def test_a_row_of_a_table_has_the_rules_the_real_size_and_nothing_of_the_paper() -> None:
    row = run_row(mixed(), {}, "run")
    assert row.widths.endswith("blocks.*.mlp.fc2 W8A8, head A16, <b> W3")
    assert row.size_mb == 5_717_416 * 5 / 8 / 1024 / 1000
    assert row.paper_top1 is row.paper_size_mb is None
    plain = mixed().model_dump()
    plain["method"] |= {"recipe": {}, "layers": []}
    uniform = run_row(RunResult(**plain), {}, "run")
    assert uniform.paper_top1 is not None
    assert uniform.size_mb == 5_717_416 * 4 / 8 / 1024 / 1000
