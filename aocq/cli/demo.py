# SPDX-License-Identifier: Apache-2.0
"""``aocq demo``: the main job on the bundled network and images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from aocq.cli import options, recipes, requests, verify

CALIBRATION_IMAGES = 128  # all that are bundled
DemoWeightBits = Annotated[
    int | None,
    typer.Option(
        "--w-bits",
        min=2,
        max=8,
        help="bits of the weights (default: 4, or the fewest that the profile reads)",
        show_default=False,
    ),
]


def default_weight_bits(widths: Sequence[int]) -> int:
    """Return 4 where the chip reads such weights, else its narrowest."""
    return 4 if 4 in widths else min(widths)


def command(
    profile: options.Profile = "edge_npu_int8",
    method: recipes.Method = recipes.DEFAULT_METHOD,
    weight_bits: DemoWeightBits = None,
    preset: recipes.PresetOption = recipes.Preset.DEFAULT,
    device: recipes.DeviceOption = recipes.Device.CPU,
    out: options.Out = Path("runs/demo"),
    as_json: options.Json = False,
) -> None:
    """Quantize, emulate and report the bundled nano ViT on handwritten digits; no network needed.

    Judges 360 test images. By default weights have 4 bits, or the fewest that the profile reads,
    and activations the profile's. The images are written to OUT/data, so that every other command
    can be tried on them.
    """
    from aocq import progress
    from aocq.demo.digits import write_image_folder
    from aocq.records.gates import Gates
    from aocq.records.publishing import claimed
    from simulator.errors import InputError
    from simulator.profile import load_profile

    chip = load_profile(profile)
    images = out / "data"
    with claimed(out, progress.note):
        try:
            write_image_folder(images)
        except OSError as error:
            raise InputError(
                f"{images}: cannot be written ({error.strerror or error}); name another folder"
            ) from error
        verify.run_and_report(
            requests.make_request(
                model="vit_nano_digits",
                data=images / "val",
                calibration=images / "calib",
                calibration_images=CALIBRATION_IMAGES,
                profile=profile,
                method=method,
                recipe=recipes.make_recipe(
                    weight_bits=weight_bits or default_weight_bits(chip.weight.bits),
                    activation_bits=chip.activation.bits,
                    preset=preset,
                ),
                device=device,
                gates=Gates(),
                out=out,
            ),
            as_json=as_json,
        )
