# SPDX-License-Identifier: Apache-2.0
"""Variants inside normalizations and softmax: root, reciprocal, what is rounded on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.golden.variants.stage import rule_of, shifted, stored_codes
from simulator.golden.variants.trial import Trial, finished
from simulator.golden.variants.variant import Family, Variant
from simulator.graph.graph import IntGraph
from simulator.graph.ops import (
    DeferredSoftmax,
    L2Norm,
    LayerNorm,
    NormalizedMatMul,
    Softmax,
)
from simulator.graph.ops.normalization import spare_reciprocal_bits
from simulator.numerics.integer_type import IntArray
from simulator.numerics.softmax_normalisation import Normalisation
from simulator.numerics.square_root import isqrt_kernel, newton_root_kernel
from simulator.ops.layernorm import channel_factors
from simulator.traces import trace

Integers = NDArray[np.int64]


class Inner(NamedTuple):
    """What a variant changes inside a row: each a function of int64 values."""

    root: Callable[[Integers, Integers], Integers] = lambda root, _: root
    reciprocal: Callable[[int, Integers], Integers] = lambda bits, divisor: (1 << bits) // divisor
    normalized: Callable[[Integers, int], Integers] = lambda product, places: product >> places


def _rounded_reciprocal(bits: int, divisor: Integers) -> Integers:
    return ((1 << bits) + divisor // 2) // divisor


def _rounded(product: Integers, places: int) -> Integers:
    return product if places == 0 else (product + (1 << places - 1)) >> places


def _toward_zero(product: Integers, places: int) -> Integers:
    truncated: Integers = np.sign(product) * (np.abs(product) >> places)
    return truncated


NORMALIZATION: tuple[tuple[str, Family, str, Inner], ...] = (
    ("root+1", Family.ROOT, "the root is one too large", Inner(root=lambda r, _: r + 1)),
    ("root-1", Family.ROOT, "the root is one too small", Inner(root=lambda r, _: r - 1)),
    (
        "root=rounded",
        Family.ROOT,
        "rounds the root to the nearest whole number",
        Inner(root=lambda r, v: r + (v - r * r > r)),
    ),
    (
        "reciprocal+1",
        Family.RECIPROCAL,
        "the reciprocal is one too large",
        Inner(reciprocal=lambda bits, divisor: (1 << bits) // divisor + 1),
    ),
    (
        "reciprocal-1",
        Family.RECIPROCAL,
        "the reciprocal is one too small",
        Inner(reciprocal=lambda bits, divisor: (1 << bits) // divisor - 1),
    ),
    (
        "reciprocal=rounded",
        Family.RECIPROCAL,
        "rounds the reciprocal to the nearest whole number",
        Inner(reciprocal=_rounded_reciprocal),
    ),
    (
        "normalized=rounded",
        Family.ROUNDING,
        "rounds normalized values to the nearest, ties up, where they are floored",
        Inner(normalized=_rounded),
    ),
    (
        "normalized=toward_zero",
        Family.ROUNDING,
        "rounds normalized values toward zero where they are floored",
        Inner(normalized=_toward_zero),
    ),
)
SOFTMAX: tuple[tuple[str, str, Callable[[int, Integers], Integers]], ...] = (
    (
        "reciprocal=floor",
        "floors the reciprocal where it is rounded",
        lambda bits, total: (1 << bits) // total,
    ),
    (
        "reciprocal+1",
        "the reciprocal is one too large",
        lambda bits, total: _rounded_reciprocal(bits, total) + 1,
    ),
    (
        "reciprocal-1",
        "the reciprocal is one too small",
        lambda bits, total: _rounded_reciprocal(bits, total) - 1,
    ),
)


def variants(unit: IntGraph) -> Iterator[Variant]:
    """Yield the variants inside a LayerNorm, an L2Norm or a softmax with a reciprocal."""
    (op,) = unit.ops
    if isinstance(op, LayerNorm | L2Norm):
        for name, family, sentence, inner in NORMALIZATION:
            if name == "root=rounded" and isinstance(op, LayerNorm) and op.root_steps:
                continue
            yield Variant(
                name=name,
                family=family,
                sentence=sentence,
                codes=partial(_normalized, inner=inner),
            )
    elif isinstance(op, Softmax) and op.normalisation is Normalisation.RECIPROCAL:
        for name, sentence, reciprocal in SOFTMAX:
            yield Variant(
                name=name,
                family=Family.RECIPROCAL,
                sentence=sentence,
                codes=partial(_softmax, reciprocal=reciprocal),
            )

    elif isinstance(op, NormalizedMatMul):
        for name, sentence, reciprocal in SOFTMAX:
            yield Variant(
                name=name,
                family=Family.RECIPROCAL,
                sentence=sentence,
                codes=partial(_divided, reciprocal=reciprocal),
            )
    elif isinstance(op, DeferredSoftmax):
        yield Variant(
            name="logarithm=floor",
            family=Family.ROUNDING,
            sentence="floors logarithms where they are rounded",
            codes=_floored,
        )
        yield Variant(
            name="logarithm=wrap",
            family=Family.OVERFLOW,
            sentence="keeps the low bits of logarithms beyond the highest code",
            codes=_wrapped,
        )


def _floored(trial: Trial) -> IntArray:
    """Codes of logarithms that are rounded down."""
    op, scaled = trial.op, trace(trial.op, trial.unit, trial.operands)["scaled"]
    assert isinstance(op, DeferredSoftmax)
    kind = trial.result.code_type
    codes: IntArray = np.minimum(scaled >> op.shift, kind.high).astype(kind.dtype)
    return codes


def _wrapped(trial: Trial) -> IntArray:
    """Codes of logarithms without a largest one."""
    logarithms = trace(trial.op, trial.unit, trial.operands)["logarithms"]
    kind = trial.result.code_type
    return (logarithms & kind.high).astype(kind.dtype)


def _divided(trial: Trial, reciprocal: Callable[[int, Integers], Integers]) -> IntArray:
    """Codes of a normalized product with another reciprocal."""
    op = trial.op
    assert isinstance(op, NormalizedMatMul)
    found = trace(op, trial.unit, trial.operands)
    normalized = found["accumulator"] * reciprocal(op.reciprocal_bits, found["sum"])
    return finished(trial.unit, normalized, trial.operands)


def _normalized(trial: Trial, inner: Inner) -> IntArray:
    """Codes of a LayerNorm or an L2Norm with another inner step."""
    op = trial.op
    assert isinstance(op, LayerNorm | L2Norm)
    centred = trial.operands[0].astype(np.int64) - trial.unit.tensors[op.a].zero_point
    if isinstance(op, LayerNorm):
        values = centred * channel_factors(op, trial.unit)
        channels, total = values.shape[-1], values.sum(axis=-1, keepdims=True)
        squares = (values * values).sum(axis=-1, keepdims=True)
        radicand = (channels * squares - total * total + op.epsilon) << 2 * op.sqrt_fraction_bits
        deviations, least = channels * values - total, 1
    else:
        squares = (centred * centred).sum(axis=-1, keepdims=True)
        radicand, deviations = squares << 2 * op.sqrt_fraction_bits, centred
        least = max(op.epsilon, 1)
    root = np.maximum(inner.root(_roots(op, radicand), radicand), least)
    inverse = inner.reciprocal(op.reciprocal_bits, root)
    normalized = inner.normalized(deviations * inverse, spare_reciprocal_bits(op))
    return stored_codes(trial, shifted(_affine(trial, normalized), trial.shifts, rule_of(op)))


def _roots(op: LayerNorm | L2Norm, radicand: Integers) -> Integers:
    steps = (op.root_steps, op.root_start_bits) if isinstance(op, LayerNorm) else (0, 0)
    roots = [
        newton_root_kernel(value, *steps) if steps[0] else isqrt_kernel(value)
        for value in radicand.ravel()
    ]
    return np.array(roots, np.int64).reshape(radicand.shape)


def _affine(trial: Trial, normalized: Integers) -> Integers:
    """Return what enters the last shift."""
    op, constants = trial.op, trial.unit.constants
    if isinstance(op, LayerNorm):
        beta = constants[op.beta].astype(np.int64) << op.beta_shift
        affine: Integers = normalized * constants[op.gamma].astype(np.int64) + beta
        return affine
    assert isinstance(op, L2Norm)
    gains = constants[op.gain].astype(np.int64)
    return normalized * (gains if gains.size == 1 else gains[:, None, None])


def _softmax(trial: Trial, reciprocal: Callable[[int, Integers], Integers]) -> IntArray:
    """Codes of a softmax with another reciprocal."""
    op = trial.op
    assert isinstance(op, Softmax)
    codes = trial.operands[0].astype(np.int64)
    table = trial.unit.constants[op.table].astype(np.int64)
    exponentials = table[codes.max(axis=-1, keepdims=True) - codes]
    inverse = reciprocal(op.reciprocal_bits, exponentials.sum(axis=-1, keepdims=True))
    return stored_codes(trial, shifted(exponentials * inverse, trial.shifts, rule_of(op)))
