# SPDX-License-Identifier: Apache-2.0
"""pytorch-grad-cam, asked from the tests: the fixture ``grad_cam`` is a :class:`GradCam`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from oracle_process import OracleProcess
from torch import nn

Maps = NDArray[np.float32]


class GradCam:
    """Class activation maps of timm's VisionTransformer, at ``norm1`` of its last block."""

    def __init__(self, process: OracleProcess) -> None:
        self._process = process

    def maps(
        self,
        arguments: Mapping[str, Any],
        network: nn.Module,
        images: NDArray[np.float32],
        classes: NDArray[np.int64],
    ) -> tuple[Maps, NDArray[np.float32]]:
        """Return maps [count, height, width], 0..1, and logits [count, classes].

        Parameters
        ----------
        arguments
            of the constructor
        network
            whose weights are taken
        images
            preprocessed, [count, channels, height, width]
        classes
            whose logits are differentiated, one for each image
        """
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        answer = self._process.ask(
            {"request": "maps", "arguments": dict(arguments)},
            {**weights, "images": images, "classes": classes},
        )
        return answer["maps"], answer["logits"]
