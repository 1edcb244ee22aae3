# SPDX-License-Identifier: Apache-2.0
"""Class activation maps of float networks against pytorch-grad-cam: correlation at least 0.99."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from aocq.capture import capture
from aocq.data.image_folder import read_image_folder
from aocq.data.loader import evenly, load_calibration_images
from aocq.demo.digits import gray_levels, load_split
from aocq.jobs.class_activation import activation_maps, float_network, upsampled
from aocq.jobs.map_likeness import correlation
from aocq.zoo.models import load_model

# Beside the repository; its licences do not allow it inside.
DATA = Path(__file__).parents[3] / "shared" / "data"
IMAGES = 50
LEAST = 0.99
NANO = {
    "img_size": 8,
    "patch_size": 2,
    "embed_dim": 64,
    "depth": 2,
    "num_heads": 4,
    "num_classes": 10,
}
TINY = {"embed_dim": 192, "depth": 12, "num_heads": 3}


def correlations(grad_cam, loaded, arguments, images, shift=0):
    """Return those of our maps and theirs, pixel by pixel; ours of classes ``shift`` further."""
    network = float_network(capture(loaded.network, loaded.name, loaded.input_size))
    ours = activation_maps(network, images, lambda outputs: outputs.argmax(1))
    theirs, logits = grad_cam.maps(arguments, loaded.network, images.numpy(), ours.chosen.numpy())
    assert np.array_equal(logits.argmax(1), ours.chosen.numpy())
    if shift:
        others = (ours.chosen + shift) % loaded.classes
        ours = activation_maps(network, images, lambda outputs: others)
    enlarged = upsampled(ours.activation, tuple(images.shape[2:])).numpy()
    pairs = zip(enlarged, theirs.astype(np.float64), strict=True)
    return np.array([correlation(*pair) or 0.0 for pair in pairs])


def said(name, found):
    print(f"{name}: {len(found)} images, correlation {found.min():.6f} to {found.max():.6f}")


def photographs(loaded):
    """Return images of ImageNet as the network takes them."""
    files = read_image_folder(DATA / "imagenet" / "val", loaded.classes, lambda _: None)
    return load_calibration_images(evenly(files, IMAGES), loaded.preprocessing)[0]


def digits():
    """Return bundled digits as the demo network takes them."""
    pixels = gray_levels(load_split("val").images[:IMAGES]).astype(np.float32)
    return torch.from_numpy(pixels[:, None].repeat(3, 1) / 127.5 - 1)


def test_digits(grad_cam):
    loaded = load_model("vit_nano_digits")
    found = correlations(grad_cam, loaded, NANO, digits())
    said("vit_nano_digits", found)
    assert found.min() >= LEAST
    # Another class gives another map: the bound is none that any map passes.
    assert np.median(correlations(grad_cam, loaded, NANO, digits(), shift=1)) < LEAST


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data, beside the repository, is not there")
def test_photographs(grad_cam):
    weights = DATA / "weights" / "deit_tiny_patch16_224.lnq8.fp16.safetensors"
    loaded = load_model("deit_tiny_patch16_224", weights)
    found = correlations(grad_cam, loaded, TINY, photographs(loaded))
    said("deit_tiny_patch16_224", found)
    assert len(found) == IMAGES
    assert found.min() >= LEAST
