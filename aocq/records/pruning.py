# SPDX-License-Identifier: Apache-2.0
"""Which candidates few images rule out, so that only the others are run on all of them.

A candidate is pruned where a rival, which costs no more on any axis, is right on more images than
chance allows. Where the candidate were at least as good as a rival, images on which one of the two
alone is right would fall to it half of the time or more: an exact binomial test of these images
(McNemar's), without an approximation. A candidate with several rivals divides what the confidence
leaves among them (Bonferroni), and who they are is known from costs alone. So each candidate
that no rival truly beats is pruned with a probability of at most ``1 - confidence``, whatever
the networks are and however alike they are.

Images are taken for independent draws of what the network will meet, as in
:mod:`aocq.records.intervals`. Source of the test: McNemar, Note on the sampling error of the
difference between correlated proportions or percentages, Psychometrika 12 (1947) 153-157; of its
exact form: Lehmann and Romano, Testing Statistical Hypotheses (2005), section 4.9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from aocq.records.axes import AXES, figures_of_run
from aocq.records.image_outcomes import Outcomes, outcomes_of
from aocq.records.intervals import CONFIDENCE, Interval, share_interval
from aocq.records.paired_intervals import difference_interval
from aocq.records.run import RunResult

# By axis, which outcome of an image counts.
MEASURES: Mapping[str, str] = MappingProxyType({"drop": "right", "agreement": "alike"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A design that ran on few images.

    Attributes
    ----------
    name
        unique among the candidates
    compared_with
        what has to be alike for a comparison, such as network, weights and images; candidates of
        different ones are no rivals
    costs
        of which less is better, on the same axes for all; None: an axis without a figure, which
        makes it nobody's rival
    outcomes
        of each image, whether it counts for the candidate; None where images are not judged one by
        one
    """

    name: str
    compared_with: str
    costs: tuple[float | None, ...]
    outcomes: Outcomes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a candidate goes on to all images, and why.

    Attributes
    ----------
    reason
        a sentence without its full stop
    share
        exact 95 % interval of the share of images that count for the candidate; None without
        outcomes
    rival
        the one that speaks against it most; None without rivals
    images, rival_alone, alone
        how many there were, and how many of them count for the rival alone and for it alone
    probability
        of so much against it or more, if the candidate were as good as the rival
    limit
        at or below which it is pruned: 1 - confidence over the number of rivals
    """

    name: str
    kept: bool
    reason: str
    share: Interval | None = None
    rival: str | None = None
    images: int = 0
    rival_alone: int = 0
    alone: int = 0
    probability: float | None = None
    limit: float | None = None

    @property
    def difference(self) -> Interval | None:
        """Exact 95 % interval of the rival's share less the candidate's; takes up to seconds."""
        if self.rival is None:
            return None
        return difference_interval(self.rival_alone, self.alone, self.images)


def promising(candidates: Sequence[Candidate], confidence: float = CONFIDENCE) -> list[Decision]:
    """Return which candidates are worth all images, in order.

    Of those that can be compared, one with the most images is always kept.

    Parameters
    ----------
    confidence
        0 < confidence < 1

    Raises
    ------
    ValueError
        If a name comes twice, a cost is NaN, or candidates that are compared have different numbers
        of axes or images.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    _check(candidates)
    return [
        _decision(candidate, _rivals(candidate, candidates), confidence) for candidate in candidates
    ]


def promising_runs(
    few: Mapping[str, RunResult], axes: Sequence[str], confidence: float = CONFIDENCE
) -> list[Decision]:
    """Return which finished runs on few images are worth all images, in order.

    Parameters
    ----------
    few
        runs by name
    axes
        names in :data:`aocq.records.axes.AXES`: one of ``drop`` (an image counts where its class is
        right) and ``agreement`` (where it is that of float), the others of costs

    Raises
    ------
    ValueError
        If the axes are others.
    """
    of_images = [name for name in axes if AXES[name].of_images]
    if len(of_images) != 1 or of_images[0] not in MEASURES:
        raise ValueError(
            f"axes {', '.join(axes)}: few images decide on one of {', '.join(MEASURES)}, beside "
            "axes of costs"
        )
    return promising(
        [candidate_of_run(name, result, axes) for name, result in few.items()], confidence
    )


