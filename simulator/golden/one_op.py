# SPDX-License-Identifier: Apache-2.0
"""One op by itself, from a graph or from a golden folder: its tensors, its constants, runs of it.

Its graph has the op alone; activations that it reads are inputs. Operands are arrays by the names
of tensors, activations with a leading dimension of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import MappingProxyType

import numpy as np

from simulator.boundary import problem_of_codes
from simulator.errors import InputError
from simulator.gemm import backend
from simulator.golden.files import load_array
from simulator.golden.manifest import ArrayFile, ArrayRole, Manifest, OpEntry, array_names
from simulator.graph.graph import IntGraph, Role, Tensor
from simulator.graph.op import Op, TensorId
from simulator.graph.storage import refuse_problems
from simulator.graph.verify import verify_one_op
from simulator.kernel_choice import kernel_of
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntArray
from simulator.ops import BEHAVIOURS, OpResult
from simulator.ops.behaviour import SumCounts
from simulator.taps import no_such_tensor
from simulator.traces import trace

Operands = Mapping[TensorId, Array]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOp:
    """An op in a graph of its own.

    Attributes
    ----------
    graph
        tensors and constants of the op, and of nothing else
    """

    op: Op
    graph: IntGraph

    @property
    def activations(self) -> tuple[TensorId, ...]:
        """The operands that have images, each once."""
        names = dict.fromkeys(self.op.operands)
        return tuple(name for name in names if not self.graph.is_constant(name))

    @property
    def result(self) -> Tensor:
        """The tensor that the op writes."""
        return self.graph.result(self.op)


def of_graph(graph: IntGraph, name: TensorId) -> OneOp:
    """Return an op of a graph by itself.

    Raises
    ------
    InputError
        If the graph has no such op.
    """
    op = next((op for op in graph.ops if op.name == name), None)
    if op is None:
        raise InputError(no_such_tensor(graph, name, "op"))
    return of_op(op, graph)


def of_op(op: Op, graph: IntGraph) -> OneOp:
    """Return an op by itself, ``graph`` being any that has its tensors and constants."""
    names = dict.fromkeys((*op.operands, *op.constants))
    tensors = {name: graph.tensors[name] for name in names}
    for name in op.operands:
        if not graph.is_constant(name):
            tensors[name] = replace(tensors[name], role=Role.INPUT)
    tensors[op.name] = replace(graph.tensors[op.name], role=Role.ACTIVATION)
    alone = IntGraph(
        name=graph.name,
        profile=graph.profile,
        inputs=tuple(name for name in dict.fromkeys(op.operands) if not graph.is_constant(name)),
        outputs=(op.name,),
        tensors=MappingProxyType(tensors),
        ops=(op,),
        constants=MappingProxyType(
            {name: graph.constants[name] for name in names if graph.is_constant(name)}
        ),
    )
    return OneOp(op=op, graph=alone)


def of_entry(manifest: Manifest, entry: OpEntry, folder: Path) -> OneOp:
    """Return an op of a golden folder; its constants are read, and its rules verified.

    Raises
    ------
    InputError
        If files are missing or damaged, or the op is not a valid one.
    """
    op = entry.decoded()
    tensors: dict[TensorId, Tensor] = {}
    constants: dict[TensorId, Array] = {}
    for key, name in array_names(op).items():
        file = manifest.files[entry.arrays[key]]
        tensors[name] = _tensor(name, file, is_result=name == op.name)
        if file.role is ArrayRole.CONSTANT:
            constants[name] = np.array(load_array(folder, entry.arrays[key], file))
    identity = manifest.graph
    graph = IntGraph(
        name=identity.name if identity else op.name,
        profile=identity.profile if identity else op.name,
        inputs=tuple(name for name in tensors if tensors[name].role is Role.INPUT),
        outputs=(op.name,),
        tensors=MappingProxyType(tensors),
        ops=(op,),
        constants=MappingProxyType(constants),
    )
    refuse_problems(f"{folder}: op {op.name}", verify_one_op(graph), "; record it again")
    return OneOp(op=op, graph=graph)


def _tensor(name: TensorId, file: ArrayFile, *, is_result: bool) -> Tensor:
    """Return the tensor that a file of the manifest describes."""
    constant = file.role is ArrayRole.CONSTANT
    role = Role.CONSTANT if constant else Role.ACTIVATION if is_result else Role.INPUT
    return Tensor(
        name=name,
        shape=file.shape if constant else file.shape[1:],
        type=file.type,
        role=role,
        zero_point=file.zero_point,
        scale=file.scale,
    )


def operands_of_entry(manifest: Manifest, entry: OpEntry, folder: Path) -> dict[TensorId, Array]:
    """Return the activations [images, ...] that an op of a golden folder read, mapped into memory.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    op = entry.decoded()
    found = {}
    for key, name in array_names(op).items():
        path = entry.arrays[key]
        if name in op.operands and manifest.files[path].role is not ArrayRole.CONSTANT:
            found[name] = load_array(folder, path, manifest.files[path])
    return found


def check_operands(one: OneOp, operands: Operands) -> None:
    """Refuse operands that the op cannot have.

    Raises
    ------
    InputError
        If one is missing, too many, has another shape or type, or holds codes outside its type; or
        if they differ in their number of images.
    """
    for name in one.activations:
        if name not in operands:
            raise InputError(
                f"op {one.op.name}: operand {name} is missing; it reads "
                f"{', '.join(one.activations)}"
            )
    for name in operands:
        if name not in one.activations:
            raise InputError(
                f"op {one.op.name}: has no operand {name}; it reads {', '.join(one.activations)}"
            )
    counts = set()
    for name in one.activations:
        problem = problem_of_codes(operands[name], one.graph.tensors[name])
        if problem is not None:
            raise InputError(f"op {one.op.name}: operand {name}: {problem}")
        counts.add(len(operands[name]))
    if len(counts) > 1:
        raise InputError(
            f"op {one.op.name}: operands have {' and '.join(map(str, sorted(counts)))} images; "
            "give the same number of each"
        )


def run_kernel(
    one: OneOp, operands: Operands, *, gemm: str = "numba", portable: bool = False
) -> OpResult:
    """Run the op on operands [images, ...] by its kernel.

    Parameters
    ----------
    gemm
        the backend of matrix products; all give the same integers
    portable
        whether to leave out vector code
    """
    kernel = kernel_of(one.op, one.graph, backend(gemm), portable=portable)
    return kernel(in_order(one, operands))


def run_reference(one: OneOp, operands: Operands) -> OpResult:
    """Run the op on operands [images, ...] by its plain-Python reference, image by image."""
    reference: Callable[..., OpResult] = BEHAVIOURS[type(one.op)].reference
    images = len(operands[one.activations[0]])
    results = [
        reference(one.op, one.graph, in_order(one, {n: a[image] for n, a in operands.items()}))
        for image in range(images)
    ]
    sums = [result.sums for result in results if result.sums is not None]
    return OpResult(
        np.stack([result.codes for result in results]),
        sum(result.saturated for result in results),
        reduce(SumCounts.merged, sums) if sums else None,
    )


def run_trace(one: OneOp, operands: Operands) -> Mapping[str, IntArray]:
    """Compute every intermediate of the op, and the result, from its formula."""
    return trace(one.op, one.graph, in_order(one, operands))


def in_order(one: OneOp, operands: Operands) -> Sequence[Array]:
    """Return the operands as kernels, references and traces take them."""
    return [
        one.graph.constants[name]
        if one.graph.is_constant(name)
        else np.ascontiguousarray(operands[name])
        for name in one.op.operands
    ]
