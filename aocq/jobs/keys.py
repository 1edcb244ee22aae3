# SPDX-License-Identifier: Apache-2.0
"""Digests of what calibrations and runs depend on, by which finished work is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from aocq.data.image_folder import LabelledImage
from aocq.data.loader import evenly
from aocq.jobs.inputs import Inputs
from aocq.jobs.request import CalibrationRequest, VerifyRequest
from aocq.lowering.operators import approximate
from aocq.recipes.limits import ChipLimits, limits_of
from aocq.recipes.methods import knows_chip
from aocq.records.provenance import code_digest, package_versions
from aocq.zoo.models import LoadedModel
from simulator.graph import IntGraph, sha256
from simulator.profile import NpuProfile


def calibration_key(
    request: CalibrationRequest,
    limits: ChipLimits,
    model: LoadedModel,
    files: Sequence[LabelledImage],
    profile: NpuProfile,
) -> str:
    """Return a digest of everything that a method's decisions depend on.

    ``files`` are the images that are used, of all in the request's folder. The whole ``profile``
    counts where a method heeds operators that it approximates.
    """
    heeded = knows_chip(request.method) and approximate(profile)
    return _digest(
        *_identity(model),
        request.method,
        json.dumps({**request.recipe.plain(), **limits.plain()}, sort_keys=True),
        str(request.skip_bad_images),
        request.device,
        _listing(files),
        profile.sha256() if heeded else "",
    )


def request_key(request: VerifyRequest, inputs: Inputs) -> str:
    """Return a digest of everything that a run's figures depend on, times and gates aside.

    Threads and the backend of matrix products change no bit.
    """
    calibration = calibration_key(
        request.calibration,
        limits_of(inputs.profile, request.calibration.recipe),
        inputs.model,
        evenly(inputs.calibration, request.calibration.images),
        inputs.profile,
    )
    images = _listing(evenly(inputs.images, request.evaluation.limit))
    return _digest(
        *(calibration, inputs.profile.sha256(), images, str(request.evaluation.batch)),
        *(request.task, inputs.dataset.digest),
    )


def sweep_key(graph: IntGraph, images: Sequence[LabelledImage], judged_by: str = "") -> str:
    """Return a digest of everything that a graph's figures on some images depend on.

    ``judged_by`` says by what: a task, and what it knows of the images.
    """
    versions = package_versions().values()
    return _digest(code_digest(), *versions, sha256(graph), _listing(images), judged_by)


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
        _listing(evenly(inputs.images, request.evaluation.limit)),
        str(request.evaluation.batch),
        str(request.emulation.threads),
        request.emulation.gemm,
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
