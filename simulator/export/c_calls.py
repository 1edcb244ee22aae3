# SPDX-License-Identifier: Apache-2.0
"""The body of a C function that computes an op by a call of the C model."""

from __future__ import annotations

from simulator.errors import InputError
from simulator.export.c_ops import CALLS
from simulator.export.c_structs import Call, Place, Site, steps_of, tensor_initializer, view
from simulator.export.c_text import initializer
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import Concat, op_name


def call_of(op: Op, graph: IntGraph, place: Place) -> Call:
    """Return the call that computes ``op``.

    Raises
    ------
    InputError
        If the op is not integer arithmetic, or has more accumulator levels than the C model.
    """
    require_integers(op)
    return CALLS[type(op)](op, Site(graph, place, graph.result(op)))


def require_integers(op: Op) -> None:
    """Refuse an op that is not integer arithmetic.

    Raises
    ------
    InputError
        If it is one.
    """
    if op.computes_in == "integer":
        return
    raise InputError(
        f"op {op.name} ({op_name(op)}): is computed in {op.computes_in}, the C model has integer "
        "arithmetic only; quantize this operator, or choose a profile and a method without float"
    )


def body(op: Op, graph: IntGraph, place: Place) -> list[str]:
    """Return the lines of a C function that computes ``op`` and returns how many did not fit."""
    call = call_of(op, graph, place)
    lines = [f"    {line}" for line in call.declarations]
    arguments = []
    if call.struct is not None:
        lines.append(f"    static const {call.struct} op = {initializer(call.fields)};")
        arguments.append("&op")
    written: dict[str, str] = {}
    for name in call.operands:
        if name is None:
            arguments.append("NULL")
            continue
        if name not in written:
            written[name] = f"operand_{len(written)}"
            codes = tensor_initializer(graph.tensors[name], place(name))
            lines.append(f"    const aocq_tensor {written[name]} = {codes}; /* {name} */")
        arguments.append(f"&{written[name]}")
    result = tensor_initializer(graph.result(op), place(op.name))
    lines.append(f"    const aocq_result result = {result};")
    called = f"{call.function}({', '.join([*arguments, '&result'])})"
    lines += [f"    return {called};"] if call.counts else [f"    {called};", "    return 0;"]
    return lines


def concat_body(op: Concat, graph: IntGraph, place: Place) -> list[str]:
    """Return the lines of a C function that computes a Concat: one call for each part."""
    result = graph.result(op)
    steps = steps_of(result.shape)
    lines = [f"    const aocq_result result = {tensor_initializer(result, place(op.name))};"]
    start = 0
    for name in op.inputs:
        part = graph.tensors[name]
        to = view(part.shape, steps, start * steps[op.axis])
        lines += [
            "    {",
            f"        static const aocq_view to = {initializer(to, 2)};",
            f"        const aocq_tensor part = {tensor_initializer(part, place(name))};"
            f" /* {name} */",
            "        aocq_scatter(&to, &part, &result);",
            "    }",
        ]
        start += part.shape[op.axis]
    return [*lines, "    return 0;"]


def function_body(op: Op, graph: IntGraph, place: Place) -> list[str]:
    """Return the lines of a C function that computes any op; see :func:`body`."""
    if isinstance(op, Concat) and not graph.result(op).is_float:
        return concat_body(op, graph, place)
    return body(op, graph, place)
