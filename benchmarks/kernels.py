# SPDX-License-Identifier: Apache-2.0
"""Kernels one by one, on one core: bytes moved per second beside a plain copy of as many bytes.

Ops are taken out of a real graph (``--graph``, or DeiT-Tiny with random weights): of every kind the
one with the most elements, and the products of its block. Each becomes a graph of its own and gets
the codes that images lead to at its place. A product's requantization is also run by itself, on the
product's sums.

Two sizes: ``cache``, one image again and again, and ``memory``, so many copies of it that operands
and results take ``--megabytes`` (more than the caches hold). Copies are numpy's, of the same bytes,
in the same rounds; times are of the processor.

    python -m benchmarks.kernels
    python -m benchmarks.kernels --graph FOLDER --data FOLDER --kinds softmax,layernorm
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from benchmarks import command_line
from benchmarks.engines import codes_of
from benchmarks.networks import subject
from benchmarks.op_times import kind_of
from benchmarks.pairs import Side, cpu_seconds, ratio, take_turns, talk
from benchmarks.records import write
from simulator.executor import Executor
from simulator.gemm import (
    Gemm,
    NumbaGemm,
    backend,
    limit_threads_of_this_thread,
    one_thread_per_worker,
)
from simulator.graph import IntGraph, Role, Tensor, verify
from simulator.graph.macs import product_macs
from simulator.graph.ops import SPECS, MatMul, Op, Rescale
from simulator.kernel_choice import kernel_of
from simulator.numerics.float_type import Array
from simulator.numerics.integer_type import IntType
from simulator.product_choice import backends_in_use, choose

SECONDS = 0.05  # of processor time, at least, for one side in one round
SUMS = IntType(bits=32)
COLUMNS = {
    "kind": "kind",
    "op": "op",
    "size": "size",
    "bytes": "bytes",
    "gigabytes": "GB/s",
    "of_copy": "of a copy",
    "elements": "Melements/s",
    "gops": "Gop/s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOp:
    """An op as a graph of its own, and the codes of its activations for one image [1, ...]."""

    kind: str
    graph: IntGraph
    activations: Mapping[str, Array]

    @property
    def op(self) -> Op:
        """The op."""
        return self.graph.ops[0]

    @property
    def bytes(self) -> int:
        """Bytes of activations read and of results written, for one image, as numpy stores them."""
        result = self.graph.result(self.op)
        return sum(codes.nbytes for codes in self.activations.values()) + (
            result.size * np.dtype(result.type.dtype).itemsize
        )


def one_op(graph: IntGraph, op: Op) -> IntGraph:
    """Return the graph of ``op`` alone; its activations are inputs.

    An executor wants one input, and an op may have two: kernels are called without one.
    """
    names = {*op.operands, *op.constants, op.name}
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name in names}
    inputs = tuple(dict.fromkeys(name for name in op.operands if not graph.is_constant(name)))
    for name in inputs:
        tensors[name] = replace(tensors[name], role=Role.INPUT)
    return replace(
        graph,
        inputs=inputs,
        outputs=(op.name,),
        tensors=MappingProxyType(tensors),
        ops=(op,),
        constants=MappingProxyType(
            {name: codes for name, codes in graph.constants.items() if name in names}
        ),
    )


def requantization(graph: IntGraph, op: MatMul, a: Array) -> OneOp:
    """Return a product's last step as a Rescale of its sums, which are computed here."""
    weights = graph.constants[op.b].astype(np.int64)
    sums = a.astype(np.int64) @ (weights.T if op.transpose_b else weights)
    if op.bias:
        sums = sums + graph.constants[op.bias]
    source = Tensor(
        name=f"{op.name}.sums", shape=graph.result(op).shape, type=SUMS, role=Role.INPUT
    )
    step = Rescale(name=op.name, a=source.name, requantize=op.requantize)
    tensors = MappingProxyType({**graph.tensors, source.name: source})
    alone = one_op(replace(graph, tensors=tensors), step)
    assert verify(alone) == []
    return OneOp(kind="requantize", graph=alone, activations={source.name: sums.astype(np.int32)})


def ops_of(graph: IntGraph) -> list[Op]:
    """Return the largest op of every kind, and all products of the block that has the largest.

    Of two alike, the one that reads more activations: not the addition of an embedding.
    """
    products = [op for op in graph.ops if isinstance(op, MatMul)]
    largest = max(products, key=lambda op: product_macs(graph, op))
    block = ".".join(largest.name.split(".")[:2])
    chosen: dict[str, Op] = {}
    for op in graph.ops:
        kind = kind_of(op, graph)
        if isinstance(op, MatMul) or SPECS[type(op)].moves_codes:
            continue
        if kind not in chosen or _extent(graph, op) > _extent(graph, chosen[kind]):
            chosen[kind] = op
    return [*chosen.values(), *(op for op in products if op.name.startswith(f"{block}."))]


def _extent(graph: IntGraph, op: Op) -> tuple[int, int]:
    read = sum(not graph.is_constant(name) for name in op.operands)
    return graph.result(op).size, read


