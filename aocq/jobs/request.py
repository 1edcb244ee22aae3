# SPDX-License-Identifier: Apache-2.0
"""The request of a run of the main job, in groups; known without importing torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aocq.recipes.recipe import Recipe
from aocq.records.gates import Gates
from aocq.tasks.names import CLASSIFICATION


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A network of timm.

    Attributes
    ----------
    weights
        a checkpoint; None: timm's pretrained weights
    classes
        None: as many as the model has by default
    arguments, preprocessing
        what differs from the model's name, see :func:`aocq.zoo.models.load_model`
    """

    name: str
    weights: Path | None = None
    classes: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRequest:
    """How a network is quantized, and on which images.

    Attributes
    ----------
    images
        the most that are used of the folder
    device
        where the method computes, ``cpu`` or ``cuda``
    shared_folder
        where requests that want the same calibration find each other's quantized model, which is
        kept there; None: each makes its own
    """

    method: str
    recipe: Recipe
    folder: Path
    images: int
    skip_bad_images: bool = False
    device: str = "cpu"
    shared_folder: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """On which images a network is judged; ``limit`` takes so many evenly from all classes."""

    folder: Path
    limit: int | None = None
    batch: int = 32
    skip_bad_images: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulationRequest:
    """How the integers are computed, which changes no bit; ``threads`` None: all cores."""

    threads: int | None = None
    gemm: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Everything that the main job is asked for.

    Attributes
    ----------
    task
        what the network does, one of :data:`aocq.tasks.names.MODULES`
    command
        the line that asked for it
    """

    model: ModelRequest
    profile: str
    calibration: CalibrationRequest
    evaluation: EvaluationRequest
    emulation: EmulationRequest
    gates: Gates
    out: Path
    command: tuple[str, ...]
    task: str = CLASSIFICATION
