# SPDX-License-Identifier: Apache-2.0
"""``aocq quantize``: the method's decisions, saved."""

from __future__ import annotations

import sys
from pathlib import Path

from aocq.cli import options, recipes, requests
from aocq.cli.groups import grouped
from aocq.tasks.names import CLASSIFICATION


@grouped
def command(
    *,
    task: options.Task = CLASSIFICATION,
    calibration: options.CalibrationData,
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.LEFT_OUT,
    recipe: recipes.RecipeOptions,
    model: requests.ModelOptions,
    calibrating: requests.CalibrationOptions,
    skip_bad_images: options.SkipBadImages = False,
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
        from aocq.data.loader import evenly
        from aocq.jobs import inputs
        from aocq.jobs.calibration import BLOCKS, calibrate, prepared
        from aocq.jobs.keys import calibration_key
        from aocq.methods import storage
        from aocq.recipes.limits import limits_of
        from aocq.tasks.task import images_of, task_of
        from simulator.profile import load_profile

        refuse_blocked(out, (storage.JSON_NAME, storage.TENSORS_NAME))
        chip, network = load_profile(profile), model.request()
        asked = calibrating.request(
            method,
            recipe.recipe(method, calibrating.preset),
            calibration,
            skip_bad_images=skip_bad_images,
        )
        limits = limits_of(chip, asked.recipe)
        inputs.check_method(method, asked.recipe, chip, asked.device)
        does = task_of(task)
        loaded = inputs.load_requested(inputs.with_preprocessing_of(does, network))
        images = images_of(does, calibration, loaded.classes, progress.note)
        inputs.note_missing_images(asked.images, images, progress.note)
        inputs.note_crop(loaded, network.preprocessing, progress.note)
        inputs.note_weights(loaded, progress.note)
        files = evenly(images, asked.images)
        key = calibration_key(asked, limits, loaded, files, chip)
        blocks = out / WORK / f"{BLOCKS}-{key}"
        graph = capture(loaded.network, network.name, loaded.input_size)
        inputs.check_operations(asked, graph, chip)
        does.check(network.name, graph.output.shape, loaded.preprocessing)
        graph = prepared(asked, limits, graph, loaded, files, progress.show)
        quantized = calibrate(asked, limits, graph, loaded, files, progress.show, blocks, chip)
        storage.save(quantized, staging(out))
        publish(out, "quantize", key)
        shutil.rmtree(blocks, ignore_errors=True)
        print(
            f"quantized model: {out}; next: aocq lower {out} --profile {profile}", file=sys.stderr
        )
