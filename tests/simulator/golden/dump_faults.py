# SPDX-License-Identifier: Apache-2.0
"""Golden folders of small ops, and dumps of them with one fault each.

A fault of arithmetic is another op, run by the plain-Python reference; one of a file is made by
numpy. Neither knows how `golden check` looks for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fault_units import UNITS, Unit, unit
from small_graphs import (
    SATURATE,
    U8,
    WRAP,
    accumulator,
)

from simulator.golden.manifest import read_manifest
from simulator.graph.ops import (
    Softmax,
)
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rounding import DoubleRounding, Rounding


def dump_folder(folder: Path) -> Path:
    """An empty folder for a dump."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def swapped(array: np.ndarray, axis: int, first: int, second: int) -> np.ndarray:
    moved = np.moveaxis(array.copy(), axis, 0)
    moved[[first, second]] = moved[[second, first]]
    return np.moveaxis(moved, 0, axis)


Fault = Callable[[Unit], Sequence[np.ndarray] | np.ndarray]


def _rounding(unit: Unit) -> list[np.ndarray]:
    return [unit.changed(rounding=mode) for mode in Rounding if mode is not Rounding.HALF_UP]


def _shift(step: int) -> Fault:
    def fault(unit: Unit) -> np.ndarray:
        if hasattr(unit.op, "requantize"):
            return unit.constant("shift", lambda shift: shift + step)
        return unit.changed(shift=unit.op.shift + step)

    return fault


def _multiplier(step: int, field: str = "multiplier") -> Fault:
    return lambda unit: unit.constant(field, lambda multiplier: multiplier + step)


def _flipped(unit: Unit) -> np.ndarray:
    codes = unit.golden.copy()
    codes[2, 5, 3] ^= np.array(1 << 4, codes.dtype)
    return codes


def _lanes(unit: Unit) -> np.ndarray:
    words = unit.golden.reshape(-1, 4)
    return words[:, [0, 2, 1, 3]].reshape(unit.golden.shape)


def _stale(unit: Unit) -> np.ndarray:
    codes = unit.golden.copy()
    codes[3] = codes[2]
    return codes


def _narrow(bits: int) -> Fault:
    def fault(unit: Unit) -> np.ndarray:
        codes = unit.golden.astype(np.int64)
        high = (1 << bits - 1) - 1
        return np.clip(codes, -high - 1, high).astype(unit.golden.dtype)

    return fault


def _accumulator(*level: Any) -> Fault:
    return lambda unit: unit.changed(accumulator=accumulator((0, *level)))


def _entry(unit: Unit) -> np.ndarray:
    def moved(table: np.ndarray) -> np.ndarray:
        changed = table.copy()
        changed[{17: 4, 256: 60}[len(table)] if not isinstance(unit.op, Softmax) else often] += 1
        return changed

    distances = unit.codes.max(axis=-1, keepdims=True).astype(np.int64) - unit.codes
    often = int(np.bincount(distances.ravel())[1:100].argmax()) + 1

    return unit.constant("table", moved)


def _everywhere(fault: Fault, *names: str) -> dict[str, Fault]:
    return dict.fromkeys(names, fault)


