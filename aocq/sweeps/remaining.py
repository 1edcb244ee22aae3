# SPDX-License-Identifier: Apache-2.0
"""How long what is left of a sweep will take: by runs of the same kind, else by a stated model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from aocq.jobs.request import VerifyRequest

# The model, where no run of a sweep has ended: seconds of a run on one core. Measured on DeiT-Tiny,
# whose checkpoint of float16 has 11.4 MB, and scaled by the size of the checkpoint.
FIXED, PER_IMAGE, PER_CALIBRATION_IMAGE = 8.0, 0.2, 0.15
MEASURED_BYTES = 11.4e6
MODEL = (
    f"{FIXED:g} s a run, {PER_IMAGE:g} s an image, {PER_CALIBRATION_IMAGE:g} s a calibration image "
    "of DeiT-Tiny, by the size of the weights"
)


class Remaining:
    """Seconds of runs that have ended, and what they say of those that have not."""

    def __init__(self) -> None:
        self._seconds: dict[Hashable, list[float]] = {}

    def learn(self, kind: Hashable, seconds: float) -> None:
        """Take down how long a run of a kind took."""
        self._seconds.setdefault(kind, []).append(seconds)

    @property
    def known(self) -> bool:
        """Whether any run has ended."""
        return bool(self._seconds)

    def seconds(self, left: Iterable[tuple[Hashable, float]], workers: int) -> float:
        """Return how long runs will take that are left, by so many workers.

        ``left`` has the kind of each, and what the model says of it, which counts where no run has
        ended; where none of a kind has, the mean of all that have
        """
        every = [each for times in self._seconds.values() for each in times]
        mean = sum(every) / len(every) if every else None
        total = 0.0
        for kind, modelled in left:
            known = self._seconds.get(kind)
            total += sum(known) / len(known) if known else mean if mean is not None else modelled
        return total / workers


def kind_of(request: VerifyRequest) -> Hashable:
    """Return what runs have in common that take about as long."""
    return request.model.name, request.calibration.method, request.evaluation.limit


def modelled(request: VerifyRequest) -> float:
    """Return the seconds of a run by the model."""
    weights = request.model.weights
    size = weights.stat().st_size if weights is not None and weights.exists() else MEASURED_BYTES
    images, calibration = request.evaluation.limit or 1000, request.calibration.images
    measured = PER_IMAGE * images + PER_CALIBRATION_IMAGE * calibration
    return FIXED + measured * size / MEASURED_BYTES


def in_words(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
