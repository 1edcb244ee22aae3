# SPDX-License-Identifier: Apache-2.0
"""A small network with a dense head, and a folder of images with boxes in COCO's form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from command_line import Finished
from PIL import Image
from safetensors.torch import save_file

from aocq.zoo.models import timm

Run = Callable[..., Finished]
PIXELS, CLASSES = 64, 2
ARGUMENTS = "img_size=64 embed_dim=24 depth=1 num_heads=2 global_pool="


class Job(NamedTuple):
    """The command of a run, without --out, and its folder of images."""

    command: tuple[Any, ...]
    data: Path


def made_job(folder: Path) -> Job:
    """Write a network of random weights with a dense head, and six images of noise with a box."""
    torch.manual_seed(1)
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=CLASSES + 5, img_size=PIXELS, embed_dim=24, depth=1,
        num_heads=2, global_pool="",
    )  # fmt: skip
    with torch.no_grad():
        network.head.weight.normal_(0, 0.4)
    save_file(network.state_dict(), str(folder / "weights.safetensors"))
    data, chance = folder / "data", np.random.default_rng(2)
    (data / "images").mkdir(parents=True)
    for number in range(6):
        pixels = chance.integers(0, 256, (48, 96, 3), np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{number}.png")
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 96, "height": 48} for n in range(6)],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % 2, "bbox": [4 * n, 4, 40, 30], "area": 1200}
            for n in range(6)
        ],
        "categories": [{"id": n, "name": f"class {n}"} for n in range(CLASSES)],
    }
    (data / "annotations.json").write_text(json.dumps(coco), encoding="utf-8")
    command = (
        *("verify", "vit_tiny_patch16_224", "--weights", folder / "weights.safetensors"),
        *("--num-classes", CLASSES + 5, "--model-kwargs", ARGUMENTS, "--task", "detection"),
        *("--data", data, "--preset", "fast", "--calib", 4, "--batch", 4, "--threads", 1),
    )
    return Job(command, data)
