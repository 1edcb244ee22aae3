# SPDX-License-Identifier: Apache-2.0
"""An op with the codes that went into it and came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from simulator.errors import InputError
from simulator.executor import Executor
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.names import printable
from simulator.graph.op import Op
from simulator.numerics.float_type import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class OpVectors:
    """An op of a graph, its operands and its results.

    Attributes
    ----------
    activations
        codes [images, ...] of each operand that is no constant
    result
        codes [images, ...]
    """

    op: Op
    graph: IntGraph
    activations: Mapping[str, Array]
    result: Array

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.result)

    def tensor(self, name: str) -> Tensor:
        """Return the declaration of an operand, a constant or the result."""
        return self.graph.tensors[name]


def find_op(graph: IntGraph, name: str) -> Op:
    """Return the op of a name.

    Raises
    ------
    InputError
        If the graph has none.
    """
    names = [op.name for op in graph.ops]
    if name in names:
        return graph.ops[names.index(name)]
    near = get_close_matches(name, names, n=3)
    way = f"nearest: {', '.join(near)}" if near else "`aocq inspect` lists them"
    raise InputError(f"op {printable(name)}: graph {graph.name} has no such op; {way}")


def run_for_op(executor: Executor, op: Op, inputs: Array) -> OpVectors:
    """Run a graph on input codes [images, ...] and keep what ``op`` reads and writes."""
    graph = executor.graph
    operands = [name for name in op.operands if not graph.is_constant(name)]
    run = executor.run(inputs, taps={*operands, op.name})
    return OpVectors(
        op=op,
        graph=graph,
        activations={name: run.taps[name] for name in operands},
        result=run.taps[op.name],
    )


def random_codes(tensor: Tensor, images: int, seed: int = 1) -> Array:
    """Return codes [images, ...] anywhere in a tensor's type, both ends among them."""
    kind, shape = tensor.code_type, (images, *tensor.shape)
    random = np.random.default_rng(seed)
    codes = random.integers(kind.low, kind.high, shape, dtype=np.int64, endpoint=True)
    at_end = random.integers(0, 32, shape)
    codes = np.where(at_end == 0, kind.low, np.where(at_end == 1, kind.high, codes))
    return codes.astype(kind.dtype)
