# SPDX-License-Identifier: Apache-2.0
"""Train the dense demo networks again: ``python -m aocq.demo.train_dense``.

One network with two heads side by side learns boxes and classes of patches at once; the networks of
:mod:`aocq.demo.dense_model` take one head each. Needs scikit-learn, and 10 to 20 minutes of a core.
Only the handwriting of the training digits is seen; the canvases to judge on have other digits, and
had no say in the settings below, which are the first that were tried.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from aocq.demo.canvases import canvases
from aocq.demo.dense_model import BOX_OUTPUTS, DENSE_WEIGHTS_FILE, dense_network
from aocq.demo.dense_targets import DIGITS, dense_targets
from aocq.demo.digits import INK_MAX, DigitSplit
from aocq.demo.train import augment, divide_digits, gray_tensor, round_to_fp16

SEED = 0
CANVASES = 20_480  # drawn once, and seen in every epoch
DIGIT_VARIANTS = 10  # of each training digit: shifted, rotated, with noise
EPOCHS = 8
WARM_UP_STEPS = 150
BATCH = 64
PEAK_LEARNING_RATE = 2.5e-3
WEIGHT_DECAY = 0.05
GRADIENT_NORM_MAX = 1.0

# The loss is that of FCOS with GIoU, and logarithms of distances beside it.
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
BOX_WEIGHT, LOGARITHM_WEIGHT, CENTERNESS_WEIGHT, PATCH_CLASS_WEIGHT = 2.0, 1.0, 1.0, 1.0
RARE = 0.01  # the probability of each class that the head begins with


def varied(split: DigitSplit, variants: int) -> DigitSplit:
    """Return every digit ``variants`` times: shifted, half of them rotated, with noise."""
    images, labels = [], []
    for _ in range(variants):
        gray = augment(gray_tensor(split))[:, 0]
        images.append((gray * INK_MAX).round().to(torch.uint8).numpy())
        labels.append(split.labels)
    every, names = np.concatenate(images), np.concatenate(labels)
    inked = every.max(axis=(1, 2)) > INK_MAX // 2
    return DigitSplit(every[inked], names[inked])


def box_loss(values: Tensor, classes: Tensor, distances: Tensor) -> Tensor:
    """Return the loss of the head of boxes.

    Parameters
    ----------
    values : Tensor
        Of each patch 10 class logits, a centerness logit and 4 logarithms, (N, T, 15).
    classes, distances : Tensor
        As :class:`aocq.demo.dense_targets.DenseTargets` has them.

    Returns
    -------
    Tensor
        Focal loss of all patches (Lin et al., arXiv 1708.02002), and of those that answer for a
        box GIoU (Rezatofighi et al., arXiv 1902.09630), logarithms of distances, and binary
        cross-entropy of centerness; per patch that answers.
    """
    answers = classes < DIGITS
    count = answers.sum().clamp(min=1)
    wanted = functional.one_hot(classes, DIGITS + 1)[..., :DIGITS].float()
    focal = _focal(values[..., :DIGITS], wanted).sum()
    logarithms, true = values[..., DIGITS + 1 :][answers], distances[answers]
    boxes = _giou_loss(logarithms.clamp(-4, 3).exp(), true).sum()
    near = functional.smooth_l1_loss(logarithms, true.log(), reduction="sum") / 4
    centerness = functional.binary_cross_entropy_with_logits(
        values[..., DIGITS][answers], _centerness(true), reduction="sum"
    )
    total: Tensor = (
        focal + BOX_WEIGHT * boxes + LOGARITHM_WEIGHT * near + CENTERNESS_WEIGHT * centerness
    ) / count
    return total


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    missed = wanted * (1 - probability) + (1 - wanted) * probability
    alpha = wanted * FOCAL_ALPHA + (1 - wanted) * (1 - FOCAL_ALPHA)
    return alpha * missed**FOCAL_GAMMA * entropy


def _giou_loss(found: Tensor, true: Tensor) -> Tensor:
    """Return 1 - GIoU of boxes around the same points, given by four distances each, (n, 4)."""
    shared = _area(torch.minimum(found, true))
    union = _area(found) + _area(true) - shared
    around = _area(torch.maximum(found, true))
    return 1 - shared / union + (around - union) / around


def _area(distances: Tensor) -> Tensor:
    left, top, right, bottom = distances.unbind(-1)
    return (left + right) * (top + bottom)


def _centerness(distances: Tensor) -> Tensor:
    across, down = distances[:, 0::2], distances[:, 1::2]
    shares = [each.min(dim=1).values / each.max(dim=1).values for each in (across, down)]
    return (shares[0] * shares[1]).sqrt()


def train(network: nn.Module, split: DigitSplit) -> None:
    """Train in place on canvases of ``split``, whose handwriting alone has a say."""
    drawn = canvases(varied(split, DIGIT_VARIANTS), CANVASES, SEED)
    pixels = torch.from_numpy(np.stack([each.pixels for each in drawn]))
    classes, distances, patches = map(torch.from_numpy, dense_targets(drawn))
    optimizer = torch.optim.AdamW(
        network.parameters(), PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY
    )
    steps = EPOCHS * CANVASES // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_LEARNING_RATE, steps, pct_start=WARM_UP_STEPS / steps
    )
    network.train()
    for epoch in range(EPOCHS):
        for chosen in torch.randperm(CANVASES).view(-1, BATCH):
            values = network(network_input(pixels[chosen]))
            loss = box_loss(values[..., :BOX_OUTPUTS], classes[chosen], distances[chosen])
            patch_loss = functional.cross_entropy(
                values[..., BOX_OUTPUTS:].flatten(0, 1), patches[chosen].flatten()
            )
            optimizer.zero_grad()
            (loss + PATCH_CLASS_WEIGHT * patch_loss).backward()
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM_MAX)
            optimizer.step()
            schedule.step()
        print(
            f"epoch {epoch + 1}/{EPOCHS}: of the last batch, boxes {loss.item():.4f}, "
            f"classes of patches {patch_loss.item():.4f}",
            flush=True,
        )


def network_input(pixels: Tensor) -> Tensor:
    """Return gray levels uint8 (N, 64, 64) as the network's preprocessing has them."""
    gray = pixels.float().unsqueeze(1) / 255
    return ((gray - 0.5) / 0.5).expand(-1, 3, -1, -1)


def main(arguments: list[str] | None = None) -> None:
    """Write the weights of both dense networks, rounded to float16."""
    parser = argparse.ArgumentParser(prog="python -m aocq.demo.train_dense", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).parent, help="where to write the weights"
    )
    folder: Path = parser.parse_args(arguments).folder
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of float sums, and so the weights, depend on it
    network = dense_network()
    with torch.no_grad():
        network.head.bias[:DIGITS] = -np.log((1 - RARE) / RARE)
    train(network, divide_digits().train)
    (folder / DENSE_WEIGHTS_FILE).write_bytes(save(round_to_fp16(network)))


if __name__ == "__main__":
    main()
