# SPDX-License-Identifier: Apache-2.0
"""Directed vectors of ops on rows: softmax and normalization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.golden.directed.making import (
    Changes,
    Stimulus,
    kind_of,
    remade,
    stimulus,
)
from simulator.golden.one_op import OneOp, run_trace
from simulator.graph.ops import L2Norm, LayerNorm, LayerNormBisection, Softmax, SoftmaxFloatTable
from simulator.graph.ops.normalization import spare_reciprocal_bits
from simulator.numerics.integer_type import IntArray, IntType
from simulator.numerics.softmax_normalisation import Normalisation

OWN_ROWS = "the op's own constants: constant and one-hot rows, small deviations"
ROWS = "rows of equal scores, one-hot and masked rows, all differences, both ends, at random"


def score_rows(kind: IntType, length: int) -> IntArray:
    """Return rows of scores: equal, one-hot, masked, steps, all differences, at random."""
    random = np.random.default_rng(11)
    low, high = kind.low, kind.high
    place = np.arange(length)
    rows = [np.full(length, code) for code in (low, -1 if kind.signed else 1, high)]
    rows += [np.where(place == index, high, low) for index in {0, 1, length // 2, length - 1}]
    rows += [np.where(place <= index, high - 5, low) for index in {0, 2, length // 2}]
    rows += [np.where(place % 2 == 0, high, high - step) for step in (1, 2, 7, 31)]
    differences = np.arange(min(1 << kind.bits, 1 << 10)) * (
        (1 << kind.bits) // min(1 << kind.bits, 1 << 10)
    )
    for start in range(0, len(differences), max(length - 1, 1)):
        part = differences[start : start + max(length - 1, 1)]
        rows.append(np.append(np.resize(high - part, max(length - 1, 1)), high)[:length])
    for width in (2, 8, 30, 120, 1 << kind.bits):
        spread = min(width, 1 << kind.bits)
        rows += [high - random.integers(0, spread, length) for _ in range(6)]
    rows += [low + random.integers(0, min(60, 1 << kind.bits), length) for _ in range(4)]
    ramp = np.clip(low + place * 3, low, high)
    rows += [ramp, ramp[::-1]]
    clipped: IntArray = np.clip(np.array(rows), low, high)
    return clipped


def softmax_rows(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield rows of scores for any softmax, by the op's own constants."""
    a, length = kind_of(base, "a"), base.result.shape[-1]
    for size in dict.fromkeys((length, 3, 40)):
        one = remade(base, f"{name}.rows{size}", Changes(shapes={"a": (1, size)}))
        yield stimulus(one, ROWS, a=score_rows(a, size))


