# SPDX-License-Identifier: Apache-2.0
"""Changed one-op graphs: another field, another constant, another declaration of a tensor.

They need not be valid, they are only run.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from simulator.golden.variants.trial import requantization_of
from simulator.graph.graph import IntGraph


def with_op(unit: IntGraph, **changes: Any) -> IntGraph:
    """Return the unit with other fields of its op."""
    return replace(unit, ops=(replace(unit.ops[0], **changes),))


def with_rule(unit: IntGraph, **changes: Any) -> IntGraph:
    """Return the unit with other choices of its last shift: those of a requantization, if any."""
    parameters: Any = requantization_of(unit.ops[0])
    if parameters is None:
        return with_op(unit, **changes)
    return with_op(unit, requantize=replace(parameters, **changes))


def with_constant(unit: IntGraph, name: str, values: ArrayLike) -> IntGraph:
    """Return the unit with other values of a constant, of any shape and type."""
    return replace(unit, constants={**unit.constants, name: np.asarray(values)})


def with_tensor(unit: IntGraph, name: str, **changes: Any) -> IntGraph:
    """Return the unit with another declaration of a tensor."""
    changed = replace(unit.tensors[name], **changes)
    return replace(unit, tensors={**unit.tensors, name: changed})
