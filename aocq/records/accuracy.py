# SPDX-License-Identifier: Apache-2.0
"""The record of how good three networks are, and how alike: scores, agreement, SQNR."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from aocq.records.fields import (
    MOST,
    Count,
    Decibel,
    Name,
    Percent,
    Real,
    Record,
)
from aocq.records.image_outcomes import ImageOutcomes, outcomes_of

FEW_IMAGES = 200  # below this many, a verdict says how much a single one weighs


class Score(Record):
    """A figure by which a task judges a network, in percent.

    key : of it in the scores of each engine
    title : in words, ``top-1``
    """

    key: Name
    title: Name


IMAGES, SAME_CLASS = "images", "same class"


TOP1, TOP5 = Score(key="top1", title="top-1"), Score(key="top5", title="top-5")


class Agreement(Record):
    """Share in percent of what two engines predict alike: the same class of an image, say."""

    integer_float: Percent
    integer_simulated: Percent


class LogitSqnr(Record):
    """Signal-to-quantization-noise ratio of the logits, in dB; None where the noise is zero."""

    integer_float: Decibel | None
    simulated_float: Decibel | None
    integer_simulated: Decibel | None


class PairedCounts(Record):
    """How two networks classify the same images: four counts of images, by their first class."""

    both_right: Count
    only_first_right: Count
    only_second_right: Count
    both_wrong: Count


class PairedOutcomes(Record):
    """Every two of the three networks, in the order of their names."""

    float_integer: PairedCounts
    float_simulated: PairedCounts
    simulated_integer: PairedCounts


class Accuracy(Record):
    """Float, fake-quantized (``simulated``) and integer networks on the same images.

    task : what the network does, by name
    scores : what the task judges by; the first is what gates and tables hold
    alike, shares_of : what agreement means, in words, and what it is the share of. Shares of
        images have exact intervals
    float, simulated, integer : each score in percent, by its key
    paired, outcomes : None in older records, and of tasks that do not judge image by image
    sqnr_images, differing_images : on how many of them SQNR and mismatches of single ops were
        found; None in older records
    """

    images: Annotated[int, Field(ge=1, le=MOST)]
    skipped_images: list[str]
    sqnr_images: Count | None = None
    differing_images: Count | None = None
    task: Name = "classification"
    scores: Annotated[list[Score], Field(min_length=1)] = Field(default=[TOP1, TOP5])
    alike: Name = SAME_CLASS
    shares_of: Name = IMAGES
    float: dict[Name, Percent]
    simulated: dict[Name, Percent]
    integer: dict[Name, Percent]
    agreement: Agreement
    logit_sqnr_db: LogitSqnr
    paired: PairedOutcomes | None = None
    outcomes: ImageOutcomes | None = None

    @property
    def main(self) -> Score:
        """The score that gates and tables hold."""
        return self.scores[0]

    def score(self, engine: str) -> Real:
        """Return an engine's main score, in percent: of float, simulated or integer."""
        found: dict[str, Real] = getattr(self, engine)
        return found[self.main.key]

    @property
    def by_image(self) -> bool:
        """Whether scores and agreement are shares of images."""
        return self.shares_of == IMAGES

    @property
    def drop(self) -> Real:
        """Main score of float less that of the integer network, in points."""
        return self.score("float") - self.score("integer")

    @model_validator(mode="after")
    def _engines_have_the_same_scores(self) -> Self:
        wanted = {score.key for score in self.scores}
        for engine in ("float", "simulated", "integer"):
            if getattr(self, engine).keys() != wanted:
                raise ValueError(f"{engine}: wanted the scores {', '.join(sorted(wanted))}")
        return self

    @model_validator(mode="after")
    def _counts_are_of_all_images(self) -> Self:
        pairs = self.paired.model_dump() if self.paired else {}
        for name, counts in pairs.items():
            if sum(counts.values()) != self.images:
                raise ValueError(f"paired.{name}: the counts are not of {self.images} images")
        return self

    @model_validator(mode="after")
    def _outcomes_are_of_all_images(self) -> Self:
        if self.outcomes is None:
            return self
        if self.outcomes.images != self.images:
            raise ValueError(f"outcomes: of {self.outcomes.images} images, not of {self.images}")
        for name in ("right", "alike"):
            outcomes_of(getattr(self.outcomes, name), self.images)
        return self