THREE = ("MatMul", "LayerNorm", "Add")
NO_BIAS = {
    "MatMul": lambda unit: unit.changed(bias=None),
    "MatMul onto a residual": lambda unit: unit.changed(bias=None),
    "LayerNorm": lambda unit: unit.constant("beta", np.zeros_like),
}
# kind of fault: what one of the named patterns has to be called, and the fault by unit
FAULTS: Mapping[str, tuple[frozenset[str], Mapping[str, Fault]]] = {
    "wrong rounding, each mode": (
        frozenset({"rounding mode"}),
        _everywhere(_rounding, *THREE),
    ),
    "shift one too far": (
        frozenset({"shift"}),
        _everywhere(_shift(1), "MatMul", "LayerNorm", "Rescale"),
    ),
    "shift one too little": (
        frozenset({"shift"}),
        _everywhere(_shift(-1), "MatMul", "LayerNorm", "Rescale"),
    ),
    "multiplier + 1": (
        frozenset({"multiplier"}),
        {**_everywhere(_multiplier(1), "MatMul", "Rescale"), "Add": _multiplier(1, "multiplier_a")},
    ),
    "multiplier - 1": (
        frozenset({"multiplier"}),
        {
            **_everywhere(_multiplier(-1), "MatMul", "Rescale"),
            "Add": _multiplier(-1, "multiplier_b"),
        },
    ),
    "zero point": (
        frozenset({"zero point"}),
        {
            "MatMul": lambda unit: unit.zero_point("y", 0),
            "Add": lambda unit: unit.zero_point("b", 0),
            "Rescale": lambda unit: unit.zero_point("a", -16),
        },
    ),
    "sign extension": (
        frozenset({"sign extension"}),
        _everywhere(lambda unit: unit.unsigned("a"), "MatMul", "LayerNorm", "Add"),
    ),
    "byte order": (
        frozenset({"byte order"}),
        _everywhere(
            lambda unit: unit.golden.byteswap(),
            "MatMul, 16-bit result",
            "Add, 16-bit result",
            "Rescale, 16-bit result",
        ),
    ),
    "transposed": (
        frozenset({"transposition"}),
        _everywhere(lambda unit: unit.golden.transpose(0, 2, 1).copy(), *THREE),
    ),
    "truncated": (
        frozenset({"truncated"}),
        _everywhere(lambda unit: unit.golden.reshape(-1)[:-37], *THREE),
    ),
    "wrong width": (
        frozenset({"width"}),
        _everywhere(_narrow(6), *THREE),
    ),
    "saturate for wrap": (
        frozenset({"overflow rule", "accumulator overflow rule"}),
        {
            "MatMul": _accumulator(12, WRAP),
            "Rescale": lambda unit: unit.changed(overflow=Overflow.WRAP),
            "Add, wrapping": lambda unit: unit.changed(overflow=SATURATE),
        },
    ),
    "accumulator width": (
        frozenset({"accumulator width"}),
        {
            "MatMul": _accumulator(11, SATURATE),
            "Mean": _accumulator(16, SATURATE),
            "MatMul of activations": _accumulator(15, WRAP),
        },
    ),
    "one flipped bit": (frozenset({"flipped bit"}), _everywhere(_flipped, *THREE)),
    "lanes swapped": (frozenset({"lanes"}), _everywhere(_lanes, *THREE)),
    "two rows swapped": (
        frozenset({"rows"}),
        _everywhere(lambda unit: swapped(unit.golden, 1, 2, 5), *THREE),
    ),
    "missing bias": (frozenset({"bias", "constant"}), NO_BIAS),
    "doubled rounding": (
        frozenset({"rounded twice"}),
        _everywhere(
            lambda unit: unit.changed(double_rounding=DoubleRounding.SYMMETRIC),
            "MatMul, 31-bit multiplier",
            "Rescale, 31-bit multiplier",
            "Mul, 31-bit multiplier",
        ),
    ),
    "stale batch": (frozenset({"stale"}), _everywhere(_stale, *THREE)),
    "table entry off by one": (
        frozenset({"table entry"}),
        _everywhere(_entry, "Lookup", "Softmax", "InterpolatedLookup"),
    ),
}


def cells() -> Iterator[tuple[str, str]]:
    """Kind and unit of every fault."""
    for kind, (_, units) in FAULTS.items():
        for name in units:
            yield kind, name


def dumps(kind: str, unit_of: Unit, name: str) -> list[np.ndarray]:
    """What a device with a fault dumps, one array for each form of the fault."""
    made = FAULTS[kind][1][name](unit_of)
    return [made] if isinstance(made, np.ndarray) else [*made]


def manifest(unit_of: Unit) -> Any:
    return read_manifest(unit_of.folder)


__all__ = ["FAULTS", "U8", "UNITS", "Unit", "cells", "dump_folder", "dumps", "manifest", "unit"]
