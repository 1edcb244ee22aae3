# SPDX-License-Identifier: Apache-2.0
"""``aocq quantize``: the method's decisions, saved."""

from __future__ import annotations

import sys
from pathlib import Path

from aocq.cli import options, recipes


def command(
    model: options.Model,
    calibration: options.CalibrationData,
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.DEFAULT_METHOD,
    weight_bits: recipes.WeightBits = 8,
    activation_bits: recipes.ActivationBits = 8,
    weights: options.Weights = None,
    classes: options.Classes = None,
    model_kwargs: options.ModelKwargs = None,
    preprocessing: options.Preprocessing = None,
    calibration_images: recipes.CalibrationImages = None,
    activation_range: recipes.ActivationRange = recipes.RangeSearch.MINMAX,
    weight_range: recipes.WeightRange = recipes.RangeSearch.MSE,
    float_ops: recipes.FloatOpsOption = recipes.FloatOps.DECLARED,
    skip_bad_images: options.SkipBadImages = False,
    seed: recipes.Seed = 0,
    preset: recipes.PresetOption = recipes.Preset.DEFAULT,
    alpha: recipes.AlphaOption = None,
    alpha_sharing: recipes.AlphaSharingOption = None,
    balance_inputs: recipes.BalanceInputs = None,
    scale_passes: recipes.ScalePasses = None,
    rounding: recipes.RoundingOption = None,
    loss: recipes.LossOption = None,
    norm_exponent: recipes.NormExponent = None,
    loss_channels: recipes.LossChannelsOption = None,
    class_token_weight: recipes.ClassTokenWeight = None,
    device: recipes.DeviceOption = recipes.Device.CPU,
    out: options.Out = Path("runs/quantized"),
) -> None:
    """Quantize a network and write quantized.json and quantized.safetensors.

    The profile only restricts the decisions (zero points, per-channel scales, residual width); the
    result can be lowered for every profile that allows them. Next: aocq lower OUT
    """
    import shutil

    from aocq import progress
    from aocq.records.publishing import WORK, claimed, publish, refuse_blocked, staging
    from aocq.records.run_folder import refuse_run_folder

    with claimed(out, progress.note):
        refuse_run_folder(out)
        from aocq.capture import capture
        from aocq.data.image_folder import read_image_folder
        from aocq.data.loader import evenly
        from aocq.jobs import verify as pipeline
        from aocq.jobs.request import calibration_key, constrained
        from aocq.methods import storage
        from aocq.zoo.models import load_model
        from simulator.profile import load_profile

        refuse_blocked(out, (storage.JSON_NAME, storage.TENSORS_NAME))
        chosen = load_profile(profile)
        recipe = constrained(
            recipes.make_recipe(
                method=method,
                weight_bits=weight_bits,
                activation_bits=activation_bits,
                activation_range=activation_range,
                weight_range=weight_range,
                float_ops=float_ops,
                seed=seed,
                preset=preset,
                alpha=alpha,
                alpha_sharing=alpha_sharing,
                balance_inputs=balance_inputs,
                scale_passes=scale_passes,
                rounding=rounding,
                loss=loss,
                norm_exponent=norm_exponent,
                loss_channels=loss_channels,
                class_token_weight=class_token_weight,
            ),
            chosen,
        )
        pipeline.check_method(method, recipe, chosen, device.value)
        loaded = load_model(
            model,
            weights,
            classes,
            arguments=options.settings(model_kwargs, "--model-kwargs"),
            preprocessing=options.settings(preprocessing, "--preprocessing"),
        )
        images = read_image_folder(calibration, loaded.classes)
        wanted = recipes.calibration_count(calibration_images, preset, method)
        pipeline.note_missing_images(wanted, images, progress.note)
        pipeline.note_crop(
            loaded, options.settings(preprocessing, "--preprocessing"), progress.note
        )
        pipeline.note_weights(loaded, progress.note)
        files = evenly(images, wanted)
        key = calibration_key(
            method, recipe, loaded, files, skip_bad=skip_bad_images, device=device.value
        )
        quantized = pipeline.calibrate(
            method,
            capture(loaded.network, model, loaded.input_size),
            recipe,
            loaded,
            files,
            progress.show,
            skip_bad=skip_bad_images,
            device=device.value,
            work=out / WORK / f"{pipeline.BLOCKS}-{key}",
        )
        storage.save(quantized, staging(out))
        publish(out, "quantize", key)
        shutil.rmtree(out / WORK / f"{pipeline.BLOCKS}-{key}", ignore_errors=True)
        print(
            f"quantized model: {out}; next: aocq lower {out} --profile {profile}", file=sys.stderr
        )
