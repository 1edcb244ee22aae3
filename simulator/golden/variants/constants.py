# SPDX-License-Identifier: Apache-2.0
"""Variants of an op's constants and whole-number parameters, each a little off or missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from simulator.golden.variants.changes import with_constant, with_op
from simulator.golden.variants.operands import negative_constants, read_as
from simulator.golden.variants.trial import requantization_of
from simulator.golden.variants.variant import Family, Variant, unit_variant
from simulator.graph.graph import IntGraph
from simulator.graph.op import Op
from simulator.graph.ops import SPECS, Lookup, Softmax
from simulator.graph.verify_shapes import shapes_agree

TABLES = frozenset({"table", "levels", "exp_table", "reciprocal_table"})
# What the other files vary, or what says where codes lie and not what they are.
NOT_PARAMETERS = frozenset({"shift", "axis", "start", "stop", "step", "bias", "block"})
MISSING = {"beta": 0, "weight": 1, "gamma": 1, "channel_multiplier": 1, "channel_shift": 0}
MOST_ENTRIES = 1 << 12  # of tables whose entries are varied one by one


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants of an op's constants, its tables and its whole-number parameters."""
    (op,) = unit.ops
    spec = SPECS[type(op)]
    if spec.moves_codes or "operand" in spec.real or "constant" in spec.real:
        return
    for field, name in constants_of(op):
        if field in TABLES:
            yield from _table(unit, field, name)
        else:
            yield from _constant(unit, field, name)
    yield from _parameters(unit)


def constants_of(op: Op) -> Iterator[tuple[str, str]]:
    """Yield the fields and names of an op's constants; those of a requantization, too."""
    for field in op.constant_fields:
        if getattr(op, field) is not None:
            yield field, getattr(op, field)
    parameters = requantization_of(op)
    if parameters is not None:
        yield "multiplier", parameters.multiplier


def _constant(unit: IntGraph, field: str, name: str) -> Iterator[Variant]:
    values = unit.constants[name]
    if values.dtype.kind == "f":
        return
    wide = values.astype(np.int64)
    family = Family.MULTIPLIER if "multiplier" in field else Family.CONSTANT
    if field == "bias":
        family = Family.BIAS
    for step in (1, -1):
        moved = np.maximum(wide + step, 0) if wide.min() >= 0 else wide + step
        sentence = f"{field} is one too {'large' if step > 0 else 'small'}"
        if (moved != wide).any():
            changed = with_constant(unit, name, moved)
            yield unit_variant(f"{field}{step:+d}", family, sentence, changed)
    default = MISSING.get(field)
    if default is not None and (wide != default).any():
        yield unit_variant(
            f"{field}=missing",
            family,
            f"{field} is left out",
            with_constant(unit, name, np.full_like(wide, default)),
        )
    if wide.size > 1 and (wide != wide[0]).any():
        for other, sentence, moved in (
            ("of_channel_0", "that of channel 0 serves all", np.full_like(wide, wide[0])),
            ("next_channel", "each channel has that of the next", np.roll(wide, -1)),
        ):
            changed = with_constant(unit, name, moved)
            yield unit_variant(f"{field}={other}", family, f"{field}: {sentence}", changed)
    unsigned = negative_constants(unit, name)
    if unsigned is not None:
        changed = with_constant(unit, name, read_as(values, unsigned).astype(np.int64))
        sentence = f"reads {field}, which is {unit.tensors[name].type}, as {unsigned}"
        yield unit_variant(f"{field}=unsigned", Family.SIGN, sentence, changed)


def _table(unit: IntGraph, field: str, name: str) -> Iterator[Variant]:
    """A table that is read one entry further or nearer."""
    table = unit.constants[name]
    first, last = table[:1], table[-1:]
    for step, parts in ((1, [table[1:], last]), (-1, [first, table[:-1]])):
        moved = np.concatenate(parts)
        if isinstance(unit.ops[0], Softmax):
            moved[0] = max(moved[0], 1)  # by which sums are divided
        yield unit_variant(
            f"{field}.index{step:+d}",
            Family.TABLE,
            f"reads {field} at the {'next' if step > 0 else 'previous'} index",
            with_constant(unit, name, moved),
        )


def entry_variants(unit: IntGraph, field: str, entries: Iterator[int]) -> Iterator[Variant]:
    """Yield variants with one wrong entry of a table each: one too large, one too small."""
    (op,) = unit.ops
    name = getattr(op, field)
    table = unit.constants[name]
    kind = np.iinfo(table.dtype)
    for entry in entries:
        for step in (1, -1):
            value = int(table[entry]) + step
            if not kind.min <= value <= kind.max or (isinstance(op, Softmax) and value < 1):
                continue
            changed = table.copy()
            changed[entry] = value
            yield unit_variant(
                f"{field}[{entry}]{step:+d}",
                Family.TABLE,
                f"entry {entry} of {field} is {value}, not {int(table[entry])}",
                with_constant(unit, name, changed),
            )


def tables_of(op: Op) -> list[str]:
    """Return the fields of an op's tables of integers."""
    if "constant" in SPECS[type(op)].real:
        return []
    return [field for field in op.constant_fields if field in TABLES]


def _parameters(unit: IntGraph) -> Iterator[Variant]:
    """Every whole-number field, one larger and one smaller; every switch, turned over."""
    (op,) = unit.ops
    for declared in fields(op):
        value: Any = getattr(op, declared.name)
        if declared.name in NOT_PARAMETERS or isinstance(op, Lookup):
            continue
        if declared.name in {"negated", "subtract"}:
            yield unit_variant(
                f"{declared.name}={not value}",
                Family.FIELD,
                f"{declared.name} is {not value}",
                with_op(unit, **{declared.name: not value}),
            )
        elif isinstance(value, int) and not isinstance(value, bool):
            yield from _neighbours(unit, declared.name, value)


def _neighbours(unit: IntGraph, field: str, value: int) -> Iterator[Variant]:
    for step in (1, -1):
        changed = with_op(unit, **{field: value + step})
        if (value >= 0 and value + step < 0) or any(_problems(changed)):
            continue
        sentence = f"{field} is {value + step}, not {value}"
        yield unit_variant(f"{field}{step:+d}", Family.FIELD, sentence, changed)


def _problems(unit: IntGraph) -> Iterator[str]:
    """Yield what is wrong with a changed op: it must be one that its kernel can compute."""
    (op,) = unit.ops
    yield from shapes_agree(unit, op)
    yield from SPECS[type(op)].rules(unit, op)
