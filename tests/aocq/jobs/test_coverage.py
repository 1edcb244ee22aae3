# SPDX-License-Identifier: Apache-2.0
"""Coverage: networks come through, or to the first operator that is missing; never an exception."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aocq.cli.app import app_of
from aocq.jobs import coverage as module
from aocq.jobs.coverage import HEAD, CoverageResult, coverage_of, matching, row
from aocq.zoo.architectures import ARCHITECTURES, Architecture
from aocq.zoo.families import FAMILIES
from aocq.zoo.models import timm
from simulator.errors import InputError
from simulator.executor import Executor
from simulator.profile import load_profile

CHIP = load_profile("edge_npu_int8")
SMALL = {"img_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 3}
WINDOWS = {"img_size": 32, "window_size": 4, "embed_dim": 12, "depths": (1,), "num_heads": (3,)}
PLAIN = Architecture(name="plain", module="deit", pattern="deit_tiny_patch16_224", arguments=SMALL)


def found(name: str, **options: Any) -> CoverageResult:
    return coverage_of(name, Architecture(name="any", module="any", **options), CHIP, 8)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_timm_has_networks_of_every_kind(architecture: Architecture) -> None:
    names = timm.list_models(architecture.pattern, module=architecture.module)
    assert [name for name in names if not name.startswith("test_")]


def test_every_known_family_is_among_them() -> None:
    tried = {architecture.module for architecture in ARCHITECTURES}
    assert {module for family in FAMILIES.values() for module in family.timm_modules} <= tried


def test_the_smallest_of_those_that_match_is_taken() -> None:
    steps: list[int] = []
    found = matching("deit*_[st]*_patch16_224", steps.append)
    assert {name: architecture.name for name, architecture in found.items()} == {
        "deit_tiny_patch16_224": "DeiT",
        "deit3_small_patch16_224": "DeiT-III",
    }
    assert sum(steps) == len(ARCHITECTURES)
    assert matching("test_vit*", steps.append) == {}


def test_other_names_are_of_their_module() -> None:
    found = matching("vit_base_patch16_siglip_[25]*", lambda steps: None)
    assert {name: architecture.name for name, architecture in found.items()} == {
        "vit_base_patch16_siglip_224": "SigLIP"
    }
    found = matching("vit_base_patch16_siglip_512", lambda steps: None)
    assert [*found] == ["vit_base_patch16_siglip_512"]
    (kind,) = matching("resnet1[04]t", lambda steps: None).values()
    assert (kind.name, kind.module) == ("resnet", "resnet")


def test_a_network_that_comes_through() -> None:
    result = found("deit_tiny_patch16_224", arguments=SMALL)
    assert result.missing == ""
    assert result.float_ops == 0
    assert result.nodes is not None
    assert result.nodes > 20
    assert result.ops is not None
    assert result.compared is not None
    assert result.compared > 2 * result.ops
    assert row(result)[-3:] == (f"{result.ops} ops", "yes", "")


def test_a_network_that_starts_with_scales_of_zero_comes_through() -> None:
    """LeViT's branches do, and its biases of relative positions."""
    small = {"img_size": 64, "embed_dim": (16, 24), "key_dim": 4, "num_heads": (2, 3)}
    result = found("levit_128s", arguments={**small, "depth": (1, 1)})
    assert result.missing == ""
    assert result.compared is not None


def test_an_operator_that_is_missing_is_named_with_its_place() -> None:
    result = found("swinv2_cr_tiny_224", arguments=WINDOWS)
    operator = "operator aten.adaptive_avg_pool2d.default in head.global_pool.pool: has no lowering"
    assert result.missing == operator
    assert row(result)[-4:] == ("no", "no", "no", operator)
    assert result.parameters is not None


def test_a_network_that_cannot_be_built_is_a_result() -> None:
    result = found("deit_tiny_patch16_224", arguments={**SMALL, "num_heads": 5})
    assert result.parameters is None
    assert result.missing.startswith("InputError: model deit_tiny_patch16_224: timm")


def test_a_graph_that_computes_something_else_is_not_captured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = module.capture

    def wrong(*arguments: Any) -> Any:
        graph = capture(*arguments)
        bias = {"head.bias": graph.parameters["head.bias"] + 1.0}
        return replace(graph, parameters={**graph.parameters, **bias})

    monkeypatch.setattr(module, "capture", wrong)
    result = found("deit_tiny_patch16_224", arguments=SMALL)
    assert result.nodes is None
    assert "computes something else" in result.missing


def test_one_integer_that_differs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Executor):
        def run(self, images: Any, **options: Any) -> Any:
            done = super().run(images, **options)
            if len(images) > 1:
                done.taps["head"][1, 3] ^= 1
            return done

    monkeypatch.setattr(module, "Executor", Wrong)
    result = found("deit_tiny_patch16_224", arguments=SMALL)
    assert result.compared is None
    assert result.missing == "integers differ in head"


def test_the_command_prints_the_table_and_writes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "ARCHITECTURES", (PLAIN,))
    file = tmp_path / "table.md"
    done = CliRunner().invoke(app_of(), ["models", "deit*", "--check", "--out", str(file)])
    assert done.exit_code == 0, done.output
    head, rule, line = file.read_text(encoding="utf-8").splitlines()
    assert head == f"| {' | '.join(HEAD)} |"
    assert set(rule) == set("| -")
    assert line.startswith("| plain | deit_tiny_patch16_224 (img_size=32")
    assert line.endswith("| yes |  |")
    assert "deit_tiny_patch16_224" in done.output


@pytest.mark.parametrize("check", [(), ("--check",)])
def test_a_name_that_timm_does_not_have_is_told(check: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app_of(), ["models", "pvtx*", *check])
    assert isinstance(done.exception, InputError)
    assert "pvtx*: timm " in str(done.exception)
    assert "has no such model" in str(done.exception)
    assert "`aocq models` lists all" in str(done.exception)


def test_networks_that_are_not_listed_are_told_from_those_that_are_not_there() -> None:
    done = CliRunner().invoke(app_of(), ["models", "pvt_v2_b[0-3]"])
    assert isinstance(done.exception, InputError)
    told = str(done.exception)
    assert "pvt_v2_b[0-3]: timm has pvt_v2_b0, pvt_v2_b1, pvt_v2_b2 …, of no known family" in told
    assert "`aocq models 'pvt_v2_b[0-3]' --check` tells how far they come" in told


def test_options_of_the_check_are_refused_without_it() -> None:
    done = CliRunner().invoke(app_of(), ["models", "--out", "table.md"])
    assert done.exit_code == 2
    assert "are for --check" in done.output
