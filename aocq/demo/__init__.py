# SPDX-License-Identifier: Apache-2.0
"""Small trained vision transformers and their handwritten digits, bundled for an offline first run.

:mod:`aocq.demo.model` and :mod:`aocq.demo.dense_model` register the networks with timm,
:mod:`aocq.demo.digits` and :mod:`aocq.demo.canvas_folder` write the images as folders, and
:mod:`aocq.demo.train` and :mod:`aocq.demo.train_dense` make the bundled files again from
scikit-learn's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# The network of each task, by its name in timm.
NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        "classification": "vit_nano_digits",
        "detection": "vit_nano_digits_boxes",
        "segmentation": "vit_nano_digits_segments",
    }
)
