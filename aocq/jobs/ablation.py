# SPDX-License-Identifier: Apache-2.0
"""The variants of AOCQ that an ablation runs, and the condition of the streams it acts on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from types import MappingProxyType
from typing import Any

from aocq.capture import capture
from aocq.data.loader import evenly, load_calibration_images
from aocq.jobs.inputs import load_requested, with_preprocessing_of
from aocq.jobs.request import VerifyRequest
from aocq.methods import storage
from aocq.methods.aocq.conditioning import block_conditions
from aocq.progress import Progress, note
from aocq.recipes.aocq_options import AocqOptions
from aocq.recipes.fields import field_specs
from aocq.tasks.task import images_of, task_of

CONDITION_IMAGES = 32  # 6304 tokens of a DeiT, several times its widest stream
_OPTIONS = field_specs(AocqOptions)
LEVELS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "alpha": _OPTIONS["alpha"].choices,
        "scale_passes": (0, 4),
        "rounding": _OPTIONS["rounding"].choices,
        "loss": _OPTIONS["loss"].choices,
    }
)
# What is left of a level when it is taken away; these come first in a table.
TAKEN_AWAY: Mapping[str, Any] = MappingProxyType(
    {
        "alpha": "none",
        "balance_inputs": False,
        "scale_passes": 0,
        "rounding": "nearest",
        "loss": "mse",
    }
)


def one_at_a_time(base: AocqOptions) -> Iterator[AocqOptions]:
    """Yield the whole method, then each level taken away, then what else could be in its place."""
    found = [base, *(replace(base, **{level: away}) for level, away in TAKEN_AWAY.items())]
    for level, choices in LEVELS.items():
        found += [replace(base, **{level: choice}) for choice in choices]
    # What the whole method does without already, and every choice that is one of these.
    yield from dict.fromkeys(found)


def all_combinations(base: AocqOptions) -> Iterator[AocqOptions]:
    """Yield the whole method and the product of all levels."""
    found = [
        replace(base, **dict(zip(LEVELS, choices, strict=True)))
        for choices in product(*LEVELS.values())
    ]
    yield from [base, *(chosen for chosen in found if chosen != base)]


def named(chosen: AocqOptions) -> dict[str, str]:
    """Return what sets a row apart, by column; the values also name its folder."""
    return {
        "alpha": chosen.alpha,
        "scales": f"s{chosen.scale_passes}",
        "rounding": chosen.rounding,
        "loss": chosen.loss,
        "inputs": "balanced" if chosen.balance_inputs else "plain",
    }


def conditions(request: VerifyRequest, progress: Progress) -> list[tuple[str, float, float]]:
    """Return every block's condition numbers, on calibration images, with a finished run's α."""
    task, asked = task_of(request.task), request.calibration
    loaded = load_requested(with_preprocessing_of(task, request.model))
    listed = images_of(task, asked.folder, loaded.classes, note)
    files = evenly(listed, CONDITION_IMAGES)
    images, _ = load_calibration_images(files, loaded.preprocessing, skip_bad=asked.skip_bad_images)
    graph = capture(loaded.network, request.model.name, loaded.input_size)
    with progress("condition numbers", 1) as advance:
        blocks = block_conditions(graph, storage.load(request.out).activations, images)
        advance(1)
    return blocks
