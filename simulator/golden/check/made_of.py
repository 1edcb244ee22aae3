# SPDX-License-Identifier: Apache-2.0
"""The numbers that one result of an op was made of: operands, constants, intermediates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from simulator.golden.manifest import RESULT, array_names
from simulator.golden.one_op import OneOp, Operands, run_trace
from simulator.graph.ops import SPECS, AnyMatMul, Lookup, ScaledMatMul
from simulator.numerics.float_type import Array
from simulator.traces import TRACES

_OF_PRODUCTS = frozenset({"a", "b", "row_factor", "column_factor", "block_exponent"})
_SHOWN = 12  # numbers of a row that are listed


def made_of(one: OneOp, operands: Operands, index: tuple[int, ...]) -> dict[str, str]:
    """Return what the result at ``index`` was made of, name to numbers, in order of computation.

    Parameters
    ----------
    operands
        activations [images, ...] by their names
    index
        [image, ...]
    """
    image, place = index[0], index[1:]
    of_image = {name: array[image : image + 1] for name, array in operands.items()}
    return dict(_lines(one, of_image, image, place))


def _lines(
    one: OneOp, operands: Operands, image: int, place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    if SPECS[type(one.op)].moves_codes:
        return
    yield from _read(one, operands, image, place)
    if type(one.op) not in TRACES:
        return
    for key, array in run_trace(one, operands).items():
        if key != RESULT and array.ndim == len(one.result.shape) + 1:
            at = tuple(min(i, extent - 1) for i, extent in zip(place, array.shape[1:], strict=True))
            yield key, str(array[(0, *at)])


def _read(
    one: OneOp, operands: Operands, image: int, place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """Operands and constants, as they were read."""
    shown: dict[str, _Shown] = {}
    for name in one.op.operands:
        if one.graph.is_constant(name):
            shown[name] = _Shown(array=one.graph.constants[name], before=())
        else:
            shown[name] = _Shown(array=operands[name][0], before=(image,))
    if isinstance(one.op, AnyMatMul):
        yield from _factors(one.op, shown, place)
    if isinstance(one.op, ScaledMatMul):
        yield from _scales(one.op, shown, place)
    for key, name in array_names(one.op).items():
        if key == RESULT or (isinstance(one.op, AnyMatMul) and key in _OF_PRODUCTS):
            continue
        if name in shown:
            yield from _operand(key, shown[name], one.result.shape, place)
        elif one.graph.constants[name].ndim == 1:
            yield from _constant(key, one.graph.constants[name], one.result.shape, place)
    if isinstance(one.op, Lookup):
        entry = int(shown[one.op.a].array[place]) - one.graph.tensors[one.op.a].code_type.low
        yield f"table[{entry}]", str(one.graph.constants[one.op.table][entry])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """An operand of one image, and the image's number to be told before its indices."""

    array: Array
    before: tuple[int, ...]

    def told(self, *index: int | str) -> str:
        return ", ".join(map(str, (*self.before, *index)))


def _factors(
    op: AnyMatMul, shown: Mapping[str, _Shown], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The row of a and the column of b, as they are multiplied."""
    a, b = shown[op.a], shown[op.b]
    right = np.swapaxes(b.array, -1, -2) if op.transpose_b else b.array
    row, column = place[:-1], place[-1]
    leading = row[:-1] if right.ndim > 2 else ()
    yield f"a[{a.told(*row, ':')}]", _numbers(a.array[row])
    where = b.told(*leading, *((column, ":") if op.transpose_b else (":", column)))
    yield f"b[{where}]", _numbers(right[leading][..., column])


def _scales(
    op: ScaledMatMul, shown: Mapping[str, _Shown], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The factors of the row and of the column, and the exponents of the row's blocks."""
    *row, column = place
    places = {
        "row_factor": (op.row_factor, (*row, 0)),
        "column_factor": (op.column_factor, (*row[:-1], column, 0)),
    }
    for key, (name, at) in places.items():
        if name is not None:
            yield f"{key}[{shown[name].told(*at)}]", str(shown[name].array[at])
    if op.block_exponent is not None:
        exponents = shown[op.block_exponent]
        yield f"block_exponent[{exponents.told(*row, ':')}]", _numbers(exponents.array[tuple(row)])


def _operand(
    key: str, shown: _Shown, result: tuple[int, ...], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The value at the place, and its row where it has one."""
    array = shown.array
    if array.ndim == len(result) and all(
        extent in {1, wanted} for extent, wanted in zip(array.shape, result, strict=True)
    ):
        at = tuple(min(i, extent - 1) for i, extent in zip(place, array.shape, strict=True))
        yield f"{key}[{shown.told(*at)}]", str(array[at])
        if len(at) > 1:
            yield f"{key}[{shown.told(*at[:-1], ':')}]", _numbers(array[at[:-1]])
    elif array.ndim == 1 and array.size == result[-1]:
        yield f"{key}[{shown.told(place[-1])}]", str(array[place[-1]])


def _constant(
    key: str, array: Array, result: tuple[int, ...], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The constant of the channel, or the only one; nothing of a table."""
    if array.size == 1:
        yield key, str(array[0])
    elif array.size == result[-1] and key not in {"table", "exp_table", "reciprocal_table"}:
        yield f"{key}[{place[-1]}]", str(array[place[-1]])


def _numbers(row: Array) -> str:
    shown = " ".join(map(str, row[:_SHOWN].tolist()))
    return shown if row.size <= _SHOWN else f"{shown} … ({row.size} values)"
