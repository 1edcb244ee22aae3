"""Write graph/ and stimulus.npy: one layer and a rectifier, as a lowered network has many.

A team takes its graph from `aocq lower` instead, and its stimulus from images.
"""

from pathlib import Path

import numpy as np

from simulator.graph import GraphBuilder, IntGraph, save
from simulator.graph.ops import Lookup, MatMul
from simulator.numerics.accumulator import Accumulator, AccumulatorLevel
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

HERE = Path(__file__).parent
S8, S32, U8 = IntType(bits=8), IntType(bits=32), IntType(bits=8, signed=False)
# A chip with 20-bit accumulators that saturate, and rounding of ties away from zero.
CHIP = {
    "accumulator": Accumulator(
        levels=(AccumulatorLevel(group=0, bits=20, overflow=Overflow.SATURATE),)
    ),
    "rounding": Rounding.HALF_AWAY,
    "overflow": Overflow.SATURATE,
}
IMAGES, TOKENS, INPUTS, OUTPUTS = 6, 5, 12, 8


def graph() -> IntGraph:
    """Return relu(a x weights + bias), all in 8-bit codes."""
    # Numbers that any version of numpy makes alike.
    weights = [[(37 * k + 23 * n) % 15 - 7 for n in range(OUTPUTS)] for k in range(INPUTS)]
    types = {"b": S8, "bias": S32, "multiplier": U8, "shift": U8}
    builder = GraphBuilder("layer", "our_chip", defaults=CHIP, types=types)
    a = builder.input("a", (TOKENS, INPUTS), S8)
    layer = builder.op(
        MatMul,
        "layer",
        a,
        b=weights,
        bias=[16 * (5 * n - 17) for n in range(OUTPUTS)],
        transpose_b=False,
        multiplier=[1, 3, 1, 5, 1, 3, 1, 7],
        shift=[5, 6, 5, 7, 4, 6, 5, 7],
        type=S8,
    )
    relu = [max(code, 0) for code in range(-128, 128)]
    table = builder.constant("relu.table", relu, S8)
    builder.op(Lookup, "relu", layer, table=table, type=S8)
    return builder.build()


def stimulus() -> np.ndarray:
    """Return input codes [images, tokens, inputs]."""
    codes = (np.arange(IMAGES * TOKENS * INPUTS) * 7919 + 41) % 251 - 125
    return codes.reshape(IMAGES, TOKENS, INPUTS).astype(np.int8)


if __name__ == "__main__":
    save(graph(), HERE / "graph")
    np.save(HERE / "stimulus.npy", stimulus())