def candidate_of_run(name: str, result: RunResult, axes: Sequence[str]) -> Candidate:
    """Return a finished run on few images as a candidate; ``axes`` as in :func:`promising_runs`.

    Runs can be compared where network, weights, preprocessing and images are the same and, with an
    axis of energy, the process.
    """
    model, data, accuracy = result.model, result.data, result.accuracy
    energy = result.energy_record
    same = (
        *(model.name, model.arguments, model.checkpoint_sha256, model.preprocessing),
        *(data.digest if data else name, accuracy.skipped_images),
        energy.node_nm if energy and any(AXES[axis].of_process for axis in axes) else None,
    )
    figures = figures_of_run(result)
    costs = [figures[axis] for axis in axes if not AXES[axis].of_images]
    measure = next((MEASURES[axis] for axis in axes if axis in MEASURES), None)
    found = accuracy.outcomes
    return Candidate(
        name=name,
        compared_with=repr(same),
        costs=tuple(costs),  # of all axes of costs less is better
        outcomes=None
        if found is None or measure is None
        else outcomes_of(getattr(found, measure), found.images),
    )


def sign_test(for_it: int, against: int) -> float:
    """Return the probability of ``against`` or more of all images, were each as likely for it.

    In whole numbers: the sum of binomial coefficients from ``against`` on, over 2 to the number of
    images.
    """
    images = for_it + against
    ways = math.comb(images, against)
    total: int = 0
    for number in range(against, images + 1):
        total += ways
        ways = ways * (images - number) // (number + 1)
    return float(total / 2**images)


def _check(candidates: Sequence[Candidate]) -> None:
    """Refuse candidates whose decisions would mean nothing."""
    names = [candidate.name for candidate in candidates]
    if len({*names}) < len(names):
        raise ValueError(f"{max(names, key=names.count)}: two candidates of this name")
    sizes: dict[str, int] = {}
    axes: dict[str, int] = {}
    for candidate in candidates:
        if any(cost is not None and math.isnan(cost) for cost in candidate.costs):
            raise ValueError(f"{candidate.name}: a cost is not a number")
        group = candidate.compared_with
        if axes.setdefault(group, len(candidate.costs)) != len(candidate.costs):
            raise ValueError(f"{candidate.name}: has other axes of costs than others")
        if candidate.outcomes is not None:
            images = len(candidate.outcomes)
            if sizes.setdefault(group, images) != images:
                raise ValueError(f"{candidate.name}: is of other images than others")


def _rivals(candidate: Candidate, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return who costs no more than a candidate on every axis, and can be compared with it."""
    if candidate.outcomes is None or None in candidate.costs:
        return []
    return [
        other
        for other in candidates
        if other is not candidate
        and other.compared_with == candidate.compared_with
        and other.outcomes is not None
        and all(
            theirs is not None and ours is not None and theirs <= ours
            for theirs, ours in zip(other.costs, candidate.costs, strict=True)
        )
    ]


def _alone(candidate: Candidate, rival: Candidate) -> tuple[int, int]:
    """Return how many images count for the candidate alone, and for the rival alone."""
    ours, theirs = candidate.outcomes, rival.outcomes
    assert ours is not None
    assert theirs is not None
    return int(np.sum(ours & ~theirs)), int(np.sum(theirs & ~ours))


def _decision(candidate: Candidate, rivals: Sequence[Candidate], confidence: float) -> Decision:
    if candidate.outcomes is None:
        reason = "its images are not judged one by one: no exact interval"
        return Decision(name=candidate.name, kept=True, reason=reason)
    images = len(candidate.outcomes)
    share = share_interval(int(candidate.outcomes.sum()), images)
    if None in candidate.costs:
        reason = "a cost is not known"
        return Decision(name=candidate.name, kept=True, reason=reason, share=share)
    if not rivals:
        reason = "no other costs as little or less on every axis"
        return Decision(name=candidate.name, kept=True, reason=reason, share=share)
    against = {rival.name: _alone(candidate, rival) for rival in rivals}
    worst = min(against, key=lambda name: (sign_test(*against[name]), name))
    ours, theirs = against[worst]
    probability, limit = sign_test(ours, theirs), (1 - confidence) / len(rivals)
    kept = probability > limit
    said = (
        f"{worst} costs no more on any axis; of {images} images {theirs} count for it alone and "
        f"{ours} for this one alone"
    )
    means = "which chance may do" if kept else "beyond chance"
    of_rivals = f"{confidence:.3g} confidence, {len(rivals)} rival{'s' * (len(rivals) > 1)}"
    return Decision(
        name=candidate.name,
        kept=kept,
        reason=f"{said}, {means}: {probability:.2g}, limit {limit:.2g} ({of_rivals})",
        share=share,
        rival=worst,
        images=images,
        rival_alone=theirs,
        alone=ours,
        probability=probability,
        limit=limit,
    )
