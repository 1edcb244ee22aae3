# SPDX-License-Identifier: Apache-2.0
"""One row of centred codes becomes the codes of a LayerNorm in vector registers."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from simulator.simd.lanes.requantize_row import Rows, requantized
from simulator.simd.lanes.vectors import (
    INT32,
    address_of,
    call,
    constant,
    fill,
    intrinsic,
)


@intrinsic
def normalize_channels(
    typing, centred, read_at, channels, total, inverse, requantizer, out, out_at
):
    """Requantize ``floor((channels * centred - total) * inverse)``; count what does not fit.

    Parameters
    ----------
    centred
        int32, flat: the row from ``read_at`` on, padded as the requantizer's constants are
    channels, total
        their number and their sum: with them, and before ``inverse``, all integers fit 32 bits
    inverse
        float64: its products are exact and fit 32 bits
    requantizer
        see :func:`simulator.simd.lanes.requantize_row.requantize_row`
    out
        flat codes; the row from ``out_at`` on
    """
    index, real = types.intp, types.float64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        centred, read_at, channels, total, inverse, requantizer, out, out_at = arguments
        source = address_of(context, builder, signature.args[0], centred, INT32)
        code = ir.IntType(signature.args[6].dtype.bitwidth)
        target = address_of(context, builder, signature.args[6], out, code)

        def normalized(values: Any) -> Any:
            factor, less = (
                fill(builder, builder.trunc(number, INT32), values.type)
                for number in (channels, total)
            )
            x = builder.sub(builder.mul(values, factor), less)
            wide = ir.VectorType(ir.DoubleType(), values.type.count)
            product = builder.fmul(builder.sitofp(x, wide), fill(builder, inverse, wide))
            whole = call(builder, f"llvm.floor.v{wide.count}f64", wide, product)
            return builder.fptosi(whole, values.type)

        rows = Rows(
            count=constant(1),
            sums=(source, read_at, constant(0)),
            codes=(target, out_at, constant(0)),
            from_sum=normalized,
        )
        return requantized(context, builder, rows, (signature.args[5], requantizer), None)

    signature = types.int64(centred, index, index, index, real, requantizer, out, index)
    return signature, generate
