# SPDX-License-Identifier: Apache-2.0
"""Real networks, quantized for a profile: the bundled one, and others from a folder beside us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from aocq.capture import FloatGraph, capture
from aocq.data.image_folder import LabelledImage, read_image_folder
from aocq.data.loader import evenly, load_calibration_images
from aocq.demo.digits import write_image_folder
from aocq.jobs.calibration import calibrate
from aocq.jobs.request import CalibrationRequest
from aocq.methods import QuantizedModel
from aocq.progress import silent
from aocq.recipes.limits import limits_of
from aocq.recipes.recipe import Recipe
from aocq.zoo.models import LoadedModel, load_model
from simulator.profile import NpuProfile

# Beside the repository; its licences do not allow it inside.
DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Network:
    """A float network, images to calibrate it with, and preprocessed images to run."""

    loaded: LoadedModel
    graph: FloatGraph
    calibration: Sequence[LabelledImage]
    images: Tensor

    def quantized(self, profile: NpuProfile) -> QuantizedModel:
        """Quantize within the profile's limits, weights to 8 bits."""
        request = CalibrationRequest(
            method="base_ptq",
            recipe=Recipe(activation_bits=profile.activation.operand_width),
            folder=self.calibration[0].path.parent.parent,
            images=len(self.calibration),
        )
        limits = limits_of(profile, request.recipe)
        return calibrate(request, limits, self.graph, self.loaded, self.calibration, silent)


def digits(folder: Path) -> Network:
    """Return the bundled network; the images are written to ``folder``."""
    write_image_folder(folder)
    return _network("vit_nano_digits", None, folder, calibration=128, images=None)


def photographs(name: str, weights: str, *, calibration: int, images: int) -> Network:
    """Return a network on photographs, from :data:`DATA`."""
    return _network(
        name,
        DATA / "weights" / weights,
        DATA / "imagenet",
        calibration=calibration,
        images=images,
    )


def _network(
    name: str, weights: Path | None, folder: Path, *, calibration: int, images: int | None
) -> Network:
    loaded = load_model(name, weights)
    chosen = evenly(read_image_folder(folder / "val", loaded.classes), images)
    decoded, _ = load_calibration_images(chosen, loaded.preprocessing, skip_bad=False)
    return Network(
        loaded=loaded,
        graph=capture(loaded.network, name, loaded.input_size),
        calibration=evenly(read_image_folder(folder / "calib", loaded.classes), calibration),
        images=decoded,
    )
