# SPDX-License-Identifier: Apache-2.0
"""Layers whose bits are not the recipe's for all: the rules as text, and the layers as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aocq.records.costs import MemoryRecord
from aocq.records.run import MethodRecord, RunResult
from reports.format import count

LAYER_HEAD = ("layer or product", "bits it reads", "bits of weights or of the right operand")
_LETTERS: Mapping[str, str] = {"w": "W", "a": "A"}


def rules(method: MethodRecord) -> str:
    """Return the rules for single layers: ``blocks.*.mlp.fc2 W8A8, head A16``; empty without."""
    found: Mapping[str, Mapping[str, Any]] = method.recipe.get("layers", {})
    return ", ".join(f"{pattern} {_rule(rule)}" for pattern, rule in found.items())


def _rule(rule: Mapping[str, Any]) -> str:
    widths = "".join(f"{_LETTERS[key]}{rule[key]}" for key in _LETTERS if key in rule)
    others = [f"{key} {value}" for key, value in rule.items() if key not in _LETTERS]
    return " ".join(filter(None, [widths, *others]))


def widths(method: MethodRecord) -> str:
    """Return the widths of a method: ``W4A8``, and ``W4A8 mixed`` where layers have others."""
    mixed = " mixed" if rules(method) else ""
    return f"W{method.weight_bits}A{method.activation_bits}{mixed}"


def layer_rows(method: MethodRecord) -> list[tuple[str, str, str]]:
    """Return the layers with other widths than the recipe has for all, in the network's order."""
    return [(found.op, str(found.a_bits), str(found.b_bits)) for found in method.layers]


def parameters_at(result: RunResult) -> str:
    """Return the width that a run's parameters are counted at, see :func:`average_bits`."""
    method = result.method
    return average_bits(
        method.weight_bits, result.memory, result.model.parameters, mixed=bool(method.layers)
    )


def average_bits(weight_bits: int, memory: MemoryRecord, parameters: int, *, mixed: bool) -> str:
    """Return the bits of a network's parameters: ``4 bits``, or ``4.31 bits on average``.

    Parameters
    ----------
    weight_bits
        of the recipe
    mixed
        whether layers have other widths
    """
    if not mixed or not parameters:
        return f"{count(weight_bits)} bits"
    return f"{8 * memory.model_size_bytes / parameters:.2f} bits on average"
