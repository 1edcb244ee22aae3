# SPDX-License-Identifier: Apache-2.0
"""``aocq quantize``: the method's decisions, saved."""

from __future__ import annotations

import sys
from pathlib import Path

from aocq.cli import options


def command(
    model: options.Model,
    calibration: options.CalibrationData,
    profile: options.Profile = "edge_npu_int8",
    method: options.Method = "base_ptq",
    weight_bits: options.WeightBits = 8,
    activation_bits: options.ActivationBits = 8,
    weights: options.Weights = None,
    classes: options.Classes = None,
    calibration_images: options.CalibrationImages = 128,
    activation_range: options.ActivationRange = options.RangeSearch.MINMAX,
    weight_range: options.WeightRange = options.RangeSearch.MSE,
    skip_bad_images: options.SkipBadImages = False,
    seed: options.Seed = 0,
    out: options.Out = Path("runs/quantized"),
) -> None:
    """Quantize a network and write quantized.json and quantized.safetensors.

    The profile only restricts the decisions (zero points, per-channel scales, residual width); the
    result can be lowered for every profile that allows them. Next: aocq lower OUT
    """
    from aocq import progress
    from aocq.capture import capture
    from aocq.data.image_folder import read_image_folder
    from aocq.data.loader import evenly
    from aocq.lowering import check_recipe
    from aocq.methods import METHODS, Recipe, storage
    from aocq.models import load_model
    from aocq.pipeline import calibrate, constrained
    from simulator.errors import InputError
    from simulator.profile import load_profile
    from simulator.results import refuse_run_folder

    refuse_run_folder(out)
    chosen = load_profile(profile)
    if method not in METHODS:
        raise InputError(f"method {method}: choose one of {', '.join(METHODS)}")
    recipe = constrained(
        Recipe(
            weight_bits=weight_bits,
            activation_bits=activation_bits,
            activation_range=activation_range.value,
            weight_range=weight_range.value,
            seed=seed,
        ),
        chosen,
    )
    check_recipe(recipe, chosen)
    loaded = load_model(model, weights, classes)
    graph = capture(loaded.network, model, loaded.input_size)
    quantized = calibrate(
        method,
        graph,
        recipe,
        loaded,
        evenly(read_image_folder(calibration, loaded.classes), calibration_images),
        progress.show,
        skip_bad=skip_bad_images,
    )
    storage.save(quantized, out)
    print(f"quantized model: {out}; next: aocq lower {out} --profile {profile}", file=sys.stderr)
