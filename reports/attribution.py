# SPDX-License-Identifier: Apache-2.0
"""What of the integer network's noise comes with quantization, and what with integer arithmetic.

Classes of few images cannot tell: one that turns over is a point or more. The logits' noise can: it
is a sum over all images and classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aocq.records.accuracy import Accuracy, PairedCounts
from aocq.records.accuracy_gates import paired_interval
from reports.format import MISSING, NO_NOISE, decibel, percent, signed
from reports.gates import interval

Pair = Literal["float_simulated", "simulated_integer", "float_integer"]


def head(accuracy: Accuracy) -> tuple[str, ...]:
    """Return the head of the table of :func:`attribution_rows`."""
    source = "source of noise in the logits"
    return (source, "SQNR", "share of the noise", accuracy.main.title, "95 % interval")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source of noise in the logits.

    Attributes
    ----------
    name
        in words
    sqnr_db
        of the logits against float with this source and those before it; None: no noise
    noise
        power that the source adds, as a part of the signal's; below 0 where it takes some away
    share
        the same as a part of all of the integer network's noise; None where there is none
    points
        change of the main score that it makes, in points; below 0 where images are lost
    interval
        exact 95 % interval of ``points``, of the same images in pairs; None in older records
    """

    name: str
    sqnr_db: float | None
    noise: float
    share: float | None
    points: float
    interval: tuple[float, float] | None


def sources_of_noise(accuracy: Accuracy) -> tuple[Source, Source, Source]:
    """Return fake quantization, what integer arithmetic adds to its noise, and both together.

    Noise power is that of the difference from the float network's logits, over their power:
    ``10^(-SQNR / 10)``. What integer arithmetic adds is the difference of two such powers: where
    its errors undo some of quantization's, it is less than the power of its own errors.
    """
    sqnr = accuracy.logit_sqnr_db
    rounded, whole = _power(sqnr.simulated_float), _power(sqnr.integer_float)

    def source(name: str, sqnr_db: float | None, noise: float, pair: Pair) -> Source:
        first, second = pair.split("_")
        return Source(
            name=name,
            sqnr_db=sqnr_db,
            noise=noise,
            share=noise / whole if whole else None,
            points=accuracy.score(second) - accuracy.score(first),
            interval=_change(accuracy, pair),
        )

    return (
        source("fake quantization", sqnr.simulated_float, rounded, "float_simulated"),
        source(
            "integer arithmetic beyond it",
            sqnr.integer_float,
            whole - rounded,
            "simulated_integer",
        ),
        source("both: the integer network", sqnr.integer_float, whole, "float_integer"),
    )


def _change(accuracy: Accuracy, pair: Pair) -> tuple[float, float] | None:
    """Return the interval of what the second network of a pair has more than the first."""
    if accuracy.paired is None:
        return None
    counts: PairedCounts = getattr(accuracy.paired, pair)
    low, high = paired_interval(counts)
    return -high, -low


def _power(sqnr_db: float | None) -> float:
    """Return noise over signal as a ratio of powers."""
    return 0.0 if sqnr_db is None else 10 ** (-sqnr_db / 10)


def attribution_rows(accuracy: Accuracy) -> list[tuple[str, str, str, str, str]]:
    """Return the sources of noise as cells below :func:`head`.

    The SQNR is that of all sources down to the row.
    """
    rounded, beyond, both = sources_of_noise(accuracy)
    sqnr = [decibel(rounded.sqnr_db, NO_NOISE), MISSING, decibel(both.sqnr_db, NO_NOISE)]
    return [
        (
            source.name,
            level,
            MISSING if source.share is None else percent(100 * source.share),
            f"{signed(source.points)} points",
            MISSING if source.interval is None else interval(*source.interval),
        )
        for source, level in zip((rounded, beyond, both), sqnr, strict=True)
    ]


def attribution_sentence(accuracy: Accuracy) -> str:
    """Return where the noise of the integer network's logits comes from, in a sentence."""
    rounded, beyond, both = sources_of_noise(accuracy)
    if both.share is None or rounded.share is None or beyond.share is None:
        return "The integer network's logits have no noise against those of the float network."
    level, before = decibel(both.sqnr_db), decibel(rounded.sqnr_db, NO_NOISE)
    if beyond.noise < 0:
        return (
            f"The integer network's logits are no noisier ({level} against float) than the "
            f"fake-quantized one's ({before}): all of the noise comes with quantization."
        )
    return (
        f"Of the noise power in the integer network's logits ({level} against float), "
        f"{percent(100 * rounded.share)} is there after fake quantization ({before}) and "
        f"{percent(100 * beyond.share)} comes with the chip's integer arithmetic."
    )
