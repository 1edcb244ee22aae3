# SPDX-License-Identifier: Apache-2.0
"""``aocq simulate --op``: one op of a graph on operands of somebody's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aocq.cli.console import print_columns

if TYPE_CHECKING:
    from simulator.golden.one_op import OneOp
    from simulator.graph import IntGraph
    from simulator.numerics.float_type import Array


def path_of(text: str) -> Path:
    """Return the file of ``[NAME=]FILE``; a file of that whole name comes first."""
    if Path(text).exists() or "=" not in text:
        return Path(text)
    return Path(text.partition("=")[2])


def simulate_op(
    graph: IntGraph, name: str, inputs: Sequence[str], limit: int | None, out: Path | None
) -> dict[str, Any]:
    """Run one op on its operands; return counts, and write golden vectors where ``out`` is given.

    Parameters
    ----------
    inputs
        ``NAME=FILE`` for each activation that the op reads: its field (``a``, ``b``, ``residual``)
        or the name of the tensor; FILE alone where there is one

    Raises
    ------
    InputError
        If there is no such op or operand, or a file is not one of such codes.
    """
    from simulator.golden.directed.making import Stimulus
    from simulator.golden.files import made_whole
    from simulator.golden.manifest import Kind
    from simulator.golden.one_op import check_operands, of_graph, run_kernel
    from simulator.golden.units import Form, counts_of, write_units
    from simulator.graph import sha256

    one = of_graph(graph, name)
    operands = _operands(one, inputs, limit)
    check_operands(one, operands)
    result = run_kernel(one, operands)
    if out is not None:
        files = ", ".join(path_of(text).name for text in inputs)
        stimulus = Stimulus(one=one, operands=operands, about=f"operands of {files}")
        source = f"op {name} of graph {graph.name}, {sha256(graph)}"
        with made_whole(out) as folder:
            write_units(Kind.STIMULUS, [stimulus], folder, Form(), source)
        print(f"golden vectors of {name}: {out}", file=sys.stderr)
    return {
        "op": name,
        "images": len(result.codes),
        "outputs": result.codes.size,
        **counts_of(result),
    }


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print what :func:`simulate_op` returned."""
    if as_json:
        print(json.dumps(result, indent=2, allow_nan=False))
    else:
        print_columns(list(result), [[str(value) for value in result.values()]])


def _operands(one: OneOp, inputs: Sequence[str], limit: int | None) -> dict[str, Array]:
    """Return the activations of an op by their names, read from files."""
    from simulator.codes_file import read_codes
    from simulator.errors import InputError

    found: dict[str, Array] = {}
    for text in inputs:
        path = path_of(text)
        given = text.removesuffix(str(path)).removesuffix("=")
        name = _activation(one, given)
        if name in found:
            raise InputError(f"op {one.op.name}: operand {name} is given twice")
        found[name] = read_codes(path, one.graph.tensors[name], limit)
    return found


def _activation(one: OneOp, given: str) -> str:
    """Return the tensor of an operand that is named by its field, by its tensor or not at all."""
    from simulator.errors import InputError
    from simulator.golden.manifest import array_names

    names = array_names(one.op)
    fields = {key: name for key, name in names.items() if name in one.activations}
    if not given and len(one.activations) == 1:
        return one.activations[0]
    if given in one.activations:
        return given
    if given not in fields:
        what = f"has no operand {given}" if given else "has several operands"
        raise InputError(
            f"op {one.op.name}: {what}; give --inputs NAME=FILE with NAME one of "
            f"{', '.join(fields)}"
        )
    return fields[given]
