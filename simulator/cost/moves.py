# SPDX-License-Identifier: Apache-2.0
"""What the steps of a program move, before it is decided where each buffer lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.cost.array_reads import Numbers
from simulator.cost.engine import GemmExtents
from simulator.cost.memory import Buffer, tensor_roots
from simulator.cost.network_ends import network_transfers
from simulator.cost.ports import burst_bytes
from simulator.cost.steps import Program, Step, Transfer
from simulator.graph.graph import IntGraph
from simulator.graph.ops import Op, TensorId
from simulator.profile.cost import MemorySection


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Transfers of many steps, an element of every array for each.

    Attributes
    ----------
    step, buffer
        number of the step, and index of the buffer whose place decides about the port
    bytes, sram, dram
        that are moved; and in whole bursts of either port
    """

    step: Numbers
    buffer: Numbers
    bytes: Numbers
    sram: Numbers
    dram: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixMove:
    """A matrix that a product on the array moves; ``buffer`` is None of constants."""

    transfer: Transfer
    buffer: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStep:
    """A matrix product on the array: its step's number, and its matrices; None where it has none.

    ``constants`` are all constants of the step, a matrix among them or not.
    """

    number: int
    extents: GemmExtents
    a: MatrixMove | None
    b: MatrixMove | None
    c: MatrixMove | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a program's steps move and compute.

    Attributes
    ----------
    steps
        of the program
    moves
        activations and temporaries, but the matrices of products
    ends
        what is fetched or stored beside them where its buffer lives in SRAM
    constants
        bytes of every step, and in bursts of the DRAM's port; but the matrices of products
    products
        matrix products on the array, in order
    """

    steps: tuple[Step, ...]
    moves: Moves
    ends: Moves
    constants: Numbers
    constant_bursts: Numbers
    products: tuple[ProductStep, ...]


def workload_of(
    graph: IntGraph, program: Program, buffers: Sequence[Buffer], memory: MemorySection
) -> Workload:
    """Return what the steps of a program move."""
    roots = tensor_roots(graph) | {name: name for name in program.temporaries}
    indexes = {buffer.name: index for index, buffer in enumerate(buffers)}
    index_of = {name: indexes[root] for name, root in roots.items() if root in indexes}
    ops = {op.name: op for op in graph.ops}
    moves: list[tuple[int, Transfer]] = []
    products: list[ProductStep] = []
    constants = np.zeros((2, len(program.steps)), dtype=np.int64)
    for number, step in enumerate(program.steps):
        others, streamed = [*step.reads, *step.writes], set(step.constants)
        if step.product is not None:
            matrices = _matrices(graph, ops[step.op], step, index_of)
            for each in matrices:
                if each is not None:
                    if each.buffer is None:
                        streamed.discard(each.transfer.tensor)
                    else:
                        others.remove(each.transfer)
            a, b, c = matrices
            products.append(ProductStep(number=number, extents=step.product, a=a, b=b, c=c))
        moves += ((number, each) for each in others)
        for name in streamed:
            size = graph.tensors[name].bytes
            constants[:, number] += size, _whole_bursts(size, memory)
    return Workload(
        steps=program.steps,
        moves=_columns(moves, index_of, memory),
        ends=_columns(network_transfers(graph, program, roots), index_of, memory),
        constants=constants[0],
        constant_bursts=constants[1],
        products=tuple(products),
    )


def _matrices(
    graph: IntGraph, op: Op, step: Step, index_of: Mapping[TensorId, int]
) -> tuple[MatrixMove | None, MatrixMove | None, MatrixMove | None]:
    """Return A, B and C of a product, as far as its step moves them."""
    reads = list(step.reads)
    found: list[MatrixMove | None] = []
    for name in op.operands[:2]:
        read = next((each for each in reads if each.tensor == name), None)
        if read is not None:
            reads.remove(read)
            found.append(MatrixMove(transfer=read, buffer=index_of[name]))
        elif name in step.constants:
            size = graph.tensors[name].bytes
            constant = Transfer(tensor=name, bytes=size, run_bytes=size)
            found.append(MatrixMove(transfer=constant, buffer=None))
        else:
            found.append(None)
    result = MatrixMove(transfer=step.writes[0], buffer=index_of[step.writes[0].tensor])
    return found[0], found[1], result


def _whole_bursts(size: int, memory: MemorySection) -> int:
    return burst_bytes(Transfer(tensor="", bytes=size, run_bytes=size), memory.dram_burst_bytes or 1)


def _columns(
    moves: Iterable[tuple[int, Transfer]], index_of: Mapping[TensorId, int], memory: MemorySection
) -> Moves:
    sram = memory.sram_port.burst_bytes if memory.sram_port else 1
    dram = memory.dram_burst_bytes or 1
    rows = [
        (
            number,
            index_of[each.tensor],
            each.bytes,
            burst_bytes(each, sram),
            burst_bytes(each, dram),
        )
        for number, each in moves
    ]
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 5).T
    return Moves(
        step=columns[0], buffer=columns[1], bytes=columns[2], sram=columns[3], dram=columns[4]
    )
