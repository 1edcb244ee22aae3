# SPDX-License-Identifier: Apache-2.0
"""Swin transformers (arXiv 2103.14030): windows of attention, shifted in every second block.

No token stands for the class, and none for a position. The stream has one width for each stage: it
starts at the normalized patches, and anew at each reduction of four merged patches.
"""

from __future__ import annotations

from families.statement import Example, Statement

STATED = Statement(
    family="swin",
    stream=(
        "patch_embed.norm",
        "layers.*.blocks.*.add",
        "layers.*.blocks.*.add_1",
        "layers.*.downsample.reduction",
    ),
    fusable_layers=("layers.*.blocks.*.attn.proj", "layers.*.blocks.*.mlp.fc2"),
    # 6 x 7 patches in windows of 4 x 4, then 3 x 4: some are padded, some shifted and masked.
    examples=(
        Example(
            model="swin_tiny_patch4_window7_224",
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
