# SPDX-License-Identifier: Apache-2.0
"""Cells of a table: designs whose runs are in folders whose names say of what they are."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aocq.jobs.request import ModelRequest, VerifyRequest
from aocq.recipes.recipe import Recipe
from aocq.sweeps.chips import ProfileVariant
from aocq.sweeps.designs import Design
from simulator.profile import load_profile
from simulator.settings import typed

LONGEST_NAME = 120  # of a folder; file systems take 255 bytes, and other tools less


def cell(
    template: VerifyRequest,
    recipe: Recipe | None = None,
    variant: Mapping[str, str] | None = None,
    chip: ProfileVariant | None = None,
) -> Design:
    """Return the design of a request, in a folder below the request's own.

    Parameters
    ----------
    recipe, chip
        None: the request's
    variant
        what sets it apart from others of its network, method and widths; its values name the folder

    Raises
    ------
    InputError
        If the profile cannot be read.
    """
    if chip is None:
        profile, path = load_profile(template.profile), template.profile
        chip = ProfileVariant(base=profile.name, settings={}, profile=profile, path=path)
    recipe, variant = recipe or template.calibration.recipe, variant or {}
    asked = replace(template.calibration, recipe=recipe)
    widths = f"w{recipe.weight_bits}a{recipe.activation_bits}"
    name = "-".join([asked.method, widths, *variant.values()])
    network = network_folder(template.model)
    out = template.out / network / name
    request = replace(template, calibration=asked, out=out, profile=chip.path)
    return Design(name=f"{network} {name}", variant=variant, request=request, chip=chip)


def built(model: ModelRequest) -> str:
    """Return a network's name and, in brackets, what it is built with, for a title."""
    arguments = typed(_own(model))
    return f"{model.name} ({arguments})" if arguments else model.name


def network_folder(model: ModelRequest) -> str:
    """Return the name of a folder for runs of a network, other than those of its namesakes.

    What it is built with follows timm's name, as it is typed: ``NAME,img_size=32,depths=2,2``. A
    name that no file system takes is cut, with a digest of the whole.
    """
    own = _own(model)
    whole = ",".join([model.name, *(typed({key: own[key]}) for key in own)])
    plain = re.sub(r"[^\w.,=+-]", "_", whole, flags=re.ASCII)
    if plain == whole and len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def _own(model: ModelRequest) -> dict[str, Any]:
    """Return what a network is built with that its name does not say, classes included."""
    own: dict[str, Any] = dict(model.arguments)
    if model.classes is not None:
        own["num_classes"] = model.classes
    return own
