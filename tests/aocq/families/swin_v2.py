# SPDX-License-Identifier: Apache-2.0
"""Swin Transformer V2 (arXiv 2111.09883): cosine attention, and branches normalized at their ends.

No layer ends a branch, a normalization does. The stream starts at the normalized patches, and anew
at the normalization behind each reduction of four merged patches.
"""

from __future__ import annotations

from families.statement import Example, Statement

STATED = Statement(
    family="swin_v2",
    stream=(
        "patch_embed.norm",
        "layers.*.blocks.*.add",
        "layers.*.blocks.*.add_1",
        "layers.*.downsample.norm",
    ),
    fusable_layers=(),
    # 6 x 7 patches in windows of 4 x 4, then 3 x 4: some are padded, some shifted and masked.
    examples=(
        Example(
            model="swinv2_tiny_window8_256",
            arguments={
                "img_size": (12, 14),
                "patch_size": 2,
                "window_size": 4,
                "embed_dim": 12,
                "depths": (2, 2),
                "num_heads": (3, 3),
                "num_classes": 10,
            },
            input_size=(3, 12, 14),
        ),
    ),
)
