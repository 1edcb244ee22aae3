# SPDX-License-Identifier: Apache-2.0
"""Calls of the C model's rotations, and of codes with a scale for each group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from types import MappingProxyType
from typing import Any

import numpy as np

from simulator.export.c_structs import Call, Site, numbers_of, requantization, rows, stage, word
from simulator.export.c_text import Value
from simulator.graph.op import Op
from simulator.graph.ops import GroupExponent, GroupMaximum, GroupQuantize, GroupShift, Hadamard
from simulator.numerics.hadamard import factors, hadamard_matrix


def _hadamard(op: Hadamard, site: Site) -> Call:
    paley, sylvester = factors(op.order)
    rows_of_signs = (hadamard_matrix(paley) < 0) @ (1 << np.arange(paley, dtype=np.int64))
    signs = ", ".join(f"{row}u" for row in rows_of_signs.tolist())
    fields: dict[str, Value] = {
        **rows(site, "channels"),
        "order": op.order,
        "sylvester": sylvester,
        "negative": "negative",
        "requantize": requantization(site, op.requantize),
    }
    declaration = f"static const uint32_t negative[] = {{{signs}}};"
    return Call((declaration,), "aocq_hadamard_op", fields, "aocq_hadamard", (op.a,))


def _groups(site: Site, a: str, length: int) -> dict[str, Value]:
    return {"groups": prod(site.shape(a)) // length, "length": length}


def _group_scale(op: GroupMaximum | GroupExponent, site: Site) -> Call:
    bits, trim = (op.bits, op.trim) if isinstance(op, GroupExponent) else (0, 0)
    fields: dict[str, Value] = {**_groups(site, op.a, op.group), "bits": bits, "trim": trim}
    struct, function = "aocq_group_scale_op", "aocq_group_scale"
    return Call((), struct, fields, function, (op.a,), counts=False)


def _group_quantize(op: GroupQuantize, site: Site) -> Call:
    fields: dict[str, Value] = {
        **_groups(site, op.a, op.group),
        **numbers_of(op, "numerator"),
        "stage": stage(op),
    }
    struct, function = "aocq_group_quantize_op", "aocq_group_quantize"
    return Call((), struct, fields, function, (op.a, op.maximum))


def _group_shift(op: GroupShift, site: Site) -> Call:
    fields: dict[str, Value] = {
        **_groups(site, op.a, op.group),
        "rounding": word("ROUND", op.rounding),
        "overflow": word("OVERFLOW", op.overflow),
    }
    struct, function = "aocq_group_shift_op", "aocq_group_shift"
    return Call((), struct, fields, function, (op.a, op.exponent))


GROUP_CALLS: Mapping[type[Op], Callable[[Any, Site], Call]] = MappingProxyType(
    {
        Hadamard: _hadamard,
        GroupMaximum: _group_scale,
        GroupExponent: _group_scale,
        GroupQuantize: _group_quantize,
        GroupShift: _group_shift,
    }
)
