# SPDX-License-Identifier: Apache-2.0
"""Facts of the quantization methods, known without torch, whose import takes seconds.

:data:`aocq.methods.METHODS` adds the functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from aocq.recipes.aocq_options import PRESETS, AocqOptions, PresetName
from aocq.recipes.recipe import FloatOps


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """What is known of a method without torch.

    Attributes
    ----------
    leaves_floats
        whether operators stay in float unless a recipe says ``float_ops = "integer"``
    published_images
        calibration images in its publication; the time of a Hessian-guided search grows with them
    options
        the class of its own options, which is a recipe's field of the method's name; None: it has
        none
    knows_chip
        whether it uses what a chip can do beyond its limits: rotations and steps found at run time
        that a recipe asks for, room in narrow sums, and the chip's own approximations
    """

    leaves_floats: bool = False
    published_images: int | None = None
    options: type | None = None
    knows_chip: bool = False


# Images: PTQ4ViT (arXiv 2111.12293, also for its BasePTQ), FQ-ViT (arXiv 2111.13824).
METHOD_SPECS: Mapping[str, MethodSpec] = MappingProxyType(
    {
        "base_ptq": MethodSpec(),
        "base_ptq_paper": MethodSpec(leaves_floats=True, published_images=32),
        "ptq4vit_paper": MethodSpec(leaves_floats=True, published_images=32),
        "ptq4vit_released": MethodSpec(leaves_floats=True, published_images=32),
        "fq_vit": MethodSpec(leaves_floats=True, published_images=1000),
        "aocq": MethodSpec(options=AocqOptions, knows_chip=True),
    }
)
DEFAULT_METHOD = "aocq"


def leaves_floats(method: str, float_ops: FloatOps) -> bool:
    """Return whether a method leaves operators in float under a recipe's ``float_ops``."""
    return METHOD_SPECS[method].leaves_floats and float_ops == "declared"


def knows_chip(method: str) -> bool:
    """Return whether a method uses what a chip can do beyond its limits; unknown ones do not."""
    return method in METHOD_SPECS and METHOD_SPECS[method].knows_chip


def calibration_images(method: str, preset: PresetName) -> int:
    """Return how many calibration images a method takes: as published, or the preset's number."""
    return METHOD_SPECS[method].published_images or PRESETS[preset].images
