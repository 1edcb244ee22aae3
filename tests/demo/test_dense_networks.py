# SPDX-License-Identifier: Apache-2.0
"""The dense demo networks: their bundled weights, and the loss that they were trained by."""

from __future__ import annotations

import math
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from aocq.demo import NETWORKS
from aocq.demo.canvas_folder import canvases_of
from aocq.demo.canvases import canvases
from aocq.demo.dense_model import BOX_OUTPUTS, DENSE_WEIGHTS_FILE, SEGMENT_OUTPUTS
from aocq.demo.dense_targets import DIGITS, dense_targets
from aocq.demo.digits import load_split
from aocq.demo.train_dense import _giou_loss, box_loss, network_input, varied
from aocq.zoo.models import timm

ROWS = {
    "detection": slice(0, BOX_OUTPUTS),
    "segmentation": slice(BOX_OUTPUTS, BOX_OUTPUTS + SEGMENT_OUTPUTS),
}


def weights_path() -> Path:
    return Path(str(resources.files("aocq.demo") / DENSE_WEIGHTS_FILE))


def network(task: str) -> nn.Module:
    found: nn.Module = timm.create_model(NETWORKS[task], pretrained=True).eval()
    return found


@pytest.mark.parametrize("task", ROWS)
def test_each_network_holds_its_rows_of_the_bundled_head(task: str) -> None:
    assert weights_path().stat().st_size <= 500_000
    bundled, state = load_file(weights_path()), network(task).state_dict()
    assert state.keys() == bundled.keys()
    for name, value in bundled.items():
        assert value.dtype == torch.float16
        wanted = value[ROWS[task]] if name.startswith("head.") else value
        assert torch.equal(state[name], wanted.float()), name


@torch.inference_mode()
def test_most_patches_of_unseen_handwriting_get_their_class() -> None:
    drawn = canvases_of("val")[:60]
    pixels = torch.from_numpy(np.stack([each.pixels for each in drawn]))
    found = network("segmentation")(network_input(pixels)).argmax(dim=-1).numpy()
    assert (found == dense_targets(drawn).patch_classes).mean() >= 0.95


def targets(count: int = 6) -> tuple[Tensor, Tensor]:
    found = dense_targets(canvases(load_split("calib"), count, seed=3))
    return torch.from_numpy(found.classes), torch.from_numpy(found.distances)


def test_a_head_that_is_right_and_sure_loses_little_more_than_centerness_must() -> None:
    classes, distances = targets()
    values = torch.full((*classes.shape, BOX_OUTPUTS), -12.0)
    answers = classes < DIGITS
    chosen = values[answers]
    chosen[torch.arange(len(chosen)), classes[answers]] = 12.0
    near, far = (
        pick(distances[answers].reshape(-1, 2, 2), dim=1).values for pick in (torch.min, torch.max)
    )
    centerness = (near / far).prod(dim=1).sqrt()
    chosen[:, DIGITS] = torch.logit(centerness)
    chosen[:, DIGITS + 1 :] = distances[answers].log()
    values[answers] = chosen
    entropy = -(centerness * centerness.log() + (1 - centerness) * (1 - centerness).log())
    least = float(torch.nan_to_num(entropy).mean())
    assert float(box_loss(values, classes, distances)) == pytest.approx(least, abs=1e-3)
    for place, change in ((0, 20.0), (DIGITS, 1.5), (DIGITS + 1, 1.5)):
        worse = values.clone()
        worse[..., place] += change
        assert float(box_loss(worse, classes, distances)) > least + 1e-3


def test_giou_is_that_of_plain_python() -> None:
    chance = np.random.default_rng(4)
    found, true = chance.uniform(0.1, 3, (2, 50, 4))
    losses = _giou_loss(torch.from_numpy(found), torch.from_numpy(true)).tolist()
    for one, other, loss in zip(found.tolist(), true.tolist(), losses, strict=True):
        first, second = ([-x[0], -x[1], x[2], x[3]] for x in (one, other))
        width = min(first[2], second[2]) - max(first[0], second[0])
        height = min(first[3], second[3]) - max(first[1], second[1])
        shared = max(width, 0) * max(height, 0)
        union = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)) - shared
        around = (max(first[2], second[2]) - min(first[0], second[0])) * (
            max(first[3], second[3]) - min(first[1], second[1])
        )
        assert math.isclose(loss, 1 - (shared / union - (around - union) / around), rel_tol=1e-9)


def test_varied_digits_are_the_same_digits_and_none_is_blank() -> None:
    torch.manual_seed(0)
    split = load_split("calib")
    found = varied(split, 2)
    assert len(found.images) == len(found.labels) == 2 * len(split.labels)
    assert (found.labels == np.tile(split.labels, 2)).all()
    assert (found.images.max(axis=(1, 2)) > 8).all()
