# SPDX-License-Identifier: Apache-2.0
"""Layers whose bits are not the recipe's for all: the rules as text, and the layers as a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aocq.records.costs import MemoryRecord
from aocq.records.layer_patterns import meets, most_specific
from aocq.records.run import MethodRecord, RunResult
from reports.format import count

LAYER_HEAD = ("layer or product", "bits it reads", "bits of weights or of the right operand")
_LETTERS: Mapping[str, str] = {"w": "W", "a": "A"}


def rules(method: MethodRecord) -> str:
    """Return the rules for single layers that change any: ``blocks.*.mlp.fc2 W8A8, head A16``.

    Empty without. Left out are those that more specific ones override wherever they would make a
    difference, and those that say what the recipe says for all, but for exceptions from others.
    The form of factors, which is no width of a layer, is told as it was asked for.
    """
    found = _deciding(method)
    return ", ".join(f"{pattern} {_rule(rule)}" for pattern, rule in found.items())


def _deciding(method: MethodRecord) -> dict[str, dict[str, Any]]:
    """Return the rules that change any layer, each with the keys that it decides there."""
    given: Mapping[str, Mapping[str, Any]] = method.recipe.get("layers", {})
    told = _decided(method, given)
    found = {
        pattern: {k: v for k, v in rule.items() if k not in _LETTERS or (pattern, k) in told}
        for pattern, rule in given.items()
    }
    return {pattern: rule for pattern, rule in found.items() if rule}


def _decided(method: MethodRecord, given: Mapping[str, Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return by pattern and key the widths of rules that a layer has, and exceptions from these."""
    for_all = {"w": method.weight_bits, "a": method.activation_bits}
    decided: set[tuple[str, str]] = set()
    for layer in method.layers:
        has = {"w": {layer.b_bits}, "a": {layer.a_bits, layer.b_bits}}
        for key in for_all:
            asking = [pattern for pattern, rule in given.items() if key in rule]
            best = most_specific(asking, layer.op)
            decided |= {(each, key) for each in best if given[each][key] in has[key]}
    unusual = {(each, key) for each, key in decided if given[each][key] != for_all[key]}
    changing = {pattern for pattern, _ in unusual}
    exceptions = {
        (pattern, key)
        for pattern, rule in given.items()
        for key, usual in for_all.items()
        if rule.get(key) == usual
        and not any(meets(pattern, layer.op) for layer in method.layers)
        and any(key == other and _may_overlap(pattern, each) for each, other in unusual)
    }
    return {(pattern, key) for pattern, key in decided if pattern in changing} | exceptions


def _may_overlap(one: str, other: str) -> bool:
    """Return whether two patterns could meet one name, by what is in front of their wildcards."""
    first, second = (re.split(r"[*?\[]", pattern)[0] for pattern in (one, other))
    return first.startswith(second) or second.startswith(first)


def _rule(rule: Mapping[str, Any]) -> str:
    widths = "".join(f"{_LETTERS[key]}{rule[key]}" for key in _LETTERS if key in rule)
    others = [f"{key} {value}" for key, value in rule.items() if key not in _LETTERS]
    return " ".join(filter(None, [widths, *others]))


def widths(method: MethodRecord) -> str:
    """Return the widths of a method: ``W4A8``, and ``W4A8 mixed`` where layers have others."""
    mixed = " mixed" if any(_LETTERS.keys() & rule for rule in _deciding(method).values()) else ""
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