def alone(graph: IntGraph, codes: Array) -> list[OneOp]:
    """Return the ops to measure with the codes that ``codes`` [1, ...] leads to."""
    ops = ops_of(graph)
    taps = {name for op in ops for name in op.operands if not graph.is_constant(name)}
    inner = sorted(taps - set(graph.inputs))
    known = {graph.inputs[0]: codes, **Executor(graph, threads=1).run(codes, taps=inner).taps}
    found = []
    for op in ops:
        single = one_op(graph, op)
        given = {name: known[name] for name in single.inputs}
        found.append(OneOp(kind=kind_of(op, graph), graph=single, activations=given))
    layers = [op for op in ops if isinstance(op, MatMul) and graph.is_constant(op.b)]
    widest = max(layers, key=lambda op: graph.result(op).size, default=None)
    if widest is not None and widest.residual is None:
        found.insert(0, requantization(graph, widest, known[widest.a]))
    return found


def measure(one: OneOp, gemm: Gemm, size: str, copies: int, pairs: int) -> dict[str, Any]:
    """Time a kernel on ``copies`` of its activations, and copies of as many bytes."""
    kernel = kernel_of(one.op, one.graph, gemm)
    operands = [
        np.repeat(one.activations[name], copies, axis=0)
        if name in one.activations
        else one.graph.constants[name]
        for name in one.op.operands
    ]
    # A copy reads as many bytes as it writes.
    source = np.zeros(one.bytes * copies // 2, np.uint8)
    target = np.ones_like(source)
    kernel(operands)  # compiles
    sides = [
        Side(name="kernel", turn=lambda: cpu_seconds(lambda: kernel(operands), SECONDS)),
        Side(name="copy", turn=lambda: cpu_seconds(lambda: np.copyto(target, source), SECONDS)),
    ]
    with one_thread_per_worker(gemm):
        limit_threads_of_this_thread(gemm)
        times = take_turns(sides, pairs)
    seconds = statistics.median(times["kernel"])
    macs = product_macs(one.graph, one.op) * copies
    return {
        "kind": one.kind,
        "op": one.op.name,
        "size": size,
        "bytes": one.bytes * copies,
        "gigabytes": 1e-9 * one.bytes * copies / seconds,
        "of_copy": ratio(times["copy"], times["kernel"]).median,
        "elements": 1e-6 * one.graph.result(one.op).size * copies / seconds,
        "gops": 2e-9 * macs / seconds if macs else None,
        "gemm": gemm.name,
        "threads": 1,
        "batch": copies,
        "pairs": pairs,
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line.parser("kernels", __doc__)
    parser.add_argument("--model", default="deit_tiny_patch16_224", help="timm's name of a network")
    parser.add_argument("--graph", type=Path, metavar="FOLDER", help="graph.json, instead")
    parser.add_argument("--profile", default="edge_npu_int8", help="the chip (default %(default)s)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="images, a folder per class")
    parser.add_argument("--kinds", help="a list with commas (default: all)")
    parser.add_argument("--gemm", default="auto", help="the backend of products")
    parser.add_argument(
        "--megabytes",
        type=command_line.at_least_one,
        default=128,
        help="operands and results of the size `memory`, about (default 128)",
    )
    return parser.parse_args()


def wanted(found: Sequence[OneOp], kinds: str | None) -> list[OneOp]:
    """Return the ops of some kinds, separated by commas; of all where None."""
    if kinds is None:
        return list(found)
    names = command_line.chosen(kinds, sorted({one.kind for one in found}), "kind")
    return [one for one in found if one.kind in names]


def main() -> None:
    """Measure every kernel at both sizes, print, and write the record."""
    asked = arguments()
    given = subject(
        name=asked.model,
        weights=None,
        graph=asked.graph,
        profile=asked.profile,
        accumulator=None,
        data=asked.data,
        images=1,
    )
    choices = choose(given.graph, asked.gemm)
    shared = {"model": given.name, "weights": given.weights, "pixels": given.pixels}
    rows = []
    for one in wanted(alone(given.graph, codes_of(given.graph, given.images)), asked.kinds):
        many = max(round(asked.megabytes * 1e6 / one.bytes), 1)
        for size, copies in (("cache", 1), ("memory", many)):
            # An op without a product asks for no backend.
            gemm = backend(choices[one.op.name].backend) if one.op.name in choices else NumbaGemm()
            rows.append({**measure(one, gemm, size, copies, asked.pairs), **shared})
            last = rows[-1]
            talk(f"{one.kind} {one.op.name}, {size}: {last['gigabytes']:.3g} GB/s")
    title = (
        f"Kernels of {given.name} for {given.graph.profile} on one core (products by "
        f"{', '.join(backends_in_use(choices))}): "
        f"{given.weights}, {given.pixels}; medians over {asked.pairs} rounds."
    )
    print(write(asked.out, "kernels", title, rows, COLUMNS))


if __name__ == "__main__":
    command_line.run(main)
