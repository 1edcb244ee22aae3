# SPDX-License-Identifier: Apache-2.0
"""What sensitivities and searches found, as their files hold it and reports show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aocq.records.design_costs import DesignCosts
from aocq.records.run import RunResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How good the integers of a design were, on the images that it was judged on.

    Attributes
    ----------
    sqnr_db
        of the integer network's logits against the float network's; None: no noise
    agreement
        share of predictions that both have, in percent
    drop
        main score of float less that of the integer network, in points
    """

    images: int
    sqnr_db: float | None
    agreement: float
    drop: float

    @classmethod
    def of_run(cls, result: RunResult) -> Quality:
        """Return the figures in a run's record."""
        accuracy = result.accuracy
        return cls(
            images=accuracy.images,
            sqnr_db=accuracy.logit_sqnr_db.integer_float,
            agreement=accuracy.agreement.integer_float,
            drop=accuracy.drop,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One place at another width than a run has there.

    Attributes
    ----------
    op, kind
        the layer, and which of its numbers: ``weights``, or the ``operand`` that it reads
    bits, other
        the width that the run has, and the other one
    noise
        the score: how much the step adds to the noise of the logits by its rounding, as a share of
        their power; below 0 where it takes noise away
    divergence
        how much it adds to the divergence of the predictions, in nats per image, by the Fisher
        information
    predicted_db
        what SQNR would change by, if the noise that was measured changed by the score alone
    added
        to the run's costs, ESTIMATED
    measured
        of the integers, where the step was emulated
    run
        folder of that run
    """

    op: str
    kind: str
    bits: int
    other: int
    noise: float
    divergence: float
    predicted_db: float
    added: DesignCosts
    measured: Quality | None = None
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """All numbers of a kind together, such as ``weights``, ``operands`` or ``stream``.

    Attributes
    ----------
    share
        of the noise in the run's logits that their rounding is to blame for
    divergence
        of the predictions, in nats per image
    """

    kind: str
    share: float
    divergence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """All steps of a run, those that gain most per byte first.

    Attributes
    ----------
    start
        of the run's own recipe on the same images
    rank_correlation
        Spearman's, of predicted and measured changes of SQNR over the emulated steps; None where
        fewer than three were
    score_images
        on how many images the scores rest
    kinds
        what the noise comes from, most first; what is left of 1 is of higher order
    """

    network: str
    profile: str
    kinds: Sequence[KindRow]
    start: Quality
    costs: DesignCosts
    rows: Sequence[StepRow]
    rank_correlation: float | None
    score_images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """One recipe of a search.

    Attributes
    ----------
    number
        in the order of emulation, from 0: the run's own recipe
    reason
        why it was tried
    layers
        its rules for single layers, in short
    predicted_db
        SQNR by the model of noise before it was measured; None of the first
    found
        on the images of the search
    confirmed
        on images that the search did not use, with the run's own options; None where it was not
    within_budget, on_front
        by the costs of its own run
    recipe
        file of the recipe, beside the table; empty where there is none
    """

    number: int
    reason: str
    layers: str
    predicted_db: float | None
    found: Quality
    costs: DesignCosts
    run: str
    within_budget: bool
    on_front: bool = False
    recipe: str = ""
    confirmed: Quality | None = None
    confirmed_costs: DesignCosts | None = None
    confirmed_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """All candidates of a search, in the order of emulation."""

    network: str
    profile: str
    engine: str
    budget: Mapping[str, float]
    rows: Sequence[CandidateRow]
    notes: Sequence[str] = field(default_factory=tuple)
