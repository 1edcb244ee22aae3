# SPDX-License-Identifier: Apache-2.0
"""What a run's networks make of one image: what each finds, and where float and integer part."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aocq.records.fields import Amount, Count, Decibel, Name, Real, Record
from aocq.records.layers import LayerRow
from aocq.records.shown_images import Share, ShownImage


class ClassScore(Record):
    """A class that a network finds.

    logit : None where classes are of patches
    share : its probability (softmax of the logits); of classes of patches, the share of patches
    """

    number: Count
    title: Name
    logit: Real | None
    share: Share


class NetworkAnswer(Record):
    """What a network finds, best first: classes, or boxes where the task has such.

    simulated means fake-quantized, with exact operators
    """

    engine: Name
    classes: list[ClassScore]


class Grid(Record):
    """Tokens of an image: ``rows`` x ``columns`` patches, row by row, behind ``prefix`` others."""

    prefix: Count
    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]


class BlockErrors(Record):
    """The residual stream behind a block.

    errors : of each token, the norm of integer less float over the root mean square of the float
        tokens' norms; tokens in front of the patches first
    """

    block: Name
    tensor: Name
    grid: Grid
    errors: list[Amount]


class TokenCounts(Record):
    """How many events there were at each token, those in front of the patches first."""

    grid: Grid
    counts: list[Count]


class Events(Record):
    """Saturated results or overflowed sums of one image.

    tokens : by place, for every grid of tokens that has any
    placed : by op, those that are in ``tokens``
    elsewhere : by op, those without a place: of ops without tokens, or whose formula does not tell
    """

    tokens: list[TokenCounts]
    placed: dict[Name, Count]
    elsewhere: dict[Name, Count]


class Explanation(Record):
    """One image through the float, the fake-quantized and the integer network of a run.

    task : of the run
    picture : the image as the networks see it, with boxes where the task has such
    answers : of float, simulated (fake-quantized) and integer network
    logit_sqnr_db : of the integer network's output against the float one's; None: they are equal
    first_difference : the first op whose codes differ from fake quantization's on equal inputs;
        None: no op's do
    ops : the run's, with SQNR, mismatches, saturated results and overflow of this image
    """

    format: int = 1
    network: Name
    quantized: Name
    profile: Name
    graph_sha256: Name
    checkpoint_sha256: Name
    task: Name
    picture: ShownImage
    answers: list[NetworkAnswer]
    logit_sqnr_db: Decibel | None
    first_difference: Name | None
    blocks: list[BlockErrors]
    saturated: Events
    overflowed: Events
    ops: list[LayerRow]
