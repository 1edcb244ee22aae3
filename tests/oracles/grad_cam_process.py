# SPDX-License-Identifier: Apache-2.0
"""Runs inside the environment ``gradcam``: class activation maps by pytorch-grad-cam.

Imports nothing of ours but :mod:`messages`. See :mod:`grad_cam_oracle` for the other end.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import torch
from messages import serve

# The registry's torchvision is built for CUDA: beside a torch for CPUs its operators are missing.
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
if torch.version.cuda is None:
    for operator in ("nms", "qnms"):
        LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from pytorch_grad_cam import GradCAM  # noqa: E402
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402


def maps(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return maps [count, height, width] of ``images`` for ``classes``, and the logits.

    The network has the constructor's ``arguments`` of the header, and the other arrays as weights.
    """
    images, classes = (arrays.pop(name) for name in ("images", "classes"))
    network = VisionTransformer(**header["arguments"])
    network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    network.eval()

    def reshaped(tokens: torch.Tensor) -> torch.Tensor:
        """Return patches as an image of channels, as the package's tutorial of ViTs has it."""
        side = int((tokens.shape[1] - 1) ** 0.5)
        image = tokens[:, 1:, :].reshape(tokens.shape[0], side, side, tokens.shape[2])
        return image.transpose(2, 3).transpose(1, 2)

    batch = torch.from_numpy(images)
    targets = [ClassifierOutputTarget(int(number)) for number in classes]
    layers = [network.blocks[-1].norm1]
    with GradCAM(model=network, target_layers=layers, reshape_transform=reshaped) as cam:
        drawn = cam(input_tensor=batch, targets=targets)
    with torch.inference_mode():
        return {"maps": drawn, "logits": network(batch).numpy()}


def main() -> None:
    """Serve on the standard streams; what the packages print goes to the error stream."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    serve(sys.stdin.buffer, answers, {"maps": maps})


if __name__ == "__main__":
    main()
