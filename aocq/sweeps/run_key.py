# SPDX-License-Identifier: Apache-2.0
"""Names of run folders: a digest of all that a run depends on, known without torch.

The run itself has a stricter one, of the network as it was loaded (:mod:`aocq.jobs.keys`), by which
it is held to be of its request.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from aocq.jobs.request import CalibrationRequest, ModelRequest, VerifyRequest
from aocq.recipes.limits import limits_heeded, limits_of
from aocq.records.manifest import file_digest
from aocq.records.provenance import code_digest, package_versions
from simulator.errors import InputError
from simulator.profile import NpuProfile

LENGTH = 16  # hexadecimal digits of a folder's name


def run_key(request: VerifyRequest, profile: NpuProfile) -> str:
    """Return a digest of all that the figures of a run on a chip depend on, times aside.

    Raises
    ------
    InputError
        If the weights or a folder of images cannot be read.
    """
    evaluation = request.evaluation
    return _digest(
        code_digest(),
        package_versions(),
        _calibration(request.model, request.calibration),
        profile.sha256(),
        folder_digest(evaluation.folder.absolute()),
        [evaluation.limit, evaluation.batch, evaluation.skip_bad_images],
        request.task,
    )


def calibration_group(request: VerifyRequest, profile: NpuProfile) -> str:
    """Return what requests have in common that want the same calibration.

    Raises
    ------
    InputError
        See :func:`run_key`.
    """
    asked = request.calibration
    limits = limits_of(profile, asked.recipe)
    heeded = limits_heeded(asked.method, limits)
    return _digest(_calibration(request.model, asked), heeded.plain())


@cache
def folder_digest(folder: Path) -> str:
    """Return a digest of names, sizes and times of the files below a folder, links followed.

    Its place counts too, as pictures of it are in reports.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    digest = hashlib.sha256(str(folder).encode("utf-8", "surrogateescape"))
    seen: set[tuple[int, int]] = set()
    try:
        for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
            here = os.stat(place)  # noqa: PTH116 - as below
            if (here.st_dev, here.st_ino) in seen:  # links in a circle
                folders.clear()
                continue
            seen.add((here.st_dev, here.st_ino))
            folders.sort()
            for name in sorted(names):
                status = _status(os.path.join(place, name))  # noqa: PTH118 - of many thousands
                line = f"{place}/{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
                digest.update(line.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise InputError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); name a folder of "
            "images"
        ) from error
    return digest.hexdigest()


@cache
def weights_digest(path: Path) -> str:
    """Return the sha256 of a checkpoint.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a checkpoint") from error


def _calibration(model: ModelRequest, request: CalibrationRequest) -> list[Any]:
    """Return what a quantized model depends on beside the chip."""
    weights = weights_digest(model.weights.absolute()) if model.weights else "timm's"
    return [
        [model.name, weights, model.classes, model.arguments, model.preprocessing],
        [request.method, request.recipe.plain(), request.images, request.skip_bad_images],
        request.device,
        folder_digest(request.folder.absolute()),
    ]


def _digest(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:LENGTH]


def _status(path: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - of many thousands
    except OSError:  # of a link that leads nowhere, the link's
        return os.lstat(path)


def _raise(error: OSError) -> None:
    raise error
