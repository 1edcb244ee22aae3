# SPDX-License-Identifier: Apache-2.0
"""An op with the codes that went into it and came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simulator.executor import Executor
from simulator.golden.files import check_files, load_array
from simulator.golden.manifest import RESULT, Manifest, array_names
from simulator.golden.one_op import (
    OneOp,
    of_entry,
    of_graph,
    operands_of_entry,
    run_kernel,
    run_trace,
)
from simulator.golden.random_codes import random_codes
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.op import Op
from simulator.numerics.float_type import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class OpVectors:
    """An op, its operands and its results.

    Attributes
    ----------
    activations
        codes [images, ...] of each operand that is no constant
    result
        codes [images, ...]
    """

    one: OneOp
    activations: Mapping[str, Array]
    result: Array

    @property
    def op(self) -> Op:
        """The op."""
        return self.one.op

    @property
    def graph(self) -> IntGraph:
        """The graph of the op alone."""
        return self.one.graph

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.result)

    def tensor(self, name: str) -> Tensor:
        """Return the declaration of an operand, a constant or the result."""
        return self.graph.tensors[name]

    def inner(self, name: str) -> Array:
        """Return an intermediate of the op, int64 [images, ...], by its formula."""
        return run_trace(self.one, self.activations)[name]


def of_operands(one: OneOp, operands: Mapping[str, Array]) -> OpVectors:
    """Return an op on operands [images, ...], its results computed by its kernel."""
    return OpVectors(one=one, activations=operands, result=run_kernel(one, operands).codes)


def of_run(executor: Executor, name: str, inputs: Array) -> OpVectors:
    """Run a graph on input codes [images, ...] and keep what an op reads and writes.

    Raises
    ------
    InputError
        If the graph has no such op, or the codes are not its input's.
    """
    one = of_graph(executor.graph, name)
    run = executor.run(inputs, taps={*one.activations, name})
    operands = {operand: run.taps[operand] for operand in one.activations}
    return OpVectors(one=one, activations=operands, result=run.taps[name])


def of_random_run(executor: Executor, name: str, images: int, seed: int = 1) -> OpVectors:
    """Do the same on random codes."""
    tensor = executor.graph.tensors[executor.graph.inputs[0]]
    return of_run(executor, name, np.concatenate(list(random_codes(tensor, images, seed))))


def of_golden(manifest: Manifest, name: str, folder: Path, images: int | None = None) -> OpVectors:
    """Return an op of a golden folder, with its first ``images`` images or all.

    Raises
    ------
    InputError
        If the folder has no such op, or its files are missing or damaged.
    """
    entry = manifest.entry(name)
    named = (entry.arrays[key] for key in array_names(entry.decoded()))
    check_files(folder, manifest, {*named})
    path = entry.arrays[RESULT]
    operands = operands_of_entry(manifest, entry, folder)
    return OpVectors(
        one=of_entry(manifest, entry, folder),
        activations={operand: codes[:images] for operand, codes in operands.items()},
        result=load_array(folder, path, manifest.files[path])[:images],
    )
