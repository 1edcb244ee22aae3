# SPDX-License-Identifier: Apache-2.0
"""The kernel of an op, or of a few: in vector registers where CPU and numbers allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simulator.gemm import Gemm
from simulator.graph.graph import IntGraph
from simulator.graph.op import TensorId
from simulator.graph.ops import MatMul, MatrixProduct, Op
from simulator.numerics.float_type import Array
from simulator.numerics.jit import has_avx2
from simulator.ops import BEHAVIOURS, GroupKernel, Kernel, OpResult
from simulator.ops.behaviour import InnerResult
from simulator.simd.ops import form, group_form
from simulator.simd.ops.groups import following_readers
from simulator.simd.ops.matmul import has_one_pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Ops that one kernel runs: mostly a single one.

    ops
        in the graph's order. Of all but the last the results are not written out
    operands
        the tensors that the kernel takes, in order: those that none of the ops makes
    kernel
        of batches
    """

    ops: tuple[Op, ...]
    operands: tuple[TensorId, ...]
    kernel: GroupKernel

    @property
    def result(self) -> TensorId:
        """The tensor that is written out."""
        return self.ops[-1].name


@dataclass(frozen=True, slots=True)
class OneKernel:
    """The kernel of a single op as that of a step."""

    kernel: Kernel

    def __call__(self, operands: Sequence[Array]) -> tuple[Sequence[InnerResult], OpResult]:
        """Run it; there is nothing inside."""
        return (), self.kernel(operands)


def is_one_pass(op: MatrixProduct, graph: IntGraph) -> bool:
    """Tell whether a product and its requantization are one pass of vector code, by our tiles."""
    return has_avx2() and isinstance(op, MatMul) and has_one_pass(op, graph)


def kernel_of(op: Op, graph: IntGraph, gemm: Gemm, *, portable: bool = False) -> Kernel:
    """Return the kernel that runs an op on batches; all its kernels give the same integers.

    Parameters
    ----------
    op, graph
        an op and its graph, which is valid
    gemm
        the backend of matrix products; a MatMul is one pass of vector code with ``avx2`` only
    portable
        whether to leave out vector code, so that both can be compared. With a portable ``gemm``
        (``numba``) nothing but plain loops is left.
    """
    simd = form(op, graph, gemm) if has_avx2() and not portable else None
    return BEHAVIOURS[type(op)].build(op, graph, gemm) if simd is None else simd


def single_step(op: Op, graph: IntGraph, gemm: Gemm, *, portable: bool = False) -> Step:
    """Return an op as a step of its own; see :func:`kernel_of`."""
    kernel = kernel_of(op, graph, gemm, portable=portable)
    return Step(ops=(op,), operands=tuple(op.operands), kernel=OneKernel(kernel))


def group_steps(graph: IntGraph, gemm_of: Callable[[Op], Gemm]) -> Sequence[Step]:
    """Return the steps of several ops that a graph has here, in no op more than once.

    No op outside a step reads what is inside, and no output of the graph is. ``gemm_of`` gives the
    backend of an op's products.
    """
    if not has_avx2():
        return ()
    following = following_readers(graph)
    steps: list[Step] = []
    taken: set[str] = set()
    for op in graph.ops:
        if op.name in taken:
            continue
        found = group_form(graph, op, following(op), gemm_of)
        if found is not None:
            ops, kernel = found
            made = {op.name for op in ops}
            operands = [name for op in ops for name in op.operands if name not in made]
            steps.append(Step(ops=ops, operands=tuple(operands), kernel=kernel))
            taken |= made
    return steps
