# SPDX-License-Identifier: Apache-2.0
"""Figures of tensors: labelled, complete, the same bytes each time."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np

from reports.quantized_figures import Activation, Magnitudes, densities, magnitudes, scale_passes


def activation(title: str, step: float) -> Activation:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    rounded = (np.round(values / step) * step).astype(np.float32)
    return Activation(title=title, tensor="blocks.1.add", before=values, after=rounded)


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("text")]


def test_densities_stand_side_by_side_with_a_legend_and_labels() -> None:
    svg = densities([activation("base_ptq W4A8", 0.5), activation("aocq W4A8", 0.1)], "vit")
    found = texts(svg)
    assert {"base_ptq W4A8: blocks.1.add", "aocq W4A8: blocks.1.add"} <= set(found)
    assert {"before quantization", "after quantization", "value"} <= set(found)
    assert "count in 128 intervals" in found
    assert not any("mathdefault" in text for text in found)
    assert svg == densities([activation("base_ptq W4A8", 0.5), activation("aocq W4A8", 0.1)], "vit")
    assert svg != densities(
        [activation("base_ptq W4A8", 0.25), activation("aocq W4A8", 0.1)], "vit"
    )


def test_no_part_of_a_long_title_is_cut() -> None:
    """A network with model arguments must not be taken for the one of its timm name."""
    arguments = "img_size=32 patch_size=2 embed_dim=48 depths=2,2,2 num_heads=3,6,12 window_size=4"
    of = f"swin_tiny_patch4_window7_224 ({arguments}), 8 images of val, 10 classes"
    found = texts(densities([activation("aocq W4A8", 0.1)], of))
    assert of in " ".join(found)


def test_a_constant_tensor_can_be_drawn() -> None:
    flat = np.zeros(10, np.float32)
    assert "<svg" in densities([Activation(title="t", tensor="x", before=flat, after=flat)], "vit")


def test_magnitudes_name_the_tensors_along_depth_and_the_worst() -> None:
    values = tuple(np.linspace(1, 10 * (i + 1), 20, dtype=np.float32) for i in range(3))
    names = ("pos_embed", "blocks.0.add", "blocks.0.add_1")
    depth = Magnitudes(title="aocq W4A8", tensors=names, channels=values, tokens=values)
    svg = magnitudes(depth)
    found = texts(svg)
    assert set(names) <= set(found)
    for label in ("channel", "token"):
        assert f"largest |value| per {label}" in found
    assert {"largest", "median", "5 to 95 % of them"} <= set(found)
    assert re.search(r'aria-label="[^"]*Most: blocks\.0\.add_1\.', svg)


def test_scale_passes_are_relative_to_the_start() -> None:
    svg = scale_passes(
        {"blocks.0": {0: 4.0, 1: 2.0, 4: 1.0}, "blocks.1": {0: 2.0, 4: 1.0}}, "vit, aocq W4A8"
    )
    assert svg is not None
    assert {
        "vit, aocq W4A8",
        "s0",
        "s1",
        "s4",
        "blocks.0",
        "blocks.1",
        "loss of the block, s0 = 1",
    } <= set(texts(svg))
    assert "2 blocks; median at the end 0.38" in svg
    larger = {"blocks.0": {0: 12.0, 1: 6.0, 4: 3.0}, "blocks.1": {0: 2.0, 4: 1.0}}
    assert scale_passes(larger, "vit, aocq W4A8") == svg
    assert scale_passes({}, "vit") is None
    assert scale_passes({"blocks.0": {0: 1.0}}, "vit") is None, "one pass is no course"
