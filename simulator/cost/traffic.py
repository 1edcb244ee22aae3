# SPDX-License-Identifier: Apache-2.0
"""What a pass of an op reads and writes: bytes, and how long their contiguous runs are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from simulator.cost.exact import ceil_div
from simulator.cost.exchanges import Exchange
from simulator.cost.runs import run_elements
from simulator.graph.graph import IntGraph, Tensor
from simulator.graph.ops import Add, AddShifted, Mul, Op, SquaredDifference, TensorId
from simulator.profile.passes import OPERANDS, RESULT, PassesOfKind, PassSection

_ELEMENTWISE = (Add, AddShifted, Mul, SquaredDifference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Bytes of one activation or temporary that a step reads or writes.

    Attributes
    ----------
    tensor
        name of the activation as an op reads it (a view has its own), or of a temporary
    bytes
        in all, a tensor that is read several times counted as often
    run_bytes
        of one contiguous run
    written
        True of a write, False of a read
    """

    tensor: TensorId
    bytes: int
    run_bytes: int
    written: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Temporary:
    """A tensor that lives between the steps of one op; ``bits`` of each element, packed."""

    elements: int
    bits: int

    @property
    def bytes(self) -> int:
        """Its size in memory."""
        return ceil_div(self.elements * self.bits, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficOfOp:
    """What the passes of one op share.

    Attributes
    ----------
    rereads
        whether an operand that is broadcast is read again for every element that it meets
    result
        the tensor that the last pass stores: of a fused op, if there is one behind it
    counts
        elements by what they belong to, see :func:`simulator.cost.counts.counts_of`
    """

    graph: IntGraph
    op: Op
    passes: PassesOfKind
    counts: Mapping[str, int]
    result: TensorId
    rereads: bool = False

    @property
    def columns(self) -> int:
        """Columns of the result."""
        shape = self.graph.result(self.op).shape
        return shape[-1] if shape else 1

    def temporaries(self) -> dict[TensorId, Temporary]:
        """Return the temporaries, by their names in the program."""
        return {
            f"{self.op.name}/{name}": Temporary(elements=self.counts[each.per], bits=each.bits)
            for name, each in self.passes.temporaries.items()
        }

    def outside(self, sram_bytes: int) -> set[TensorId]:
        """Return what lies where activations belong, in DRAM, even if the SRAM has room.

        These are temporaries that are not cached, and the result of passes the last of which has
        tensors that do not fit the SRAM together: then they work in stripes, one behind the other,
        and what the last one makes is stored stripe by stripe.
        """
        uncached = {
            f"{self.op.name}/{name}"
            for name, each in self.passes.temporaries.items()
            if each.cached is False
        }
        if not self.passes.temporaries:
            return uncached
        sizes = {name: each.bytes for name, each in self.temporaries().items()}
        last = self.passes.passes[-1]
        names = {transfer.tensor for transfer in (*self.reads(last), self.written(last))}
        held = (sizes.get(name) or self.graph.tensors[name].bytes for name in names - uncached)
        return uncached | ({self.result} if sum(held) > sram_bytes else set())

    def reads(self, each: PassSection) -> Iterator[Transfer]:
        """Yield what a pass reads; over macs, all but a second operand once for each column."""
        columns = self.columns if each.over == "mac" else 1
        for name in each.reads:
            if name != OPERANDS:
                yield self._temporary(name, columns, each.read_run)
                continue
            for place, operand in enumerate(self.op.operands):
                tensor = self.graph.tensors[operand]
                if self.graph.is_constant(operand):
                    continue
                again = columns if place == 0 else self._again(operand)
                run = _run(self.graph, self.op, operand, tensor, each.read_run)
                yield Transfer(tensor=operand, bytes=tensor.bytes * again, run_bytes=run)

    def written(self, each: PassSection) -> Transfer:
        """Return what a pass writes; over macs, a temporary once for each column."""
        if each.writes != RESULT:
            columns = self.columns if each.over == "mac" else 1
            return self._temporary(each.writes, columns, each.write_run, written=True)
        tensor = self.graph.tensors[self.result]
        run = _run(self.graph, self.op, None, tensor, each.write_run)
        return Transfer(tensor=self.result, bytes=tensor.bytes, run_bytes=run, written=True)

    def exchanged(
        self, tensor: TensorId, each: PassSection, exchange: Exchange, *, written: bool
    ) -> Transfer:
        """Return what an exchange of two axes reads or writes of ``tensor``."""
        bits, elements = self.graph.result(self.op).type.bits, self.counts["result"]
        most = (each.write_run if written else each.read_run) or elements
        if each.whole_depth and not written:
            elements = max(elements, exchange.after[0] * exchange.after[1] * exchange.before[2])
        return Transfer(
            tensor=tensor,
            bytes=ceil_div(elements * bits, 8),
            run_bytes=ceil_div(most * bits, 8),
            written=written,
        )

    def constant_bytes(self, each: PassSection) -> int:
        """Return the bytes that a pass reads of constants beyond reading each of them once."""
        added = ceil_div(self.counts[each.over] * (each.constant_bits or 0), 8)
        if OPERANDS not in each.reads:
            return added
        constants = [name for name in self.op.operands if self.graph.is_constant(name)]
        again = (self.graph.tensors[name].bytes * (self._again(name) - 1) for name in constants)
        return added + sum(again)

    def _again(self, operand: TensorId) -> int:
        """Return how often an operand of an elementwise op is read."""
        if not self.rereads or not isinstance(self.op, _ELEMENTWISE):
            return 1
        return self.counts["result"] // self.graph.tensors[operand].size

    def _temporary(
        self, name: str, times: int, most: int | None, written: bool = False
    ) -> Transfer:
        described = self.passes.temporaries[name]
        bits = described.traffic_bits or described.bits
        size = ceil_div(self.counts[described.per] * bits, 8)
        run = size if most is None else min(size, ceil_div(most * bits, 8))
        return Transfer(
            tensor=f"{self.op.name}/{name}", bytes=size * times, run_bytes=run, written=written
        )


def _run(
    graph: IntGraph, op: Op, operand: TensorId | None, tensor: Tensor, most: int | None
) -> int:
    """Return the bytes of one run of an operand, or of the result (None)."""
    elements = run_elements(graph, op, operand)
    if most is not None:
        elements = min(elements, most)
    return ceil_div(elements * tensor.type.bits, 8)
