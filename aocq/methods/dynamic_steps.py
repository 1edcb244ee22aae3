# SPDX-License-Identifier: Apache-2.0
"""Which operands of products have dynamic steps, and the wide codes that these are made of.

A step for each row is a factor of the sums that the row takes part in; one for a block of the sum
shifts the block's partial sum. Both are there only where a rotation or a requantization stands
directly in front of the product, and the operand's rows run along the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aocq.capture import FloatGraph, FloatNode, FloatOp
from aocq.capture.float_graph import readers_of
from aocq.capture.residual_stream import arithmetic_source
from aocq.methods.quantizers import (
    ActivationQuantizer,
    DynamicQuantizer,
    Quantizer,
    StepForm,
    step_numerator,
)
from aocq.methods.scale_form import ScaleForm, activation_form
from aocq.methods.scales import Scales, compressed, scales_of
from aocq.recipes.aocq_options import AocqOptions, RowSteps
from aocq.recipes.limits import ChipLimits
from simulator.numerics.integer_type import IntType

OPERANDS = frozenset({FloatOp.HADAMARD, FloatOp.REQUANTIZE})
WIDEST_BASE = 16
# By kind of operand, the recipe's words that give it a step for each row.
_ROW_STEPS: Mapping[str, frozenset[RowSteps]] = {
    "scores": frozenset({"scores", "attention", "all"}),
    "projection": frozenset({"projection", "attention", "all"}),
    "layer": frozenset({"all"}),
}


@dataclass(frozen=True, slots=True)
class Steps:
    """How an operand's steps are found: for each ``group`` of its last dimension, in a form.

    ``share`` is that of a group's largest magnitude that a multiplier's largest code stands for,
    ``trim`` that of powers of two.
    """

    group: int
    form: StepForm
    share: float = 1.0
    trim: int = 0

    def on(self, base: ActivationQuantizer, bits: int) -> DynamicQuantizer:
        """Return the quantizer with these steps that makes codes of ``bits`` bits of ``base``."""
        powers = self.form == "power_of_two"
        return DynamicQuantizer(
            base=base,
            bits=bits,
            group=self.group,
            form=self.form,
            numerator=0 if powers else step_numerator(base.type, bits, self.share),
            trim=self.trim if powers else 0,
        )


def dynamic_steps(graph: FloatGraph, options: AocqOptions, limits: ChipLimits) -> dict[str, Steps]:
    """Return the operands that have dynamic steps by what is asked for and the chip allows."""
    found = {}
    for node in graph.nodes:
        if node.op in OPERANDS and not misplaced(graph, node):
            steps = _steps(graph, node, options, limits)
            if steps is not None:
                found[node.name] = steps
    return found


def _steps(
    graph: FloatGraph, node: FloatNode, options: AocqOptions, limits: ChipLimits
) -> Steps | None:
    kind, channels = _kind(graph, node), node.shape[-1]
    in_blocks = options.block_steps and kind == "function" and limits.block
    if in_blocks and channels % limits.block == 0 and not _beside_scores(graph, node):
        return Steps(limits.block, "power_of_two", trim=limits.block_trim)
    wanted = options.row_steps in _ROW_STEPS.get(kind, _ROW_STEPS["layer"])
    if wanted and limits.row_scale != "none":
        return Steps(channels, limits.row_scale, options.row_clipping, limits.block_trim)
    return None


def _kind(graph: FloatGraph, node: FloatNode) -> str:
    """Return what an operand is: of scores, of a projection, what a function yields, or another."""
    if _beside_scores(graph, node):
        return "scores"
    source = arithmetic_source(graph, node.inputs[0])
    return {FloatOp.MATMUL: "projection", FloatOp.UNARY: "function"}.get(source.op, "layer")


def _beside_scores(graph: FloatGraph, node: FloatNode) -> bool:
    return any(reader.op is FloatOp.MATMUL for reader in readers_of(graph)[node.name])


def misplaced(graph: FloatGraph, node: FloatNode, *, rows: bool = True) -> str | None:
    """Return why a tensor's codes cannot have dynamic steps; None where they can.

    Parameters
    ----------
    rows
        whether each row has one step; otherwise blocks of it have
    """
    if node.op not in OPERANDS:
        return "only rotations and requantizations in front of products have dynamic steps"
    for reader in readers_of(graph).get(node.name, []):
        if reader.op is FloatOp.LINEAR:
            continue
        if reader.op is not FloatOp.MATMUL:
            return f"{reader.name} reads it, and only products know dynamic steps"
        if reader.inputs[1] == node.name and not (rows and reader.attributes["transpose_b"]):
            return f"its steps vary along the sum of {reader.name}"
    return None


def problems_of(
    graph: FloatGraph, node: FloatNode, quantizer: DynamicQuantizer, limits: ChipLimits
) -> Iterator[str]:
    """Yield why a node cannot have a dynamic quantizer on a chip."""
    channels, rows = node.shape[-1], quantizer.group == node.shape[-1]
    reason = misplaced(graph, node, rows=rows)
    if reason:
        yield reason
    if channels % quantizer.group:
        yield f"group {quantizer.group}: does not divide {channels} channels"
    elif rows and quantizer.form != limits.row_scale != "multiplier":
        yield f'form "{quantizer.form}": limits.row_scale is "{limits.row_scale}"'
    elif not rows and (quantizer.group, quantizer.form) != (limits.block, "power_of_two"):
        yield (
            f'group {quantizer.group} of form "{quantizer.form}": limits.block is {limits.block}, '
            "and blocks have powers of two"
        )
    elif quantizer.form == "power_of_two" and quantizer.trim != limits.block_trim:
        yield f"trim {quantizer.trim}: limits.block_trim is {limits.block_trim}"


# --- wide codes -----------------------------------------------------------------------------------


def exact_base(
    node: FloatNode, source: Quantizer, scales: Scales, form: ScaleForm
) -> ActivationQuantizer | None:
    """Return the wide codes of a node that hold what its input's codes hold, without a rounding.

    Of a requantization the input's own codes, of a rotation its exact sums. None where these are
    too wide, have a zero point, or differ in scale within a row.

    Parameters
    ----------
    source
        the quantizer of the input's values
    scales
        of the input's codes, see :mod:`aocq.methods.scales`
    """
    one = compressed(scales)
    if one.size != 1 or not isinstance(source, ActivationQuantizer):
        return None
    scale, int_type = float(one.reshape(-1)[0]), source.type
    if node.op is FloatOp.HADAMARD:
        order = int(node.attributes["order"])
        bits = (order * max(-source.span[0], source.span[1])).bit_length() + 1
        scale, int_type = scale / math.sqrt(order), IntType(bits=bits)
    elif source.zero_point or not source.type.signed:
        return None
    if int_type.bits > WIDEST_BASE:
        return None
    return ActivationQuantizer(type=int_type, scale=form.nearest(scale), zero_point=0)


def with_exact_base(
    graph: FloatGraph, name: str, quantizers: Mapping[str, Quantizer], limits: ChipLimits
) -> DynamicQuantizer | None:
    """Return a node's dynamic quantizer on the codes that its input has now; None for others."""
    node, quantizer = graph.node(name), quantizers[name]
    if not isinstance(quantizer, DynamicQuantizer):
        return None
    source = arithmetic_source(graph, node.inputs[0]).name
    if source not in quantizers:
        return None
    scales = scales_of(graph, quantizers, limits, node.inputs[0])
    base = exact_base(node, quantizers[source], scales, activation_form(limits))
    if base is None or base.type.bits < quantizer.bits:
        return None
    return quantizer.on(base)
