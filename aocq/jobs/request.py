# SPDX-License-Identifier: Apache-2.0
"""What a run of the main job is asked for, what that turns into, and what its figures depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import aocq
import simulator
from aocq.data.image_folder import LabelledImage
from aocq.data.loader import evenly
from aocq.methods import Recipe
from aocq.records.gates import Gates
from aocq.zoo.models import LoadedModel
from simulator.graph import IntGraph, sha256
from simulator.profile import GraphLayerNorm, LayerNormSection, NpuProfile

PACKAGES = ("aocq", "torch", "timm", "numpy", "numba", "safetensors", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Everything that the main job is asked for.

    ``quantized`` is a folder where requests that want the same calibration find each other's
    quantized model, which is kept there; None: each makes its own. ``model_arguments`` and
    ``preprocessing`` are what differs from the model's name, see
    :func:`aocq.zoo.models.load_model`.
    """

    model: str
    weights: Path | None
    classes: int | None
    profile: str
    method: str
    recipe: Recipe
    calibration_folder: Path
    calibration_images: int
    data_folder: Path
    limit: int | None
    batch: int
    skip_bad_images: bool
    threads: int | None
    gemm: str
    gates: Gates
    out: Path
    command: tuple[str, ...]
    device: str = "cpu"
    quantized: Path | None = None
    model_arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a request's names turned into; made before any long work, so mistakes show at once."""

    profile: NpuProfile
    model: LoadedModel
    calibration: list[LabelledImage]
    images: list[LabelledImage]


def constrained(recipe: Recipe, profile: NpuProfile) -> Recipe:
    """Return a recipe within the profile's limits: scales, zero points, widths, factors, sums.

    Probabilities have the chip's width where the other activations have theirs; in a narrower
    recipe they are as narrow.
    """
    softmax_bits: int | None = profile.softmax.output_bits
    if recipe.activation_bits in {softmax_bits, *range(profile.activation.bits)}:
        softmax_bits = None
    return recipe.model_copy(
        update={
            "residual_bits": profile.activation.residual_bits,
            "softmax_bits": softmax_bits,
            "weight_granularity": profile.weight.granularity,
            "weight_scale": profile.weight.scale,
            "activation_granularity": profile.activation.granularity,
            "activation_scale": profile.activation.scale,
            "float32_scales": profile.float32_scales,
            "bias_bits": _bias_bits(profile),
            "zero_point": profile.activation.zero_point,
            "channel_factor": profile.layernorm.channel_factor,
            "channel_factor_bits": profile.layernorm.channel_factor_bits,
            "fused_add": profile.residual.fused_add,
            "layernorm_part_bits": _part_bits(profile.layernorm),
        }
    )


def _bias_bits(profile: NpuProfile) -> int:
    """Return the width of biases that sums hold and factors reach.

    Q31 and Q15 make 0 of a factor below 2^-32. What that takes of a bias of 32 bits is less than
    half a code; of a wider one it could be all.
    """
    accumulator, rescale = profile.accumulator_of("linear"), profile.rescale_of("linear")
    bits = min(accumulator.bias_bits, accumulator.levels[-1].bits)
    least_factor = rescale.kind == "fixed_point" and rescale.derivation in {"q31", "q15"}
    return min(bits, 32) if least_factor else bits


def _part_bits(section: LayerNormSection) -> int | None:
    """Return the width inside a LayerNorm that is a graph of operators; None of any other."""
    return section.part_bits if isinstance(section, GraphLayerNorm) else None


def calibration_key(
    method: str,
    recipe: Recipe,
    model: LoadedModel,
    files: Sequence[LabelledImage],
    *,
    skip_bad: bool,
    device: str,
) -> str:
    """Return a digest of everything that a method's decisions depend on."""
    return _digest(
        *_identity(model),
        method,
        recipe.model_dump_json(),
        str(skip_bad),
        device,
        _listing(files),
    )


def request_key(request: VerifyRequest, inputs: Inputs) -> str:
    """Return a digest of everything that a run's figures depend on, times and gates aside.

    Threads and the backend of matrix products change no bit.
    """
    calibration = calibration_key(
        request.method,
        constrained(request.recipe, inputs.profile),
        inputs.model,
        evenly(inputs.calibration, request.calibration_images),
        skip_bad=request.skip_bad_images,
        device=request.device,
    )
    images = _listing(evenly(inputs.images, request.limit))
    return _digest(calibration, inputs.profile.sha256(), images, str(request.batch))


def sweep_key(graph: IntGraph, images: Sequence[LabelledImage]) -> str:
    """Return a digest of everything that a graph's figures on some images depend on."""
    return _digest(code_digest(), *package_versions().values(), sha256(graph), _listing(images))


def model_meta(model: LoadedModel) -> dict[str, str]:
    """Return class count and preprocessing, which every graph carries along.

    The constructor's arguments too, where they are not those of the model's name.
    """
    own = {
        "model_arguments": json.dumps(
            dict(model.arguments), sort_keys=True, default=str, allow_nan=False
        )
    }
    return {
        "classes": str(model.classes),
        "preprocessing": json.dumps(dict(model.preprocessing), sort_keys=True, allow_nan=False),
        **(own if model.arguments else {}),
    }


def evaluation_key(request: VerifyRequest, inputs: Inputs, graph: IntGraph) -> str:
    """Return a digest of what finished batches depend on.

    Threads and backend are in it because of the times they report.

    Not whether bad images are skipped: batches without one are good either way, and a batch with
    one is refused when it is collected.
    """
    return _digest(
        *_identity(inputs.model),
        sha256(graph),
        _listing(evenly(inputs.images, request.limit)),
        str(request.batch),
        str(request.threads),
        request.gemm,
    )


def _identity(model: LoadedModel) -> tuple[str, ...]:
    """The float network, its preprocessing, and all code that computes with it."""
    return (
        code_digest(),
        model.name,
        model.checkpoint_sha256,
        *model_meta(model).values(),
        *package_versions().values(),
    )


@cache
def code_digest() -> str:
    """Return a digest of this project's own sources: a version does not change with every edit.

    Without it, a run that was interrupted would go on with the decisions of other code.
    """
    digest = hashlib.sha256()
    for package in (aocq, simulator):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a figure may depend on."""
    return {"python": python_version(), **{name: version(name) for name in PACKAGES}}


def _listing(images: Sequence[LabelledImage]) -> str:
    return "\n".join(f"{item.path} {_state(item.path)} {item.label}" for item in images)


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None of a link that leads nowhere, which decoding will report."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]
