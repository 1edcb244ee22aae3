# SPDX-License-Identifier: Apache-2.0
"""What families of units have in common: one unit in several modes, fed with the same operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from simulator.export.rtl.bench import Part
from simulator.graph import IntGraph
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType, Overflow
from simulator.numerics.rounding import Rounding

S8, U8, S16 = IntType(bits=8), IntType(bits=8, signed=False), IntType(bits=16)
CHANNELS = 64
Graphs = Mapping[str, IntGraph]
ENDINGS = tuple(product(Rounding, Overflow))
# Every rounding and every overflow, for units that take long.
FEW_ENDINGS = tuple(
    (rounding, overflow)
    for rounding, overflow in ENDINGS
    if overflow is Overflow.SATURATE or rounding is Rounding.HALF_EVEN
)


@dataclass(frozen=True, slots=True)
class Family:
    """One unit in several modes, all fed with the same operands.

    Attributes
    ----------
    graphs
        by the name of the mode; the op is ``y``
    per_image
        results of an image
    operands
        ``operands(random, images)``: codes [images, ...]
    wrong
        modules that are built wrong, as :func:`many_ops.through_hardware` takes them
    alike
        the mode that a mode is provably equal to in this op, or itself
    part
        what of the op is built
    """

    graphs: Graphs
    per_image: int
    operands: Callable[[np.random.Generator, int], Array]
    wrong: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)
    alike: Callable[[str], str] = str
    part: Part = Part.WHOLE


def codes(random: np.random.Generator, shape: tuple[int, ...], kind: IntType = S8) -> Array:
    """Return codes of the whole type, its ends more often than the others."""
    values = random.integers(kind.low, kind.high + 1, shape)
    values = np.where(random.integers(0, 16, shape) == 0, kind.low, values)
    values = np.where(random.integers(0, 16, shape) == 0, kind.high, values)
    return values.astype(kind.dtype)
