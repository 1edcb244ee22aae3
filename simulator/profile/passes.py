# SPDX-License-Identifier: Apache-2.0
"""Where a chip runs each kind of op, and the passes that its hardware makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.profile.rates import Extent, RateOrZero
from simulator.profile.section import Section

Unit = Literal["mac", "vector", "dma", "host"]
Place = Literal["mac", "vector", "dma", "host", "none"]
# ``linear``: a product with constants; ``matmul``: of two activations.
PlacedKind = Literal[
    "linear",
    "matmul",
    "softmax",
    "layernorm",
    "lookup",
    "add",
    "rescale",
    "mean",
    "layout",
    "float",
    "hadamard",
    "group",
]
Bits = Annotated[int, Field(ge=1, le=64)]
OPERANDS = "operands"
RESULT = "result"
_MOST_PASSES = 200


class Placement(Section):
    """The unit that runs each kind of op; ``none`` where the chip has no place for it.

    Absent kinds run where they did before there were placements: products of codes on the MAC
    array, everything else on the vector unit; ``hadamard`` and ``group`` where ``add`` and
    ``rescale`` are, if these are on the host or have no place.
    """

    linear: Place | None = None
    matmul: Place | None = None
    softmax: Place | None = None
    layernorm: Place | None = None
    lookup: Place | None = None
    add: Place | None = None
    rescale: Place | None = None
    mean: Place | None = None
    layout: Place | None = None
    float: Place | None = None
    hadamard: Place | None = None
    group: Place | None = None

    def units(self) -> set[str]:
        """Return the units that some kind is placed on."""
        return {str(unit) for _, unit in self if unit is not None}


class TemporarySection(Section):
    """A tensor between the passes of one op.

    Attributes
    ----------
    bits
        of memory for each element
    per
        ``result``: as many elements as the result has; ``operand``: as the first operand; ``row``:
        one for each row of the result (all but its last dimension)
    traffic_bits
        that a port moves for each element, where these are not all of its bits
    cached
        False where it lies in the memory of activations (``memory.arena``) even if it would fit the
        SRAM
    """

    bits: Bits
    per: Literal["result", "operand", "row"] = "result"
    traffic_bits: Bits | None = None
    cached: bool | None = None


class PassSection(Section):
    """One run of a unit over the elements of an op.

    Attributes
    ----------
    over
        what counts: the ``work`` of the op's kind (multiply-accumulates of a product; the operand's
        elements of a mean; the result's of most others), elements of the ``result`` or of the first
        ``operand``, one for each ``row`` of the result, or one for each ``mac`` of a product
    reads
        ``operands`` (all activations of the op) and temporaries, each from end to end: over macs,
        the first operand and temporaries once for each column of the result
    writes
        ``result`` or a temporary
    cycles_per_element
        of one lane of the vector unit; of the whole array, the DMA or the host
    block
        height, width and depth of what the unit takes at once. The elements of a result or operand
        lie as pictures of its last three dimensions, and blocks that they fill in part count whole.
    read_run, write_run
        most elements that it reads or writes one after the other in memory: its own blocks, of
        which the memory's bursts know nothing
    whole_depth
        True of an exchange of axes that fetches, for every place of its result, the operand over
        its whole depth
    constant_bits
        of a constant that it reads for each element besides: where a program adds zeros or
        multiplies by one to move values
    """

    unit: Unit = "vector"
    over: Literal["work", "result", "operand", "row", "mac"] = "work"
    reads: Annotated[tuple[str, ...], Field(strict=False)] = (OPERANDS,)
    writes: str = RESULT
    cycles_per_element: RateOrZero
    block: Annotated[tuple[Extent, Extent, Extent], Field(strict=False)] | None = None
    read_run: Extent | None = None
    write_run: Extent | None = None
    whole_depth: bool | None = None
    constant_bits: Bits | None = None

    @model_validator(mode="after")
    def _blocks_have_pictures(self) -> Self:
        if self.block is not None and self.over not in {"work", "result", "operand"}:
            raise ValueError(f"block: over = {self.over!r} counts elements of no picture")
        return self


class PassesOfKind(Section):
    """The passes that one kind of op takes, in order, and the temporaries between them."""

    temporaries: Annotated[dict[str, TemporarySection], Field(default_factory=dict)]
    passes: Annotated[
        tuple[PassSection, ...], Field(strict=False, min_length=1, max_length=_MOST_PASSES)
    ]

    @model_validator(mode="after")
    def _names_are_known_and_written_first(self) -> Self:
        reserved = {OPERANDS, RESULT} & set(self.temporaries)
        if reserved:
            raise ValueError(f"temporaries.{reserved.pop()}: the name has a meaning of its own")
        written = {OPERANDS}
        for number, step in enumerate(self.passes):
            for name in step.reads:
                if name not in written:
                    raise ValueError(f"passes.{number}.reads: {name} is not written before")
            if step.writes not in {RESULT, *self.temporaries}:
                raise ValueError(f"passes.{number}.writes: {step.writes} is not in temporaries")
            written.add(step.writes)
        if self.passes[-1].writes != RESULT:
            raise ValueError("passes: the last one must write the result")
        unused = set(self.temporaries) - written
        if unused:
            raise ValueError(f"temporaries.{min(unused)}: no pass writes it")
        return self


class Passes(Section):
    """Passes by kind of op; a kind that is absent takes one pass at its rate.

    ``squared_difference`` and ``transpose`` are kinds of ops too; absent, they have the passes of
    ``add`` and ``layout``. A Transpose takes its passes once for every exchange of two axes (see
    :func:`simulator.cost.exchanges.exchanges`).
    """

    matmul: PassesOfKind | None = None
    softmax: PassesOfKind | None = None
    layernorm: PassesOfKind | None = None
    lookup: PassesOfKind | None = None
    add: PassesOfKind | None = None
    squared_difference: PassesOfKind | None = None
    rescale: PassesOfKind | None = None
    mean: PassesOfKind | None = None
    layout: PassesOfKind | None = None
    transpose: PassSection | None = None
    float: PassesOfKind | None = None
    hadamard: PassesOfKind | None = None
    group: PassesOfKind | None = None

    def kinds(self) -> Iterator[tuple[str, PassesOfKind]]:
        """Return the kinds that have passes of their own, with these."""
        yield from ((kind, passes) for kind, passes in self if isinstance(passes, PassesOfKind))
