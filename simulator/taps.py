# SPDX-License-Identifier: Apache-2.0
"""Tensors of a graph by name or pattern, for taps."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from simulator.errors import InputError
from simulator.graph.graph import IntGraph

ANY_OF = frozenset("*?[")  # what makes a pattern of a name


def tensors_named(graph: IntGraph, patterns: Sequence[str], what: str = "tap") -> list[str]:
    """Return the tensors that a run computes, in the order of the graph, each once.

    Parameters
    ----------
    patterns
        names, or patterns as a shell has them: ``blocks.0.*``
    what
        what messages call a pattern

    Raises
    ------
    InputError
        If a pattern is of no such tensor.
    """
    names = activations(graph)
    wanted: set[str] = set()
    for pattern in patterns:
        found = [pattern] if pattern in names else []
        if not found and ANY_OF & {*pattern}:
            found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            raise InputError(no_such_tensor(graph, pattern, what))
        wanted |= {*found}
    return [name for name in names if name in wanted]


def activations(graph: IntGraph) -> list[str]:
    """Return the names of inputs and results, in the order of the graph."""
    return [*graph.inputs, *(op.name for op in graph.ops)]


def no_such_tensor(graph: IntGraph, pattern: str, what: str = "tap") -> str:
    """Return the message for a tap, or ``what``, that no run computes: a constant, or misspelt."""
    constants = [name for name in graph.constants if fnmatchcase(name, pattern)]
    if pattern in graph.constants or constants:
        which = "is a constant" if pattern in graph.constants else "matches constants only"
        return (
            f"{what} {pattern}: {which} of graph {graph.name}, the same for every image; "
            "its codes are in graph.safetensors"
        )
    near = get_close_matches(pattern, activations(graph), n=3)
    way = f"nearest: {', '.join(near)}" if near else "`aocq inspect` lists them"
    kind = "tensor" if what == "tap" else what
    return f"{what} {pattern}: graph {graph.name} has no such {kind}; {way}"
