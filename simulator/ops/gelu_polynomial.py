# SPDX-License-Identifier: Apache-2.0
"""GeluPolynomial: see :class:`simulator.graph.ops.GeluPolynomial`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.ops import GeluPolynomial
from simulator.numerics.integer_type import IntArray, IntType, Overflow, fit
from simulator.numerics.jit import kernel as compiled
from simulator.numerics.output_stage import fit_kernel
from simulator.ops.behaviour import Behaviour, Kernel, OpResult
from simulator.ops.requantizing import requantize_reference, requantizer


def reference(op: GeluPolynomial, graph: IntGraph, operands: Sequence[IntArray]) -> OpResult:
    """One image in plain Python integers."""
    result = graph.result(op)
    zero_point = graph.tensors[op.a].zero_point
    register = IntType(bits=op.intermediate_bits)

    def product(code: int) -> int:
        q = code - zero_point
        if op.clip_low is not None:
            q = max(q, op.clip_low)
        square = (min(abs(q), op.clip) - op.clip) ** 2
        polynomial = op.constant - square if op.negated else op.constant + square
        sign = (q > 0) - (q < 0)
        erf = fit(sign * polynomial, register, Overflow.WRAP)
        both = fit(((erf >> op.erf_shift) + op.one) >> op.sum_shift, register, Overflow.WRAP)
        return fit(q * both, register, Overflow.WRAP)

    products = np.vectorize(product, otypes=[object])(operands[0].astype(object))
    return OpResult(*requantize_reference(products, graph, op.requantize, result))


def build(op: GeluPolynomial, graph: IntGraph, _: Gemm) -> Kernel:
    """Kernel for batches."""
    requantize = requantizer(graph, op.requantize, graph.result(op))
    operand = graph.tensors[op.a]
    register = IntType(bits=op.intermediate_bits)
    # Without a limit, the lowest value there is: no code lies below it.
    lowest = operand.code_type.low - operand.zero_point if op.clip_low is None else op.clip_low

    def kernel(operands: Sequence[IntArray]) -> OpResult:
        codes = np.ascontiguousarray(operands[0])
        products = np.empty(codes.shape, np.int64)
        gelu_products(
            codes.reshape(-1),
            operand.zero_point,
            lowest,
            op.clip,
            op.constant,
            op.one,
            op.negated,
            op.erf_shift,
            op.sum_shift,
            register.low,
            register.high,
            products.reshape(-1),
        )
        return OpResult(*requantize(products))

    return kernel


@compiled
def gelu_products(  # type: ignore[no-untyped-def]
    codes,
    zero_point,
    lowest,
    clip,
    constant,
    one,
    negated,
    erf_shift,
    sum_shift,
    register_low,
    register_high,
    products,
):
    """Write ``q * E`` of every code, as it lies in a register of the given ends."""
    for i in range(codes.shape[0]):
        q = max(np.int64(codes[i]) - zero_point, np.int64(lowest))
        distance = min(abs(q), np.int64(clip)) - clip
        square = distance * distance
        polynomial = constant - square if negated else constant + square
        erf = fit_kernel(np.sign(q) * polynomial, register_low, register_high, True)
        both = fit_kernel(
            ((erf >> erf_shift) + one) >> sum_shift, register_low, register_high, True
        )
        products[i] = fit_kernel(q * both, register_low, register_high, True)


BEHAVIOUR = Behaviour(reference, build)
