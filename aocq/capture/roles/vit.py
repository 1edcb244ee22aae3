# SPDX-License-Identifier: Apache-2.0
"""Plain vision transformers: ViT (arXiv 2010.11929) and DeiT (arXiv 2012.12877)."""

from __future__ import annotations

from aocq.capture.roles.family import Example, Family

FAMILY = Family(
    name="vit",
    timm_modules=("vision_transformer", "deit"),
    # Tokens joined, the position embedding added, then one sum behind each branch.
    stream=("concat", "add", "blocks.*.add", "blocks.*.add_1"),
    branch_ends=("blocks.*.attn.proj", "blocks.*.mlp.fc2"),
    example=Example(
        model="vit_tiny_patch16_224",
        arguments={
            "img_size": 16,
            "patch_size": 8,
            "embed_dim": 24,
            "depth": 2,
            "num_heads": 3,
            "num_classes": 10,
        },
        input_size=(3, 16, 16),
    ),
)
