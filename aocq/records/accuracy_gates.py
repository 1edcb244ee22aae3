# SPDX-License-Identifier: Apache-2.0
"""Gates on what images were classified as: held to their limits by exact intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from aocq.records.accuracy import FEW_IMAGES, Accuracy, PairedCounts
from aocq.records.intervals import Interval, share_interval, unpaired_interval
from aocq.records.paired_intervals import difference_interval, excludes
from aocq.records.verdict import GateResult, Outcome, missing

By = Literal["interval", "point"]
# Percentages are quotients in float64: a gate met exactly must not fail by their last digit.
ROUNDING = 1e-9
NO_IMAGES = "accuracy is not known: no images were run"
MOST_IMAGES = 1_000_000  # that an estimate of how many would decide looks at


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedFigure:
    """A figure that is held to a limit, with or without an interval.

    Attributes
    ----------
    why_no_interval
        what is said where there is no interval
    value, limit, interval
        in points or percent; no interval of a figure that is not a share of images
    holds_below
        whether values up to the limit pass; else those from the limit on
    decided
        whether so many images would decide, at the observed rates
    """

    why_no_interval: str
    value: float
    limit: float
    interval: Interval | None
    holds_below: bool
    images: int
    decided: Callable[[int], bool] | None


def drop_result(limit: float, accuracy: Accuracy | None, by: By) -> GateResult:
    """Hold what the integer network loses of its main score, in points, to its most.

    None: no images were run.
    """
    if accuracy is None:
        return missing("max_drop", limit, "points", NO_IMAGES)
    drop, score = accuracy.drop, accuracy.main.title
    pair = None if accuracy.paired is None else accuracy.paired.float_integer
    gated = GatedFigure(
        why_no_interval=f"{score} has no exact interval",
        value=drop,
        limit=limit,
        interval=drop_interval(accuracy),
        holds_below=True,
        images=accuracy.images,
        decided=None if pair is None else lambda images: _decides_drop(limit, pair, images),
    )
    few = f" (one of {accuracy.images} images is {100 / accuracy.images:.2f} points)"
    few *= accuracy.by_image
    found = _result(
        gated,
        by,
        name="max_drop",
        unit="points",
        said=f"{_compared(drop, score)}{_told(gated)}, allowed {limit:g}",
        few=few * (accuracy.images < FEW_IMAGES),
    )
    return found.model_copy(update={"score": score})


def agreement_result(limit: float, accuracy: Accuracy | None, by: By) -> GateResult:
    """Hold the share of images on which integer and float agree, in percent, to its least.

    None: no images were run.
    """
    if accuracy is None:
        return missing("min_agreement", limit, "%", NO_IMAGES)
    agreed, images = accuracy.agreement.integer_float, accuracy.images
    same = counted(agreed, images)
    gated = GatedFigure(
        why_no_interval=f"shares of {accuracy.shares_of} have no exact interval",
        value=agreed,
        limit=limit,
        interval=in_percent(share_interval(same, images)) if accuracy.by_image else None,
        holds_below=False,
        images=images,
        decided=lambda more: _decides_share(limit, same / images, more),
    )
    said = f"integer agrees with float on {agreed:.2f} % of {accuracy.shares_of}{_told(gated)}"
    return _result(
        gated,
        by,
        name="min_agreement",
        unit="%",
        said=f"{said}, wanted {limit:g} %",
        few="",
    )


def drop_interval(accuracy: Accuracy) -> Interval | None:
    """Return the exact interval of float minus integer accuracy, in points.

    None where it is not a share of images.

    Older records do not pair the images: theirs is wider, see
    :func:`~aocq.records.intervals.unpaired_interval`.
    """
    if not accuracy.by_image:
        return None
    if accuracy.paired is not None:
        return paired_interval(accuracy.paired.float_integer)
    images = accuracy.images
    first, second = (counted(accuracy.score(each), images) for each in ("float", "integer"))
    return in_percent(unpaired_interval(first, second, images))


def paired_interval(pair: PairedCounts) -> Interval:
    """Return the exact interval of the first network's top-1 minus the second's, in points."""
    images = pair.both_right + pair.only_first_right + pair.only_second_right + pair.both_wrong
    return in_percent(difference_interval(pair.only_first_right, pair.only_second_right, images))


def counted(percent: float, images: int) -> int:
    """Return how many images a percentage of them is."""
    return round(percent * images / 100)


def in_percent(interval: Interval) -> Interval:
    """Return an interval of shares in percent."""
    return Interval(100 * interval.low, 100 * interval.high)


def _compared(drop: float, score: str) -> str:
    """Return how an integer score stands to float; an interval that follows is of the drop."""
    if drop < 0:
        return f"integer {score} is {-drop:.2f} points above float, a drop of {drop:.2f}"
    return f"integer {score} is {drop:.2f} points below float"


def _told(gated: GatedFigure) -> str:
    if gated.interval is None:
        return ""
    low, high = gated.interval
    return f" (95 %: {low:.2f} to {high:.2f})"


def _result(gated: GatedFigure, by: By, *, name: str, unit: str, said: str, few: str) -> GateResult:
    if gated.interval is None and by == "interval":
        by, said = "point", f"{said}, by the point estimate: {gated.why_no_interval}"
    outcome = _outcome(gated, by)
    needed = images_to_decide(gated) if outcome == "undecided" else None
    if outcome == "undecided":
        said += f": {gated.images:,} image{'s' * (gated.images != 1)} cannot decide it; "
        said += (
            f"no number of images up to {MOST_IMAGES:,} would at the observed rates (an estimate)"
            if needed is None
            else f"about {needed:,} would at the observed rates (an estimate)"
        )
    return GateResult(
        name=name,
        limit=gated.limit,
        value=gated.value,
        unit=unit,
        outcome=outcome,
        reason=said + few * (outcome == "fail" and by == "point"),
        interval=gated.interval,
        by=by,
        images_needed=needed,
    )


def _outcome(gated: GatedFigure, by: By) -> Outcome:
    """Return how a figure stands to its limit: all of its interval, or its value alone."""
    exact = gated.interval if by == "interval" else None
    low, high = exact or (gated.value, gated.value)
    if not gated.holds_below:
        low, high = -high, -low
    limit = gated.limit if gated.holds_below else -gated.limit
    if high <= limit + ROUNDING:
        return "pass"
    return "fail" if low > limit + ROUNDING else "undecided"


def images_to_decide(gated: GatedFigure) -> int | None:
    """Return an estimate of how many images would decide, were their rates the observed ones.

    None where no number up to :data:`MOST_IMAGES` would, or where the record does not know the
    rates. It is within a tenth of the least such number, rounded up to two digits.
    """
    gap = abs(gated.value - gated.limit)
    if gap <= ROUNDING or gated.decided is None or gated.images >= MOST_IMAGES:
        return None
    if gated.interval is None:
        return None
    low, high = gated.interval
    reach = high - gated.value if gated.limit > gated.value else gated.value - low
    # Intervals shrink with the root of the number of images, or faster.
    enough = math.ceil(1.1 * gated.images * (reach / gap) ** 2)
    while not gated.decided(enough := min(enough, MOST_IMAGES)):
        if enough == MOST_IMAGES:
            return None
        enough *= 2
    while (fewer := int(enough / 1.1)) > gated.images and gated.decided(fewer):
        enough = fewer
    return _two_digits(enough)


def _two_digits(number: int) -> int:
    """Return a number rounded up to two digits."""
    unit = int("1" + "0" * max(0, len(str(number)) - 2))
    return -(-number // unit) * unit


def _decides_drop(limit: float, pair: PairedCounts, images: int) -> bool:
    seen = pair.both_right + pair.only_first_right + pair.only_second_right + pair.both_wrong
    first = round(pair.only_first_right * images / seen)
    second = round(pair.only_second_right * images / seen)
    return excludes(limit / 100, first, second, images)


def _decides_share(limit: float, share: float, images: int) -> bool:
    low, high = share_interval(round(share * images), images)
    return not low <= limit / 100 <= high
