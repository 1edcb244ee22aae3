# SPDX-License-Identifier: Apache-2.0
"""What the steps of a program move, before it is decided where each buffer lives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simulator.cost.allocation import Buffer
from simulator.cost.engine import GemmExtents
from simulator.cost.memory import tensor_roots
from simulator.cost.network_ends import network_transfers
from simulator.cost.parts import Part, tensor_parts
from simulator.cost.ports import Numbers, PortTraffic, burst_bytes, no_traffic
from simulator.cost.steps import Program, Step
from simulator.cost.traffic import Transfer
from simulator.graph.graph import IntGraph
from simulator.graph.ops import TensorId
from simulator.profile.cost import MemorySection


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """Transfers of many steps, an element of every array for each.

    Attributes
    ----------
    step, buffer
        number of the step, and index of the buffer whose place decides about the port
    written
        of a write, not a read
    sram, dram
        bytes in whole bursts of either port
    """

    step: Numbers
    buffer: Numbers
    written: Numbers
    sram: Numbers
    dram: Numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixMove:
    """A matrix that a product on the array moves: bytes in all, and of one contiguous run."""

    bytes: int
    run_bytes: int
    constant: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStep:
    """A matrix product on the array.

    Attributes
    ----------
    number
        of its step
    extents, matrices
        A, B and C; None for one that the step does not move
    buffers
        indexes of theirs, None of a constant and of one that is not moved
    """

    number: int
    extents: GemmExtents
    matrices: tuple[MatrixMove | None, MatrixMove | None, MatrixMove | None]
    buffers: tuple[int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a program's steps compute and move.

    Attributes
    ----------
    steps, buffers
        of the program
    index_of
        indexes of the buffers that each tensor lies in; ``len(buffers)`` of what always lives in
        DRAM
    moves
        activations and temporaries, but the matrices of products
    matrices
        those, each moved once
    ends
        what DRAM gives and takes besides where a network input or output lives in SRAM
    constants
        of every step, but the matrices of products: what the port of their memory reads
    weights
        the constants among those matrices, each read once
    products
        matrix products on the array, in order
    """

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    index_of: Mapping[TensorId, tuple[int, ...]]
    moves: Moves
    matrices: Moves
    ends: Moves
    constants: PortTraffic
    weights: PortTraffic
    products: tuple[ProductStep, ...]


def workload_of(
    graph: IntGraph, program: Program, buffers: tuple[Buffer, ...], memory: MemorySection
) -> Workload:
    """Return what the steps of a program move."""
    roots = tensor_roots(graph, program.arranged)
    places = {buffer.name: index for index, buffer in enumerate(buffers)}
    parts = tensor_parts(graph, program, roots)
    index_of = {
        name: tuple(places.get(part.name, len(buffers)) for part in found)
        for name, found in parts.items()
    }
    bursts = memory.sram_port.burst_bytes if memory.sram_port else 1, memory.dram_burst_bytes or 1
    constant_burst = bursts[memory.constants != "sram"]
    ops = {op.name: op for op in graph.ops}
    moves: list[tuple[int, Transfer]] = []
    matrices: list[tuple[int, Transfer]] = []
    products: list[ProductStep] = []
    constants, weights = no_traffic(len(program.steps)), no_traffic(len(program.steps))
    for number, step in enumerate(program.steps):
        others = [*step.reads, *step.writes]
        operands = ops[step.op].operands[:2] if step.product else ()
        for name in step.constants:
            size = graph.tensors[name].bytes
            target = weights if name in operands else constants
            target.read[number] += burst_bytes(_whole(name, size), constant_burst)
        constants.read[number] += burst_bytes(_whole("", step.constant_bytes), constant_burst)
        if step.product is not None:
            transfers = [*_operands(graph, operands, step), step.writes[0]]
            products.append(_product(number, step.product, transfers, index_of, step.constants))
            for each in transfers:
                if each is not None and each.tensor not in step.constants:
                    others.remove(each)
                    matrices.append((number, each))
        moves += ((number, each) for each in others)
    return Workload(
        steps=program.steps,
        buffers=buffers,
        index_of=index_of,
        moves=_columns(_divided(moves, parts), places, bursts),
        matrices=_columns(_divided(matrices, parts), places, bursts),
        ends=_columns(_divided(network_transfers(graph, program, roots), parts), places, bursts),
        constants=constants,
        weights=weights,
        products=tuple(products),
    )


def _whole(name: TensorId, size: int) -> Transfer:
    return Transfer(tensor=name, bytes=size, run_bytes=size)


def _operands(graph: IntGraph, operands: Sequence[TensorId], step: Step) -> list[Transfer | None]:
    """Return A and B of a product, as far as its step reads them."""
    reads = list(step.reads)
    found: list[Transfer | None] = []
    for name in operands:
        read = next((each for each in reads if each.tensor == name), None)
        if read is not None:
            reads.remove(read)
        elif name in step.constants:
            read = _whole(name, graph.tensors[name].bytes)
        found.append(read)
    return found


def _product(
    number: int,
    extents: GemmExtents,
    transfers: Sequence[Transfer | None],
    index_of: Mapping[TensorId, tuple[int, ...]],
    constants: frozenset[TensorId],
) -> ProductStep:
    a, b, c = (
        None
        if each is None
        else MatrixMove(
            bytes=each.bytes, run_bytes=each.run_bytes, constant=each.tensor in constants
        )
        for each in transfers
    )
    buffers = (
        None if each is None or each.tensor in constants else index_of[each.tensor][0]
        for each in transfers
    )
    return ProductStep(number=number, extents=extents, matrices=(a, b, c), buffers=tuple(buffers))


def _divided(
    moves: Iterable[tuple[int, Transfer]], parts: Mapping[TensorId, tuple[Part, ...]]
) -> Iterator[tuple[int, TensorId, Transfer]]:
    """Yield transfers with the buffer that each is from or to: one for each part of a tensor."""
    for number, each in moves:
        found = parts[each.tensor]
        whole = sum(part.bytes for part in found)
        for part in found:
            size = each.bytes if len(found) == 1 else each.bytes * part.bytes // whole
            yield number, part.name, replace(each, bytes=size)


def _columns(
    moves: Iterable[tuple[int, TensorId, Transfer]],
    places: Mapping[TensorId, int],
    bursts: tuple[int, int],
) -> Moves:
    rows = [
        (
            number,
            places.get(buffer, len(places)),
            each.written,
            burst_bytes(each, bursts[0]),
            burst_bytes(each, bursts[1]),
        )
        for number, buffer, each in moves
    ]
    names = ("step", "buffer", "written", "sram", "dram")
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), len(names)).T
    return Moves(**dict(zip(names, columns, strict=True)))
