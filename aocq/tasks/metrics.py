# SPDX-License-Identifier: Apache-2.0
"""Metrics of outputs: top-k accuracy, agreement, paired outcomes, SQNR."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from aocq.records.accuracy import LogitSqnr, PairedCounts
from aocq.records.image_outcomes import ImageOutcomes, image_outcomes

Logits = NDArray[np.float64]


def top_k(logits: Logits, labels: NDArray[np.int64], k: int) -> float:
    """Return the share, in percent, of images whose class is among the ``k`` largest logits.

    Equal logits rank by class number, the lowest first, as a chip's arg-max does.
    """
    ranks = np.argsort(-logits, axis=1, kind="stable")[:, :k]
    hits = int((ranks == labels[:, None]).any(axis=1).sum())
    return 100 * hits / len(labels)


def agreement(a: Logits, b: Logits) -> float:
    """Return the share of images, in percent, for which both predict the same class."""
    return share_equal(a.argmax(axis=1), b.argmax(axis=1))


def share_equal(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Return the share of classes, in percent, that are the same in both."""
    return 100 * int((first == second).sum()) / first.size


def paired_counts(first: Logits, second: Logits, labels: NDArray[np.int64]) -> PairedCounts:
    """Return on how many images both, one alone, or none has the largest logit at the class.

    Of equal logits the lowest class counts, as in :func:`top_k`.
    """
    one, other = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    return PairedCounts(
        both_right=int((one & other).sum()),
        only_first_right=int((one & ~other).sum()),
        only_second_right=int((~one & other).sum()),
        both_wrong=int((~one & ~other).sum()),
    )


def outcomes(real: Logits, integer: Logits, labels: NDArray[np.int64]) -> ImageOutcomes:
    """Return on which images ``integer`` predicts the class, and on which that of ``real``."""
    found = integer.argmax(axis=1)
    return image_outcomes(found == labels, found == real.argmax(axis=1))


def sqnr_db(reference: Logits, approximation: Logits) -> float | None:
    """Return ``10 log10(sum reference² / sum error²)``; None where there is no error."""
    return decibel(float(np.sum(reference**2)), float(np.sum((reference - approximation) ** 2)))


def decibel(signal: float, noise: float) -> float | None:
    """Return a power ratio in dB; None where there is no noise or no signal to compare with."""
    ratio = signal / noise if noise > 0 and signal > 0 else 0.0
    return 10 * float(np.log10(ratio)) if 0 < ratio < np.inf else None


def sqnr_of_pairs(outputs: Mapping[str, Logits]) -> LogitSqnr:
    """Return the SQNR of every two engines."""
    return LogitSqnr(
        integer_float=sqnr_db(outputs["float"], outputs["integer"]),
        simulated_float=sqnr_db(outputs["float"], outputs["simulated"]),
        integer_simulated=sqnr_db(outputs["simulated"], outputs["integer"]),
    )
