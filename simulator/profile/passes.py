# SPDX-License-Identifier: Apache-2.0
"""Where a chip runs each kind of op, and the passes that its hardware makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simulator.profile.rates import RateOrZero
from simulator.profile.section import Section

Unit = Literal["mac", "vector", "dma", "host"]
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
]
OPERANDS = "operands"
RESULT = "result"
_MOST_PASSES = 200


class Placement(Section):
    """The unit that runs each kind of op; ``none`` where the chip has no place for it.

    Absent kinds run where they did before there were placements: products of codes on the MAC
    array, everything else on the vector unit.
    """

    linear: Unit | Literal["none"] | None = None
    matmul: Unit | Literal["none"] | None = None
    softmax: Unit | Literal["none"] | None = None
    layernorm: Unit | Literal["none"] | None = None
    lookup: Unit | Literal["none"] | None = None
    add: Unit | Literal["none"] | None = None
    rescale: Unit | Literal["none"] | None = None
    mean: Unit | Literal["none"] | None = None
    layout: Unit | Literal["none"] | None = None
    float: Unit | Literal["none"] | None = None

    def units(self) -> set[str]:
        """Return the units that some kind is placed on."""
        return {str(unit) for _, unit in self if unit is not None}


class TemporarySection(Section):
    """A tensor between the passes of one op: ``bits`` for each of what ``per`` counts.

    per : ``result``: as many as the result has elements; ``operand``: as the first operand;
        ``row``: one for each row of the result (all but its last dimension)
    """

    bits: Annotated[int, Field(ge=1, le=64)]
    per: Literal["result", "operand", "row"] = "result"


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
    """

    unit: Unit = "vector"
    over: Literal["work", "result", "operand", "row", "mac"] = "work"
    reads: Annotated[tuple[str, ...], Field(strict=False)] = (OPERANDS,)
    writes: str = RESULT
    cycles_per_element: RateOrZero


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
    """Passes by kind of op; a kind that is absent takes one pass at its rate."""

    matmul: PassesOfKind | None = None
    softmax: PassesOfKind | None = None
    layernorm: PassesOfKind | None = None
    lookup: PassesOfKind | None = None
    add: PassesOfKind | None = None
    rescale: PassesOfKind | None = None
    mean: PassesOfKind | None = None
    layout: PassesOfKind | None = None
    float: PassesOfKind | None = None

    def kinds(self) -> Iterator[tuple[str, PassesOfKind]]:
        """Return the kinds that have passes of their own, with these."""
        yield from ((kind, passes) for kind, passes in self if passes is not None)
