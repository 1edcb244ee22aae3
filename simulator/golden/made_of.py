# SPDX-License-Identifier: Apache-2.0
"""The numbers that one result of an op was made of: operands, constants, intermediates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from simulator.golden.manifest import RESULT, array_names
from simulator.golden.one_op import OneOp, Operands, run_trace
from simulator.graph.ops import MatMul, SPECS
from simulator.numerics.float_type import Array
from simulator.traces import TRACES

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
    return dict(_lines(one, of_image, place))


def _lines(one: OneOp, operands: Operands, place: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    if SPECS[type(one.op)].moves_codes:
        return
    values: Mapping[str, Array] = {
        name: one.graph.constants[name] if one.graph.is_constant(name) else operands[name][0]
        for name in one.op.operands
    }
    if isinstance(one.op, MatMul):
        yield from _factors(one.op, values, place)
    names = array_names(one.op)
    for key, name in names.items():
        if key == RESULT or (isinstance(one.op, MatMul) and key in {"a", "b"}):
            continue
        if name in values:
            yield from _operand(key, values[name], one.result.shape, place)
        elif one.graph.constants[name].ndim == 1:
            yield from _constant(key, one.graph.constants[name], one.result.shape, place)
    if type(one.op) not in TRACES:
        return
    for key, array in run_trace(one, operands).items():
        if key != RESULT and array.ndim == len(one.result.shape) + 1:
            at = tuple(min(i, extent - 1) for i, extent in zip(place, array.shape[1:], strict=True))
            yield key, str(array[(0, *at)])


def _factors(
    op: MatMul, values: Mapping[str, Array], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The row of a and the column of b, as they are multiplied."""
    a, b = values[op.a], values[op.b]
    b = np.swapaxes(b, -1, -2) if op.transpose_b else b
    row, column = place[:-1], place[-1]
    leading = row[:-1] if b.ndim > 2 else ()
    yield f"a[{_told((*row, ':'))}]", _numbers(a[row])
    stored = (*leading, column, ":") if op.transpose_b else (*leading, ":", column)
    yield f"b[{_told(stored)}]", _numbers(b[leading][..., column])


def _operand(
    key: str, array: Array, result: tuple[int, ...], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The value at the place, and its row where it has one."""
    if array.ndim == len(result) and all(
        extent in {1, wanted} for extent, wanted in zip(array.shape, result, strict=True)
    ):
        at = tuple(min(i, extent - 1) for i, extent in zip(place, array.shape, strict=True))
        yield f"{key}[{_told(at)}]", str(array[at])
        if len(at) > 1:
            yield f"{key}[{_told((*at[:-1], ':'))}]", _numbers(array[at[:-1]])
    elif array.ndim == 1 and array.size == result[-1]:
        yield f"{key}[{place[-1]}]", str(array[place[-1]])


def _constant(
    key: str, array: Array, result: tuple[int, ...], place: tuple[int, ...]
) -> Iterator[tuple[str, str]]:
    """The constant of the channel, or the only one; nothing of a table."""
    if array.size == 1:
        yield key, str(array[0])
    elif array.size == result[-1] and key not in {"table", "exp_table", "reciprocal_table"}:
        yield f"{key}[{place[-1]}]", str(array[place[-1]])


def _told(index: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, index))


def _numbers(row: Array) -> str:
    shown = " ".join(map(str, row[:_SHOWN].tolist()))
    return shown if row.size <= _SHOWN else f"{shown} … ({row.size} values)"