def softmax(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a softmax with a table of exponentials."""
    op = base.op
    assert isinstance(op, Softmax)
    a = kind_of(base, "a")
    yield from softmax_rows(base, name)
    one = remade(
        base, f"{name}.equal", Changes(shapes={"a": (1, 2 << (op.reciprocal_bits - op.shift))})
    )
    length = one.result.shape[-1]
    equal = np.full((2, length), a.low)
    equal[1, ::2] = a.high
    yield stimulus(one, "as many equal scores as make half a code", a=equal)
    table, rows = _table_of_ties(base)
    one = remade(
        base,
        f"{name}.ties",
        Changes(shapes={"a": (1, rows.shape[1])}, constants={"table": table}),
    )
    yield stimulus(one, "a table whose rows make exact ties and their neighbours", a=a.high - rows)


def _table_of_ties(base: OneOp) -> tuple[IntArray, IntArray]:
    """Return a table, and rows of distances from the largest score.

    Row j has three scores whose exponentials are in the entries 3 j + 1 to 3 j + 3 beside entry 0,
    with a sum T and one exponential e such that ``e * i`` is an exact tie, or as near to one as an
    e comes from below or from above. The last row has one exponential alone, which makes the
    largest probability whatever the result's width.
    """
    op: Any = base.op
    kind, a = kind_of(base, "table"), kind_of(base, "a")
    bits = min(kind.bits if not kind.signed else kind.bits - 1, 30)
    result_bits = op.reciprocal_bits - op.shift
    first = 1 << (bits - 2)
    table = np.zeros(1 << a.bits, np.int64)
    table[0] = first
    random = np.random.default_rng(12)
    rows: list[list[int]] = []
    used = 1
    while used + 3 < len(table):
        goal, total = len(rows) % 4, 2 * first
        if goal:
            total += int(random.integers(1, first // 2)) if goal < 3 else 0
            total -= total % (2 << result_bits) if goal == 1 else 0
        number = int(random.integers(1, 1 << result_bits - 1))
        wanted = _exponential(op, total, 2 * number + 1, goal)
        rest = total - first - wanted
        if wanted < 1 or rest < 0 or wanted > kind.high:
            wanted, rest = 1, total - first - 1
        table[used : used + 3] = (wanted, rest // 2, rest - rest // 2)
        rows.append([0, used, used + 1, used + 2])
        used += 3
    rows.append([0, *[len(table) - 1] * 3])
    return table, np.array(rows)


def _exponential(op: Softmax, total: int, halves: int, goal: int) -> int:
    """Return the exponential nearest to ``halves`` halves of a code: at, below or above it."""
    if goal in {0, 1} or op.normalisation is Normalisation.DIVISION:
        return halves * total >> (op.reciprocal_bits - op.shift + 1)
    inverse = ((1 << op.reciprocal_bits) + total // 2) // total
    tie = halves << (op.shift - 1)
    return tie // inverse if goal == 2 else -(-tie // inverse)


def float_table(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield rows for a softmax with a table of float32 exponentials, and exact ties."""
    assert isinstance(base.op, SoftmaxFloatTable)
    yield from softmax_rows(base, name)
    a, bits = kind_of(base, "a"), base.result.code_type.bits
    table = np.zeros(1 << a.bits, np.float32)
    table[0] = 1
    rows = []
    # Each row's exponentials sum up to 2, and its two small ones are ties of a code.
    for index in range(min(60, (len(table) - 1) // 2)):
        halves = 2 * index + 1
        whole = 1 << bits
        table[1 + 2 * index] = np.float32(halves / whole)
        table[2 + 2 * index] = np.float32((whole - halves) / whole)
        rows.append([0, 1 + 2 * index, 2 + 2 * index])
    one = remade(base, f"{name}.ties", Changes(shapes={"a": (1, 3)}, constants={"table": table}))
    yield stimulus(one, "a table whose rows make exact ties", a=a.high - np.array(rows))


def value_rows(kind: IntType, length: int, zero: int) -> IntArray:
    """Return rows of values: constant, one-hot, small and large deviations, at random."""
    random = np.random.default_rng(13)
    place = np.arange(length)
    middle = min(max(zero, kind.low + 2), kind.high - 2)
    rows = [np.full(length, code) for code in (middle, kind.low, kind.high, middle + 1)]
    rows += [np.where(place == 0, middle + step, middle) for step in (1, -1, 2)]
    rows += [
        np.where(place % 2 == 0, kind.low, kind.high),
        np.where(place == 1, kind.high, kind.low),
    ]
    for width in (1, 2, 5, 20):
        rows += [np.clip(middle + random.integers(-width, width + 1, length), kind.low, kind.high)
                 for _ in range(4)]  # fmt: skip
    rows += [random.integers(kind.low, kind.high, length, endpoint=True) for _ in range(8)]
    return np.array(rows)


def layer_norm(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield rows by the op's own constants; then β that takes chosen values next to ties."""
    op = base.op
    assert isinstance(op, LayerNorm)
    a, length = kind_of(base, "a"), base.result.shape[-1]
    zero = base.graph.tensors[op.a].zero_point
    rows = value_rows(a, length, zero)
    one = remade(base, f"{name}.codes", Changes(shapes={"a": (1, length)}))
    yield stimulus(one, OWN_ROWS, a=rows)
    yield from _constant_rows(base, f"{name}.ties", rows)
    many = np.random.default_rng(14).integers(a.low, a.high, (60, length), endpoint=True)
    rows = np.concatenate([rows, many])
    for index in range(6):
        yield _next_to_ties(base, f"{name}.inner{index}", rows, index)


def _constant_rows(base: OneOp, name: str, rows: IntArray) -> Iterator[Stimulus]:
    """Rows without variance, where β alone enters the shift: ties, ends of the result."""
    op: Any = base.op
    length, beta = rows.shape[1], kind_of(base, "beta")
    shift = op.shift - op.beta_shift
    values: list[int] = []
    if shift >= 1:
        halves = [1, -1, 3, -3, 5, -5, 9, 201, -201]
        values += [half << (shift - 1) for half in halves]
        values += [(half << (shift - 1)) + step for half in halves[:4] for step in (1, -1)]
    else:
        values += [code >> -shift for code in range(-9, 9)]
    kind = base.result.code_type
    for end in (kind.low, kind.high):
        for step in (-2, -1, 0, 1, 2):
            code = end + step - base.result.zero_point
            values.append(code << shift if shift >= 0 else code >> -shift)
    values += [beta.low, beta.high, 0, 3 << max(shift - 2, 0)]
    room = min(beta.high, (1 << 61) >> op.beta_shift)
    values = [value for value in values if -room <= value <= room]
    gamma = _gamma(base)
    for start in range(0, len(values), length):
        part = np.resize(values[start : start + length], length)
        constants = {"beta": part, "gamma": np.resize([gamma, -gamma], length)}
        one = remade(
            base, f"{name}{start}", Changes(shapes={"a": (1, length)}, constants=constants)
        )
        yield stimulus(one, "rows without variance: ties and ends by β alone", a=rows)


def _gamma(base: OneOp) -> int:
    """Return the largest magnitude of γ: its products are known to fit."""
    op: Any = base.op
    return int(np.abs(base.graph.constants[op.gamma].astype(np.int64)).max())


def _next_to_ties(base: OneOp, name: str, rows: IntArray, turn: int) -> Stimulus:
    """β such that what enters the shift lies just beside a tie, in one row for each channel.

    A normalized value that is one unit off then rounds to another code. Rows are chosen in which
    the normalized value of the channel hangs on the last unit of root or reciprocal.
    """
    op: Any = base.op
    length, beta = rows.shape[1], kind_of(base, "beta")
    one = remade(base, f"{name}.aim", Changes(shapes={"a": (1, length)}))
    traced = run_trace(one, stimulus(one, "", a=rows).operands)
    inner = {key: values.reshape(len(rows), -1) for key, values in traced.items()}
    normalized = inner["normalized"]
    moved = _with_other_reciprocals(op, inner, turn)
    largest = _gamma(base)
    kind, zero_point = base.result.code_type, base.result.zero_point
    least, most = kind.low - zero_point, kind.high - zero_point
    gamma = np.resize([largest, -largest] if turn % 2 else [largest], length)
    chosen = []
    for channel in range(length):
        hanging = np.flatnonzero(moved[:, channel] != normalized[:, channel])
        varied = hanging if len(hanging) else np.flatnonzero(np.ptp(rows, axis=1))
        row = varied[(channel + 5 * turn) % len(varied)]
        product = int(normalized[row, channel]) * int(gamma[channel])
        upward = (moved[row, channel] > normalized[row, channel]) == (gamma[channel] > 0)
        # Within the result's type: what is clipped shows nothing.
        code = min(max(product >> op.shift, least + 1), most - 2)
        tie = (code << op.shift) + (1 << op.shift >> 1)
        # Just below the tie where a larger product shall cross it, just above or at it otherwise.
        value = (tie - product >> op.beta_shift) + (not upward)
        chosen.append(min(max(value, beta.low), beta.high))
    constants: dict[str, Any] = {"beta": chosen, "gamma": gamma}
    one = remade(base, name, Changes(shapes={"a": (1, length)}, constants=constants))
    return stimulus(one, "values just beside a tie: root, reciprocal, normalized value", a=rows)


def _with_other_reciprocals(op: LayerNorm, inner: dict[str, Any], turn: int) -> IntArray:
    """Return normalized values by a reciprocal that is off, another one at every turn."""
    deviation, reciprocal = inner["deviation"], inner["reciprocal"]
    root = np.maximum(inner["root"], 1)
    spare = spare_reciprocal_bits(op)
    if turn in {0, 1}:
        found: IntArray = deviation * (reciprocal + (1 if turn else -1)) >> spare
    elif turn == 2:
        found = deviation * (((1 << op.reciprocal_bits) + root // 2) // root) >> spare
    elif turn == 3:
        found = (deviation >> 1) * ((2 << op.reciprocal_bits) // root) >> spare
    else:
        found = deviation * ((1 << op.reciprocal_bits - 1) // root) >> max(spare - 1, 0)
    return found


def bisection(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of a LayerNorm of whole-number means and divisions."""
    op: Any = base.op
    assert isinstance(op, LayerNormBisection)
    a, length = kind_of(base, "a"), base.result.shape[-1]
    rows = value_rows(a, length, base.graph.tensors[op.a].zero_point)
    one = remade(base, f"{name}.codes", Changes(shapes={"a": (1, length)}))
    yield stimulus(one, OWN_ROWS, a=rows)
    bias, shift = kind_of(base, "bias"), op.shift
    kind = base.result.code_type
    values = [half << shift >> 1 for half in (1, -1, 3, -3, 5, -5)]
    values += [(half << shift >> 1) + step for half in (1, -1) for step in (1, -1)]
    values += [(end + step) << shift for end in (kind.low, kind.high) for step in (-1, 0, 1)]
    values = [value for value in values if bias.low <= value <= bias.high]
    for index in range(0, len(values), length):
        part = np.resize(values[index : index + length], length)
        constants: dict[str, NDArray[Any]] = {"bias": part}
        one = remade(
            base, f"{name}.ties{index}", Changes(shapes={"a": (1, length)}, constants=constants)
        )
        yield stimulus(one, "rows without variance: ties and ends by the bias alone", a=rows)


def l2_norm(base: OneOp, name: str) -> Iterator[Stimulus]:
    """Yield the directed vectors of an L2Norm: gains at ties of rows that are powers of two."""
    op: Any = base.op
    assert isinstance(op, L2Norm)
    a, length = kind_of(base, "a"), base.result.shape[-1]
    zero = base.graph.tensors[op.a].zero_point
    rows = value_rows(a, length, zero)
    one = remade(base, f"{name}.codes", Changes(shapes={"a": (1, 1, length)}, constants={
        "gain": base.graph.constants[op.gain][:1]}))  # fmt: skip
    yield stimulus(one, OWN_ROWS, a=rows)
    gain, shift = kind_of(base, "gain"), op.shift - op.normalized_fraction_bits
    halves = [1, 3, 5, 255, 513] if shift >= 1 else [1, 2, 3]
    values = [half << shift >> 1 for half in halves]
    values += [value + step for value in values[:2] for step in (1, -1)]
    kept = [value for value in values if 0 <= value <= gain.high]
    kept = [value for value in kept if value <= 4 * int(base.graph.constants[op.gain].max())]
    if not kept:
        return
    one = remade(
        base,
        f"{name}.ties",
        Changes(shapes={"a": (len(kept), 1, length)}, constants={"gain": kept}),
    )
    codes = np.repeat(rows[:, None, :], len(kept), axis=1)
    yield stimulus(one, "gains that make ties of one-hot rows", a=codes)
